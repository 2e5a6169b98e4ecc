"""One visitor's run of the model, from the press of a button to its end: what every tab's handlers share.

A run is announced at once, outside the queue, so that Stop has something to stop; the queue then calls
`follow`. In between the first view's value carries the run's ticket, 0 for a press that got none, which is
told beside what the view shows: such a press, or one whose run was stopped before its turn, does nothing when
the queue comes to it. Whatever goes wrong, the page gets one sentence and its buttons back, and the log gets
the rest.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from smola_demo.ui.loading import EngineHandle, sentence
from smola_demo.ui.view import decode, encode

if TYPE_CHECKING:
    from smola_demo.ui.stops import StopFlags

BUSY = "Many people are asking at the moment: try again in a minute."
LATER = "ask again when it is there."
OTHER = "Another run of yours is going: wait for it, or stop it where you started it."
STOP = "Stop"

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

    @property
    def usable(self) -> bool:
        """Whether a press makes sense: a model is there, or was and comes back if the next one fails."""
        return self.handle.info is not None or self.handle.switching

    def shown(self, value: dict[str, Any], **more: Any) -> str:
        """A view's value and which model it is of, so that the page knows what a switch leaves behind."""
        return encode(value | {"loads": self.handle.loads} | more)

    def begin(self, request: gr.Request) -> tuple[Any, ...]:
        """At once, before the queue: say so, and give Stop something to stop."""
        visitor = request.session_hash
        unchanged = skip(len(self.buttons()))
        if self.handle.switching and self.stops.owner(visitor) is None:
            return _refusal(f"{self.handle.status}: {LATER}"), *unchanged
        ticket = self.stops.begin(visitor, self)
        if not ticket:
            mine = self.stops.owner(visitor) is self  # Enter pressed twice: the run on screen goes on
            return gr.skip() if mine else _refusal(OTHER), *unchanged
        ahead = self.stops.ahead(visitor)
        said = f"Waiting for the model, {ahead} before you …" if ahead else "Waiting for the model …"
        return self.shown(self.waiting(said), ticket=ticket), *self.buttons(busy=True)

    def follow(self, work: Work, announced: Any, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        """The announced run: `work` gets the flag that Stop sets and yields the values of the views.

        announced  the first view's value when the run was put into the queue
        """
        run = self.stops.take(request.session_hash, decode(announced).get("ticket"), self)
        buttons = len(self.buttons())
        drawn = False
        if run is None:
            yield skip(1 + self.beside + buttons)
            return
        try:
            self.handle.require()
            for value, *others in work(run.flag):
                shown = (gr.skip() if other is None else encode(other) for other in others)
                going = value["state"] in ("running", "writing")  # Stop keeps saying that it stops
                fresh = going and not drawn and not run.flag.is_set()
                after = self.buttons(busy=fresh) if fresh or not going else skip(buttons)
                # A press during the run finds its ticket here, and so takes no run that comes after.
                yield self.shown(value, ticket=run.ticket), *shown, *after
                drawn = True
        except Exception as error:  # noqa: BLE001  whatever happens, the page gets a sentence and its buttons back
            log(error)
            ended = self.shown(self.told("error", sentence(error)), ticket=run.ticket)
            yield ended, *skip(self.beside), *self.buttons()
        finally:
            self.stops.end(request.session_hash, run.ticket)

    def refused(self, announced: Any, request: gr.Request) -> tuple[Any, ...]:
        """The queue was full, or the server could not take the run."""
        visitor = request.session_hash
        if self.stops.take(visitor, decode(announced).get("ticket"), self):
            self.stops.end(visitor)
        elif self.stops.owner(visitor) is not None:  # one press too many: the run on screen goes on
            return skip(1 + len(self.buttons()))
        return self.shown(self.told("error", BUSY)), *self.buttons()

    def stop(self, request: gr.Request) -> tuple[Any, ...]:
        """End this visitor's run at its next step, or at once when it still stands in the queue."""
        if self.stops.owner(request.session_hash) is not self:  # it has just ended
            return gr.skip(), *self.buttons()
        if self.stops.stop(request.session_hash):
            return skip(1 + len(self.buttons()))
        return self.shown(self.told("stopped", "Stopped.")), *self.buttons()


def _refusal(message: str) -> str:
    """The sentence for a press that got no run: the view keeps what it shows, and the queue has no work.

    Not a warning of Gradio's: outside its queue those reach no page.
    """
    # Each is another value, or a second press would be told nothing.
    return encode({"aside": message, "ticket": 0, "press": time.monotonic_ns()})


def stop_update(*, busy: bool) -> Any:
    """Update of a Stop button, which may have said that it stops."""
    return gr.update(value=STOP, interactive=busy)


def skip(count: int) -> tuple[Any, ...]:
    """Outputs that stay as they are."""
    return tuple(gr.skip() for _ in range(count))


def log(error: Exception) -> None:
    """What was not meant for the user belongs in the log."""
    if not isinstance(error, ValueError):
        traceback.print_exc()
