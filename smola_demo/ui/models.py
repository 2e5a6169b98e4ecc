"""What can be loaded, as the page needs and shows it. No torch here: a catalogue is handed in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from smola_demo.config import PRECISIONS
from smola_demo.ui.loading import sentence

if TYPE_CHECKING:
    from smola_demo.results import EngineInfo, OfferedExperts, OfferedModel
    from smola_demo.ui.loading import Engine, Report

PRECISION_NAMES = {"auto": "auto: NF4, the usual choice", "nf4": "NF4, 4 bit", "int8": "LLM.int8, 8 bit"}


class Models(Protocol):
    """The backbones and experts that can be loaded in place of what is there."""

    @property
    def open(self) -> bool:
        """Whether ids and folders beyond `choices` are taken."""
        ...

    @property
    def choices(self) -> tuple[tuple[str, str], ...]:
        """(name, id) of each backbone on offer."""
        ...

    def model(self, id: str, precision: str = "auto", freed: int = 0) -> OfferedModel:
        """A backbone's facts, before it is loaded."""
        ...

    def check(self, id: str, experts: str = "", precision: str = "auto", freed: int = 0) -> None:
        """Raise what can be known to go wrong before anything is loaded."""
        ...

    def load(self, id: str, experts: str, precision: str, progress: Report) -> Engine:
        """The engine with this backbone and these experts."""
        ...


def precision_choices() -> list[tuple[str, str]]:
    """(label, value) of every precision."""
    return [(PRECISION_NAMES.get(name, name), name) for name in ("auto", *PRECISIONS)]


def experts_choices(experts: tuple[OfferedExperts, ...]) -> list[tuple[str, str]]:
    """(label, value) of the experts on offer: how far each was trained."""
    labels = {"none": "none: the plain backbone", "untrained": "untrained: they change nothing yet"}
    return [(labels.get(e.name) or f"{e.name}, {_state(e)}", e.name) for e in experts]


def _state(experts: OfferedExperts) -> str:
    return f"trained for {experts.steps:,} steps" if experts.state == "trained" else experts.state


def offered_value(offered: OfferedModel) -> dict[str, Any]:
    """Value of the model view for a backbone that may be loaded."""
    made = [e for e in offered.experts if e.name not in ("none", "untrained")]
    facts = [
        ("id", offered.id),
        ("licence", offered.licence),
        ("parameters", f"{offered.parameters / 1e6:,.0f} million" if offered.parameters else "not known"),
        (
            "weights in memory",
            f"{_bytes(offered.weights)} ({offered.compute})" if offered.weights else "not known",
        ),
        ("experts made for it", "; ".join(f"{e.name}, {_state(e)}" for e in made) or "none yet"),
    ]
    return {
        "state": "shown",
        "name": offered.name,
        "facts": facts,
        "fits": offered.fits,
        "fit": f"{offered.fit}.",
    }


def refused_value(error: BaseException) -> dict[str, Any]:
    """Value of the model view where there are no facts to show."""
    return {"state": "shown", "name": "", "facts": [], "fits": False, "fit": sentence(error)}


def loaded_line(info: EngineInfo | None) -> dict[str, Any]:
    """What is loaded now, as the value of a note view."""
    if info is None:
        return {}
    experts = {"none": "no experts", "untrained": "untrained experts"}.get(info.experts_state)
    told = experts or f"{'the LoRA' if info.experts_state == 'lora' else 'experts'} {info.experts}"
    return {"text": f"Loaded: {info.backbone_name}, {info.compute}, with {told}."}


def _bytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
