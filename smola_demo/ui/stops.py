"""Who runs the model or waits for it: one run a visitor, which Stop ends. No torch and no gradio here."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from itertools import count


@dataclass
class Run:
    """A visitor's announced run. `begun`: the queue has let go of it."""

    ticket: int
    owner: object
    begun: bool = False
    flag: threading.Event = field(default_factory=threading.Event)


class StopFlags:
    """A flag for each visitor's run, so that Stop ends it between two tokens, or before its turn has come.

    One run a visitor. Each has a ticket, so that a press that was refused or stopped takes no later run.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: dict[str | None, Run] = {}
        self._tickets = count(1)

    def begin(self, session: str | None, owner: object = None) -> int:
        """Announce a run of `owner`; its ticket, or 0 when this visitor has one, queued or running."""
        with self._lock:
            if session in self._runs:
                return 0
            self._runs[session] = run = Run(next(self._tickets), owner)
            return run.ticket

    def take(self, session: str | None, ticket: object, owner: object) -> Run | None:
        """The turn of the run with this ticket has come; None when it is over or going already.

        A ticket of None is one the page has lost (a late look at the model wrote over the view that held it):
        then the owner's own run is meant.
        """
        with self._lock:
            run = self._runs.get(session)
            if run is None or run.begun:
                return None
            if run.ticket != ticket and not (ticket is None and run.owner is owner):
                return None
            run.begun = True
            return run

    def flag(self, session: str | None) -> threading.Event | None:
        """The flag of the announced run; None when there is none."""
        with self._lock:
            run = self._runs.get(session)
            return run and run.flag

    def ahead(self, session: str | None) -> int:
        """How many runs of others were announced before this visitor's and are not over."""
        with self._lock:
            announced = list(self._runs)  # in the order in which they came
            return announced.index(session) if session in self._runs else len(announced)

    def owner(self, session: str | None) -> object:
        """Who announced the visitor's run; None when there is none."""
        with self._lock:
            run = self._runs.get(session)
            return run and run.owner

    def stop(self, session: str | None) -> bool:
        """End the visitor's run; whether it has begun and goes on to its next step. Else it is over now."""
        with self._lock:
            run = self._runs.get(session)
            if run is None:
                return False
            run.flag.set()
            if not run.begun:
                del self._runs[session]
            return run.begun

    def end(self, session: str | None, ticket: int | None = None) -> None:
        """The run with this ticket is over; without one: the visitor has left."""
        with self._lock:
            run = self._runs.get(session)
            if run is not None and ticket in (None, run.ticket):
                run.flag.set()
                del self._runs[session]
