"""Backbones to switch between without a model: facts from a table, engines that say who they are."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from fake_engine import FakeEngine, FakeError

from smola_demo.results import EngineInfo, OfferedExperts, OfferedModel

SMALL, BIG, HUGE = "embedded", "someone/big-model", "someone/huge-model"
PLAIN = (OfferedExperts("none", "none"), OfferedExperts("untrained", "untrained"))
OFFERED = {
    SMALL: OfferedModel(
        SMALL, "SmolLM2-135M", "Apache-2.0", 140_128_064, 123_000_000, "4-bit NF4 weights", True,
        "SmolLM2-135M fits for answering", (OfferedExperts("embedded-omni", "trained", 4000), *PLAIN),
    ),
    BIG: OfferedModel(
        BIG, "big-model", "mit", 2_246_784_880, 2_103_000_000, "4-bit NF4 weights", True,
        "big-model fits for answering: 4-bit NF4 weights, about 3.1 GB of the 8.0 GB free", PLAIN,
    ),
    HUGE: OfferedModel(
        HUGE, "huge-model", "mit", 9e9, 4.5e9, "bfloat16", False,
        "huge-model does not fit: it takes 20.0 GB, 12.0 GB more than the 8.0 GB free: choose nf4",
        PLAIN,
    ),
}  # fmt: skip


@dataclass
class NamedEngine(FakeEngine):
    """A FakeEngine that says which backbone and experts it is."""

    backbone: str = SMALL
    called: str = "embedded-omni"
    compute: str = "NF4 weights, computed in fp32"

    def info(self) -> EngineInfo:
        """Facts of another backbone."""
        offered = OFFERED[self.backbone]
        return replace(
            super().info(), backbone=self.backbone, backbone_name=offered.name, experts=self.called,
            experts_state=self.state, weights=offered.weights, compute=self.compute,
        )  # fmt: skip


def engine(backbone: str = SMALL, experts: str = "") -> NamedEngine:
    """The engine of a backbone: without experts where none were made for it."""
    if backbone == SMALL:
        return NamedEngine(layers=5, experts=4)
    return NamedEngine(
        layers=7, experts=3, state="untrained", backbone=backbone, called=experts or "untrained",
        compute="4-bit NF4 weights",
    )  # fmt: skip


@dataclass
class FakeModels:
    """What the page may load.

    open: as the page is told · during: run while a model loads · broken: what the load then fails with
    """

    open: bool = False
    offered: dict[str, OfferedModel] = field(default_factory=lambda: dict(OFFERED))
    loaded: list[tuple[str, str, str]] = field(default_factory=list)
    during: list[object] = field(default_factory=list)
    broken: str = ""

    @property
    def choices(self) -> tuple[tuple[str, str], ...]:
        """(name, id) of each."""
        return tuple((model.name, id_) for id_, model in self.offered.items())

    def model(self, id: str, precision: str = "auto", freed: int = 0) -> OfferedModel:
        """Facts, or an error for what is not offered."""
        if id not in self.offered:
            raise FakeError(f"the backbone '{id}' may not be loaded here: choose {', '.join(self.offered)}")
        return self.offered[id]

    def check(self, id: str, experts: str = "", precision: str = "auto", freed: int = 0) -> None:
        """Refuse what is not offered or does not fit."""
        found = self.model(id, precision, freed)
        if experts and experts not in [made.name for made in found.experts]:
            raise FakeError(f"no experts '{experts}' for '{id}'")
        if not found.fits:
            raise FakeError(found.fit)

    def load(self, id: str, experts: str, precision: str, progress) -> NamedEngine:
        """An engine; `during` are functions that run while it loads."""
        progress(0, 0, f"{id} fits")
        self.loaded.append((id, experts, precision))
        for act in self.during:
            act()
        if self.broken:
            raise RuntimeError(self.broken) if self.broken == "bug" else FakeError(self.broken)
        return engine(id, experts)
