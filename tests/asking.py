"""The page's own handlers called over HTTP by their number, as anyone can who reads its configuration."""

from __future__ import annotations

import json
from typing import Any

import httpx


class Visitor:
    """One session without a browser."""

    def __init__(self, address: str, session: str = "visitor") -> None:
        self.http = httpx.Client(base_url=address, timeout=60)
        self.session = session
        found = self.http.get("config").json()["dependencies"]
        self.numbers = {one["api_name"]: one["id"] for one in found if one.get("api_name")}

    def join(self, name: str, *data: Any) -> httpx.Response:
        """Put a call into the queue."""
        call = {"data": data, "fn_index": self.numbers[name], "session_hash": self.session}
        return self.http.post("gradio_api/queue/join", json=call)

    def events(self) -> list[dict[str, Any]]:
        """What the queue has for this session until it has no more."""
        told = self.http.get("gradio_api/queue/data", params={"session_hash": self.session}).content
        return [json.loads(line[5:]) for line in told.split(b"\n") if line.startswith(b"data:")]

    def call(self, name: str, *data: Any) -> list[Any] | None:
        """The outputs of a call at its end; None when it was refused."""
        joined = self.join(name, *data)
        assert joined.status_code == 200, joined.text
        done = [event for event in self.events() if event["msg"] == "process_completed"]
        return done[-1]["output"].get("data")

    def at_once(self, name: str, *data: Any) -> httpx.Response:
        """A call that does not queue."""
        call = {"data": data, "fn_index": self.numbers[name], "session_hash": self.session}
        return self.http.post(f"gradio_api/run/{name}", json=call)

    def announce(self, name: str = "begin") -> str:
        """Press a run's button; what the run's call then takes as its last input."""
        return self.at_once(name).json()["data"][0]

    def upload(self, name: str, content: bytes) -> httpx.Response:
        """Send a file as the page does."""
        return self.http.post("gradio_api/upload", files={"files": (name, content)})
