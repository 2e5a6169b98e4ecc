"""Two runs side by side on the page: both answers, and how their routing differs. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from smola_demo.ablation_spec import AblationSpec, check_names
from smola_demo.plots.contrast import contrast
from smola_demo.plots.palette import scales
from smola_demo.results import Answer, Progress
from smola_demo.ui.answer import confidence, make_request
from smola_demo.ui.asked import asked_of
from smola_demo.ui.comparison import close, word_diff

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from smola_demo.results import EngineInfo, Request, Step

ALL_OUT = "*:*"
EXPERTS = (("all experts", "all"), ("no experts: the plain backbone", "none"), ("some taken out", "some"))
SIDES = ("A", "B")
NONE_TO_TAKE_OUT = (
    'No mixture of experts is loaded, so none can be taken out: choose "all experts" on both sides.'
)


@dataclass(frozen=True)
class Side:
    """One side's inputs as they come from the page; an empty picture or task stands for the Ask tab's.

    model: which checkpoint in which precision, a name of EngineHandle.variants; "" is the one that is loaded
    """

    picture: Any
    task: str
    question: str | None
    experts: str
    spec: str | None
    model: str = ""

    def request(self, picture: Any, task: str, question: str | None, info: EngineInfo) -> Request:
        """What this side asks, given the Ask tab's inputs and what is loaded.

        Raises ValueError with one sentence, so that no side runs for nothing.
        """
        ablation = {"all": "", "none": ALL_OUT, "some": (self.spec or "").strip()}.get(self.experts)
        if ablation is None or (self.experts == "some" and not ablation):
            raise ValueError("Say which experts to take out, for example visual:3.")
        spec = AblationSpec.parse(ablation)
        if spec and not self.model:  # what another model has is known once it is loaded
            if not info.groups:
                raise ValueError(NONE_TO_TAKE_OUT)
            check_names(spec, info.groups, info.num_experts, info.layers, info.projections)
        return make_request(*self._inputs(picture, task, question), ablation)

    def asked(self, picture: Any, task: str, question: str | None) -> str:
        """One line on what this side asks, given the Ask tab's inputs."""
        return asked_of(*self._inputs(picture, task, question))

    def _inputs(self, picture: Any, task: str, question: str | None) -> tuple[Any, str, str | None]:
        return self.picture or picture, *((self.task, self.question) if self.task else (task, question))


def loaded_name(info: EngineInfo | None) -> str:
    """How the model choice names what is loaded."""
    return "as loaded" if info is None else f"as loaded: {info.experts}, {info.compute}"


def loaded_note(info: EngineInfo | None) -> dict[str, Any]:
    """What a side runs on where nothing else is chosen, as the value of a note view."""
    if info is None:
        return {}
    text = f"Loaded is {info.backbone_name} in {info.compute}"
    if not info.groups:
        return {
            "text": f"{text}, without a mixture of experts: two questions can be compared, but no routing."
        }
    return {
        "text": f"{text}, experts {info.experts}. Another checkpoint or precision loads when it is asked."
    }


def contrast_value(a: Answer, b: Answer, asked: tuple[str, str], same_picture: bool = True) -> dict[str, Any]:
    """Value of the contrast view for two finished runs; `asked` says what each was asked."""
    texts = word_diff(a.text, b.text)
    value: dict[str, Any] = {
        "state": "done",
        "verdict": verdict(a, b),
        "sides": [
            {
                "words": words or [("same", "(nothing)")],
                "asked": said,
                "facts": [
                    ("model", f"{answer.experts}, {answer.compute}"),
                    ("experts taken out", answer.ablation or "none"),
                    ("modules touched", str(answer.modules_touched)),
                    ("log-probability", f"{answer.logprob:.3f} nats".replace("-", "−")),
                    ("tokens", str(len(answer.tokens))),
                    ("confidence", confidence(answer.tokens)),
                    ("time", f"{answer.timing.prefill_s + answer.timing.decode_s:.1f} s"),
                ],
            }
            for answer, words, said in zip((a, b), texts, asked, strict=True)
        ],
        "routing": None,
        "no_routing": _no_routing(a, b),
    }
    if a.trace is not None and b.trace is not None and not value["no_routing"]:
        value["routing"] = {
            "groups": list(a.trace.groups),
            "layers": list(a.trace.layers),
            "experts": a.trace.weight.shape[-1],
            "phases": contrast(a.trace, b.trace, same_picture),
            "scales": scales(a.trace.groups),
        }
    return value


def verdict(a: Answer, b: Answer) -> str:
    """One sentence on the two answers."""
    if a.text == b.text:
        return "Both runs give the same answer."
    return "The two runs give different answers."


def _no_routing(a: Answer, b: Answer) -> str:
    """Why there is no routing to compare; empty when there is."""
    for side, answer in zip(SIDES, (a, b), strict=True):
        if answer.trace is None or not (answer.trace.weight > 0).any():
            return f"{side} answers without a mixture of experts, so there is no routing to compare."
    if _shape(a) != _shape(b):
        return "The experts of A and B are not of one shape, so their routing cannot be held together."
    return ""


def _shape(answer: Answer) -> tuple[Any, ...]:
    """What two records must share for their cells to stand for each other."""
    trace = answer.trace
    return () if trace is None else (trace.groups, trace.layers, trace.projections, trace.weight.shape[-1])


def stream_contrast(
    items: Iterator[tuple[int, Progress | Step | Answer]],
    stopped: threading.Event,
    asked: tuple[str, str],
    same_picture: bool = True,
) -> Iterator[dict[str, Any]]:
    """(side, item) of two runs → values of the contrast view; closes the runs when `stopped` is set."""
    texts, answers = ["", ""], []
    try:
        for side, item in items:
            if isinstance(item, Progress):
                words = f"{SIDES[side]}: {item.what}, this takes some seconds …"
                yield {"state": "running", "verdict": words, "texts": list(texts)}
                continue
            texts[side] = item.text
            if isinstance(item, Answer):
                answers.append(item)
                continue
            if stopped.is_set():
                yield {"state": "stopped", "message": f"Stopped while {SIDES[side]} was answering."}
                return
            words = f"{SIDES[side]} is answering, {item.index + 1} tokens …"
            yield {"state": "running", "verdict": words, "texts": list(texts)}
        first, second = answers
        yield contrast_value(first, second, asked, same_picture)
    finally:
        close(items)
