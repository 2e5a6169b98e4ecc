"""One visitor's run of the model, from the press of a button to its end: what every tab's handlers share.

A run is announced at once, outside the queue, so that Stop has something to stop; the queue then calls
`follow`. Whatever goes wrong, the page gets one sentence and its buttons back, and the log gets the rest.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from smola_demo.ui.loading import EngineHandle, StopFlags, sentence
from smola_demo.ui.view import encode

BUSY = "Many people are asking at the moment: try again in a minute."
LATER = "ask again when it is there."
OTHER = "Another run of yours is going: wait for it, or stop it where you started it."

Work = Callable[[threading.Event], Iterator[tuple[Any, ...]]]


class ModelRuns:
    """Base of the handlers of a tab that runs the model.

    A run draws its view first, then `beside` others, then the buttons. Only the first has to tell that it
    waits, was stopped or failed, so these are what a tab may say in its own words.
    """

    beside = 0

    def __init__(self, handle: EngineHandle, stops: StopFlags) -> None:
        self.handle, self.stops = handle, stops

    def waiting(self, said: str) -> dict[str, Any]:
        """Value of the first view while the run stands in the queue; `said` tells how many are before it."""
        return {"state": "running", "verdict": said}

    def told(self, state: str, message: str) -> dict[str, Any]:
        """Value of the first view for one sentence; state is "stopped" or "error"."""
        return {"state": state, "message": message}

    def buttons(self, *, busy: bool = False) -> tuple[Any, ...]:
        """Updates of the tab's buttons: while the model works only Stop."""
        raise NotImplementedError("each tab names its own buttons")

    def begin(self, request: gr.Request) -> tuple[Any, ...]:
        """At once, before the queue: say so, and give Stop something to stop."""
        if self.handle.loads and self.handle.loading:  # another model takes the place of one that was there
            return encode(self.told("stopped", f"{self.handle.status}: {LATER}")), *self.buttons()
        visitor = request.session_hash
        if not self.stops.begin(visitor, self):
            mine = self.stops.owner(visitor) is self  # Enter pressed twice: the run on screen goes on
            note = gr.skip() if mine else encode(self.told("error", OTHER))
            return note, *skip(len(self.buttons()))
        ahead = self.stops.ahead(visitor)
        said = f"Waiting for the model, {ahead} before you …" if ahead else "Waiting for the model …"
        return encode(self.waiting(said)), *self.buttons(busy=True)

    def follow(self, work: Work, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        """The announced run: `work` gets the flag that Stop sets and yields the values of the views."""
        flag = self.stops.flag(request.session_hash)
        if flag is None:  # announced while another run was going, which is over now
            yield skip(1 + self.beside + len(self.buttons()))
            return
        try:
            self.handle.require()
            if flag.is_set():
                yield self._last("stopped", "Stopped.")
                return
            for value, *others in work(flag):
                shown = (gr.skip() if other is None else encode(other) for other in others)
                yield encode(value), *shown, *self.buttons(busy=value["state"] in ("running", "writing"))
        except Exception as error:  # noqa: BLE001  whatever happens, the page gets a sentence and its buttons back
            log(error)
            yield self._last("error", sentence(error))
        finally:
            self.stops.end(request.session_hash)

    def _last(self, state: str, message: str) -> tuple[Any, ...]:
        return encode(self.told(state, message)), *skip(self.beside), *self.buttons()

    def refused(self, request: gr.Request) -> tuple[Any, ...]:
        """The queue was full, or the server could not take the run."""
        self.stops.end(request.session_hash)
        return encode(self.told("error", BUSY)), *self.buttons()

    def stop(self, request: gr.Request) -> None:
        """End this visitor's run at its next step."""
        self.stops.stop(request.session_hash)


def skip(count: int) -> tuple[Any, ...]:
    """Outputs that stay as they are."""
    return tuple(gr.skip() for _ in range(count))


def log(error: Exception) -> None:
    """What was not meant for the user belongs in the log."""
    if not isinstance(error, ValueError):
        traceback.print_exc()
