"""The engine as the page sees it: perhaps still loading, perhaps failed, perhaps making room for another.

No torch and no gradio here; the engine is built by a function that the caller gives.
"""

from __future__ import annotations

import gc
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from smola_demo.results import Answer, Comparison, EngineInfo, Progress, Request, Step, Sweep
    from smola_demo.ui.models import Models

Report = Callable[[int, int, str], None]
"""Called with bytes done, bytes in all, and what is being fetched."""


class Engine(Protocol):
    """What the page needs of an engine. Errors for the user are ValueErrors with one sentence."""

    def info(self) -> EngineInfo:
        """What is loaded."""
        ...

    def answer(self, request: Request, capture: bool = True) -> Iterator[Step | Answer]:
        """Steps, then the answer."""
        ...

    def compare(self, request: Request) -> Iterator[Progress | Step | Comparison]:
        """Progress and steps, then the comparison."""
        ...

    def sweep(
        self, request: Request, by: str = "expert", expert: str | None = None
    ) -> Iterator[Progress | Sweep]:
        """Progress, then the effect of each removal."""
        ...


Variants = Callable[["EngineInfo"], dict[str, Callable[[], Engine]]]
"""From what is loaded, the other engines that can be: name → a function that loads it."""


class VariantError(ValueError):
    """A checkpoint or precision to compare with that nobody offers."""


class NotReadyError(ValueError):
    """Asked before the engine could answer; the message says why."""


def sentence(error: BaseException) -> str:
    """An error as one sentence for the page. What was not meant for the user only points to the log."""
    if not isinstance(error, ValueError) or isinstance(error, UnicodeError) or not str(error).strip():
        return "Something went wrong on the server; its log says what."
    text = " ".join(str(error).split())
    return text[0].upper() + text[1:] + ("" if text[-1] in ".!?" else ".")


class EngineHandle:
    """An engine that is built in a background thread, so that the page is there at once.

    `ready` is set when it can answer or when it failed; `error` is then the one sentence, or empty.
    """

    def __init__(
        self,
        build: Callable[[Report], Engine],
        variants: Variants | None = None,
        models: Callable[[], Models] | None = None,
    ) -> None:
        self.make_models = models
        self.loads = 0  # how often another engine came, so that a page sees that it shows an old one
        self._build = build
        self._switching = threading.Lock()
        self._variants: dict[str, Callable[[], Engine]] = {}
        self._make_variants = variants
        self._other: tuple[str, Engine] | None = None
        self._engine: Engine | None = None
        self._info: EngineInfo | None = None
        self._progress: tuple[int, int, str] = (0, 0, "")
        self._started = time.monotonic()
        self.ready = threading.Event()
        self.error = ""

    @classmethod
    def of(
        cls, engine: Engine, variants: Variants | None = None, models: Callable[[], Models] | None = None
    ) -> EngineHandle:
        """A handle on an engine that is there already."""
        handle = cls(lambda _report: engine, variants, models)
        handle.load()
        return handle

    def start(self) -> EngineHandle:
        """Begin to load in the background."""
        self._started = time.monotonic()
        threading.Thread(target=self.load, name="load engine", daemon=True).start()
        return self

    def load(self) -> None:
        """Load now, in this thread. Never raises: a failure becomes `error`."""
        self.error = self._try(self._build)
        self.loads += 1
        self.ready.set()

    def switch(self, build: Callable[[Report], Engine]) -> str:
        """Let go of the engine and load another, in this thread; nobody else may be using it.

        Returns one sentence when that failed, and the engine from before is loaded anew; else "". Raises
        NotReadyError while another is being loaded.
        """
        if self.loading or not self._switching.acquire(blocking=False):
            raise NotReadyError("Another model is being loaded: wait until it is there.")
        try:
            self.ready.clear()
            self._started, self._progress = time.monotonic(), (0, 0, "")
            self._let_go()
            failed = self._try(build)
            if failed:
                self._progress = (0, 0, f"{failed} The model from before comes back")
                self._let_go()
                self.error = self._try(self._build)
            else:
                self._build, self.error = build, ""
                self.loads += 1
            return failed
        finally:
            self.ready.set()
            self._switching.release()

    def _let_go(self) -> None:
        """Nothing of the engine is held any more, so that its memory is free for the next."""
        self._engine = self._other = self._info = None
        self._variants = {}
        gc.collect()  # a model's modules refer to each other

    def _try(self, build: Callable[[Report], Engine]) -> str:
        """Build the engine; returns one sentence when that failed, else ""."""
        try:
            engine = build(self._report)
            self._engine = engine
            if self._make_variants is not None:
                self._variants = self._make_variants(engine.info())
            self._info = engine.info()
        except Exception as error:  # noqa: BLE001  whatever goes wrong must reach the page, not only a thread's stderr
            if not isinstance(error, ValueError):
                traceback.print_exc()
            return "The model could not be loaded: " + sentence(error)
        return ""

    def _report(self, done: int, total: int, what: str) -> None:
        self._progress = (done, total, what)

    @property
    def loading(self) -> bool:
        """Still on its way."""
        return not self.ready.is_set()

    @property
    def switching(self) -> bool:
        """Another model takes the place of one that was there."""
        return self.loads > 0 and self.loading

    @property
    def status(self) -> str:
        """One line on where loading stands; empty once the engine can answer."""
        if not self.loading:
            return self.error
        done, total, what = self._progress
        if total and done < total:
            return f"First start: fetching the {what}, {done / 1e6:.0f} of {total / 1e6:.0f} MB"
        said = f" ({what})" if what and not total else ""
        return f"Loading the model{said} … {time.monotonic() - self._started:.0f} s"

    @property
    def info(self) -> EngineInfo | None:
        """What is loaded; None until it is."""
        return self._info

    def require(self) -> EngineInfo:
        """What is loaded. Raises NotReadyError while it loads or when it failed."""
        if self._info is None:
            raise NotReadyError(
                self.error or "The model is still loading: the button wakes up when it is ready."
            )
        return self._info

    @property
    def engine(self) -> Engine:
        """The engine. Raises NotReadyError while it loads or when it failed."""
        self.require()
        assert self._engine is not None  # noqa: S101  set before the info is
        return self._engine

    @property
    def variants(self) -> tuple[str, ...]:
        """Names of the other checkpoints and precisions that `variant` can load."""
        return tuple(self._variants)

    def variant(self, name: str) -> Engine:
        """The engine of a variant, loaded if need be; "" is the one that is there.

        Only the last is kept, so that a page never holds more than two models. Raises VariantError for an
        unknown name, and what loading raises.
        """
        if not name:
            return self.engine
        if name not in self._variants:
            known = "; ".join(self._variants) or "none"
            raise VariantError(f"no model '{name}' to compare with: there are {known}")
        if self._other is None or self._other[0] != name:
            self._other = None  # the memory of the one before, before the next takes its own
            self._other = name, self._variants[name]()
        return self._other[1]
