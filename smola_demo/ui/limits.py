"""What one request may carry and ask for, where Gradio bounds less.

It bounds the size of an uploaded file, not that of anything else, and fetches any public address for whoever
asks.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 12_000_000  # an upload of 10 MB and its wrapping
FETCHES = re.compile(r"/file[=/]\s*https?:", re.IGNORECASE)
NO_FETCHING = "This page fetches nothing from other hosts: upload the picture."
TOO_LARGE = f"A request has at most {MAX_BODY_BYTES // 1_000_000} MB: send less."


class BodyLimit:
    """ASGI middleware that refuses a larger body with status 413, before it has gathered in memory."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting what comes in: its header may be absent or lie."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        told = dict(scope["headers"]).get(b"content-length", b"")
        if told.isdigit() and int(told[:20]) > MAX_BODY_BYTES:
            await PlainTextResponse(TOO_LARGE, status_code=413)(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BODY_BYTES:
                raise HTTPException(413, TOO_LARGE)
            return message

        await self.app(scope, counted, send)


class OwnFiles:
    """ASGI middleware that refuses, with status 403, to fetch another host's address for a visitor."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; its path is decoded by now."""
        if scope["type"] == "http" and FETCHES.search(scope["path"]):
            await PlainTextResponse(NO_FETCHING, status_code=403)(scope, receive, send)
            return
        await self.app(scope, receive, send)
