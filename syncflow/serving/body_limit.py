"""Large bodies are few at a time, and none is larger than an upload may be: for a proxy that keeps them.

Ray Serve's HTTP proxy reads a body as fast as it comes and holds it in memory until the service has taken it.
"""

import os

from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from syncflow.serving.config import DRAINED, JSON_BYTES, LimitsConfig

VARIABLE = "SYNCFLOW_UPLOAD_MIB"
AT_ONCE = 4  # large bodies


def middlewares() -> list[Middleware]:
    """Of a proxy in a process of its own, which learns the limit from `VARIABLE` (MiB)."""
    most = int(os.environ.get(VARIABLE) or LimitsConfig().upload_mib)
    return [Middleware(BodyLimit, most=most << 20, at_once=AT_ONCE)]


class BodyLimit:
    """ASGI middleware: refuses bodies over `most` bytes, and more than `at_once` large ones at a time.

    Args:
        app: the application that is guarded.
    """

    def __init__(self, app: ASGIApp, *, most: int, at_once: int) -> None:
        self._app, self._most, self._at_once = app, most, at_once
        self._large = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        length, chunked = headers.get("content-length", "0"), "transfer-encoding" in headers
        size = int(length) if length.isdigit() else 0
        if size > self._most:
            await self._refuse(
                scope, receive, send, 413, f"video: over {self._most >> 20} MiB; upload a shorter one"
            )
        elif not chunked and size <= JSON_BYTES:
            await self._app(scope, receive, send)
        elif self._large >= self._at_once:
            text = f"{self._large} uploads are on their way already; ask again later"
            await self._refuse(scope, receive, send, 429, text)
        else:
            self._large += 1
            try:
                await self._app(scope, self._counted(receive), send)
            finally:
                self._large -= 1

    def _counted(self, receive: Receive) -> Receive:
        """`receive`, for which a body that says no length and is too large has broken off."""
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            return message if size <= self._most else {"type": "http.disconnect"}

        return counted

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, status: int, error: str) -> None:
        """Answer once the body has come and is forgotten: who still sends would see a broken connection."""
        left, more = DRAINED * self._most, True
        while more and left > 0:
            message = await receive()
            left -= len(message.get("body", b""))
            more = message.get("more_body", False)
        headers = {"Retry-After": "10"} if status == 429 else None
        await JSONResponse({"error": error}, status_code=status, headers=headers)(scope, receive, send)
