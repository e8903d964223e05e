"""The service behind a web server of this process."""

import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from syncflow.errors import UserError
from syncflow.serving.access import Guard
from syncflow.serving.config import ServiceConfig
from syncflow.serving.service import ClipService


def listen(
    app: ASGIApp, service: ClipService, *, config: ServiceConfig, token: str, ready: Callable[[str], None]
) -> None:
    """Answer until SIGTERM or Ctrl-C; then take no more jobs, and let what runs finish.

    A second signal ends it at once.

    Args:
        app: over `service`, without a guard.
        service: is started here, and closed.
        token: of `token_for`.
        ready: called with the address once requests are answered.

    Raises:
        UserError: the address is taken, or is none of this machine.
        KeyboardInterrupt: it was Ctrl-C, and the service has ended.
    """
    try:
        family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
        listener = socket.create_server((config.host, config.port), family=family)
    except OSError as error:
        raise UserError(
            f"host {config.host}, port {config.port}: cannot listen ({error.strerror or error}); "
            "give another --port"
        ) from None
    name = f"[{config.host}]" if ":" in config.host else config.host
    server = _Server(
        uvicorn.Config(
            Guard(app, token=token),
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=5,
        ),
        ready=lambda: ready(f"http://{name}:{listener.getsockname()[1]}/"),
        ending=service.close,
    )
    service.start()
    try:
        with listener:
            server.run(sockets=[listener])
    finally:
        service.close()
    if server.ended_by == signal.SIGINT:
        raise KeyboardInterrupt


class _Server(uvicorn.Server):
    """Ends the service before it stops answering, so that clients see how their jobs end."""

    def __init__(
        self, config: uvicorn.Config, *, ready: Callable[[], None], ending: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._ready, self._ending = ready, ending
        self.ended_by: int | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.ended_by is not None:
            super().handle_exit(sig, frame)  # a second signal ends at once
            return
        self.ended_by = sig
        threading.Thread(target=self._end, name="syncflow-ending", daemon=True).start()

    def _end(self) -> None:
        self._ending()
        # not by uvicorn's handle_exit, which would raise the signal again and end the process by it
        self.should_exit = True
