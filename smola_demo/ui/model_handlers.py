"""What happens on the Model tab: values in, values out."""

# Gradio reads the annotations of handlers when it connects them, so their names must be there at run time.
# ruff: noqa: TC003

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import gradio as gr

from smola_demo.config import PRECISIONS
from smola_demo.ui.loading import EngineHandle, NotReadyError, sentence
from smola_demo.ui.model_runs import BUSY, log, skip
from smola_demo.ui.models import experts_choices, loaded_line, offered_value, refused_value
from smola_demo.ui.view import encode

if TYPE_CHECKING:
    from smola_demo.results import OfferedModel
    from smola_demo.ui.models import Models

TICK = 0.5  # seconds between two looks at how far loading has come
MAX_CHARS = 300
ANY = "Or type a model hub's OWNER/NAME, or a folder, and press Enter."


class ModelHandlers:
    """Handlers of the Model tab, on a handle that has models to offer."""

    def __init__(self, handle: EngineHandle, make_models: Callable[[], Models]) -> None:
        self.handle = handle
        self._make_models = make_models

    @cached_property
    def models(self) -> Models:
        """What can be loaded; making it takes seconds, so not before a model is there."""
        return self._make_models()

    def choose(self, id: str | None, precision: str, wanted: str = "") -> tuple[Any, ...]:
        """A backbone or precision was chosen: its facts, the experts that go with it, and Load.

        wanted  experts to choose where they are among them
        """
        try:
            offered = self._offered(id, precision)
        except Exception as error:  # noqa: BLE001  whatever it is, the page says so in one sentence
            log(error)
            return encode(refused_value(error)), gr.skip(), gr.update(interactive=False)
        experts = experts_choices(offered.experts)
        names = [name for _, name in experts]
        return (
            encode(offered_value(offered)),
            gr.update(choices=experts, value=wanted if wanted in names else names[0]),
            gr.update(interactive=offered.fits),  # while another loads, Load waits for its turn
        )

    def begin(self) -> tuple[Any, ...]:
        """At once, before the queue: a run of somebody may have to end first."""
        note = {"text": "Waiting until the model is free …", "kind": "loading"}
        return encode(note), *_opened(now=False)

    def load(self, id: str | None, experts: str | None, precision: str) -> Iterator[tuple[Any, ...]]:
        """Switch to another model, telling how far it is; a failure leaves what was there."""
        try:
            for said in self.switch(id, experts, precision):
                yield encode({"text": said, "kind": "loading"}), *skip(4)
            yield encode(loaded_line(self.handle.info)), *_opened()
        except Exception as error:  # noqa: BLE001  whatever it is, the page says so in one sentence
            log(error)
            yield encode({"text": sentence(error), "kind": "error"}), *_opened()

    def switch(self, id: str | None, experts: str | None, precision: str) -> Iterator[str]:
        """Yield where loading stands until the other model is there.

        Raises a ValueError with one sentence when it is refused, which changes nothing, or when it fails,
        after which the model from before is there again.
        """
        name, freed = _name(id), self.freed()
        self.models.check(name, experts or "", precision, freed)
        build = partial(self.models.load, name, experts or "", precision)
        failed: list[str] = []

        def work() -> None:
            try:
                failed.append(self.handle.switch(build))
            except NotReadyError as error:
                failed.append(sentence(error))

        thread = threading.Thread(target=work, name="switch model", daemon=True)
        thread.start()
        while thread.is_alive():
            yield self.handle.status or "Loading the model …"
            thread.join(TICK)
        if failed[0]:
            raise NotReadyError(failed[0])

    def refused(self) -> tuple[Any, ...]:
        """The queue was full, or the server could not take the call."""
        return encode({"text": BUSY, "kind": "error"}), *_opened()

    def loaded(self) -> tuple[Any, ...]:
        """Updates once a model has come: what is loaded, what else there is, the loaded one chosen."""
        info = self.handle.info
        if info is None and self.handle.loading:
            return skip(6)
        backbones = gr.update(
            choices=list(self.models.choices),
            value=info.backbone if info else None,
            allow_custom_value=self.models.open,
            info=ANY if self.models.open else None,
        )
        if info is None:  # the first load failed: another may do
            return encode({"text": self.handle.error, "kind": "error"}), backbones, *skip(4)
        # NF4 weights computed in float32 are what "auto" makes; by its name nf4 means packed ones.
        named = info.precision in PRECISIONS and "computed in fp32" not in info.compute
        precision = info.precision if named else "auto"
        chosen = self.choose(info.backbone, precision, info.experts_option or info.experts)
        return encode(loaded_line(info)), backbones, precision, *chosen

    def _offered(self, id: str | None, precision: str) -> OfferedModel:
        return self.models.model(_name(id), precision, self.freed())

    def freed(self) -> int:
        """Bytes that the loaded model gives back when another takes its place."""
        info = self.handle.info
        return info.weights if info else 0


def _opened(*, now: bool = True) -> tuple[Any, ...]:
    """Updates of Load and of what it loads, shut while the page's own load goes: a second would be lost."""
    return tuple(gr.update(interactive=now) for _ in range(4))


def _name(id: Any) -> str:
    """What the page sent as a backbone. Raises ValueError for what cannot be one."""
    if not isinstance(id, str) or not id.strip() or len(id) > MAX_CHARS:
        raise ValueError("Choose a backbone first.")
    return id.strip()
