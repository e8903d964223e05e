"""Who may reach the service: this machine alone, or whoever has the token."""

import hmac
import os
from collections.abc import MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from syncflow.errors import UserError
from syncflow.serving.config import is_loopback

VARIABLE = "SYNCFLOW_TOKEN"
SHORTEST = 16  # characters
COOKIE = "syncflow_token"
OPEN = {"/health"}  # for probes; it says nothing of jobs
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


def token_for(host: str) -> str:
    """The token of the environment; empty where there is none and `host` is a loopback address.

    Raises:
        UserError: other machines could reach `host` and there is no token, or a short one.
    """
    token = os.environ.get(VARIABLE, "")
    if not token and is_loopback(host):
        return ""
    if not token:
        raise UserError(
            f"host {host}: other machines reach it, and no token is set; set {VARIABLE} to {SHORTEST} or "
            "more characters, or listen on 127.0.0.1"
        )
    if (
        len(token) < SHORTEST
        or not token.isascii()
        or not token.isprintable()
        or set(" ;,\"'\\") & set(token)
    ):
        raise UserError(
            f"{VARIABLE}: expected {SHORTEST} or more ASCII characters without blanks, quotes, commas and "
            "semicolons; python -c 'import secrets; print(secrets.token_urlsafe())' makes one"
        )
    return token


class Guard:
    """ASGI middleware: the token as `Authorization: Bearer`, or as the cookie that `/?token=...` sets.

    Without a token only this machine's own names are answered, so that no web site reaches the service by a
    name that it points here; and requests from pages of other origins are refused in either case.
    """

    def __init__(self, app: ASGIApp, *, token: str) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or scope["path"] in OPEN:
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        host, origin = headers.get("host", ""), headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            await _refuse(scope, receive, send, 403, f"origin {origin[:100]}: only pages of this server may")
        elif not self._token and urlsplit(f"//{host}").hostname not in LOCAL_NAMES:
            await _refuse(scope, receive, send, 403, f"host {host[:100]}: without a token only localhost may")
        elif self._token and not self._has_token(headers):
            query = dict(parse_qsl(scope.get("query_string", b"").decode("latin-1")))
            if scope["type"] == "http" and self._same(query.pop("token", "")):
                await self._remember(scope, receive, send, query)
            else:
                await _refuse(
                    scope, receive, send, 401, f"token missing or wrong; it is the server's {VARIABLE}"
                )
        else:
            await self._app(scope, receive, send)

    def _same(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token.encode())

    def _has_token(self, headers: MutableMapping[str, str]) -> bool:
        kind, _, value = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self._same(value.strip()):
            return True
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and self._same(cookie.value)

    async def _remember(self, scope: Scope, receive: Receive, send: Send, query: dict[str, str]) -> None:
        """Send the browser on, with the token in a cookie in place of the address."""
        rest = f"?{urlencode(query)}" if query else ""
        answer = RedirectResponse(f"{scope['path']}{rest}", status_code=303)
        answer.set_cookie(
            COOKIE, self._token, httponly=True, samesite="strict", secure=scope.get("scheme") == "https"
        )
        await answer(scope, receive, send)


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, line: str) -> None:
    if scope["type"] == "websocket":
        message: dict[str, Any] = {"type": "websocket.close", "code": 1008, "reason": line[:120]}
        await send(message)
        return
    await PlainTextResponse(f"{line}\n", status_code=status)(scope, receive, send)
