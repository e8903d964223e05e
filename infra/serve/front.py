"""The front of the service: queue, files and HTTP in one process, with replicas that make the clips."""

import threading
import time
from typing import Any, ClassVar

from ray import serve
from ray.serve import Application
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp, Receive, Scope, Send

from infra.serve.replica import RemoteMaker, Replica
from syncflow.config import validate
from syncflow.errors import UserError
from syncflow.serving.access import Guard, token_for
from syncflow.serving.api import make_api
from syncflow.serving.config import ServerConfig
from syncflow.serving.request import About
from syncflow.serving.service import ClipService

NAME = "syncflow"
HEALTH_S = 120.0  # a batch holds its process for seconds at a time
LOGGING = {"log_level": "WARNING", "enable_access_log": False}
MANY = 10_000  # requests that the front answers at once; what may wait is `limits.queue`


class OfThisProcess:
    """ASGI application that Ray Serve is given before the front's process has one."""

    app: ClassVar[ASGIApp | None] = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert OfThisProcess.app is not None, "Ray Serve sends requests to a front that began"
        await OfThisProcess.app(scope, receive, send)


@serve.ingress(OfThisProcess())
class Front:
    """Holds every job; there is one, so that each job has one owner."""

    def __init__(self, config: ServerConfig, replicas: DeploymentHandle) -> None:
        makers = [RemoteMaker(replicas) for _ in range(config.replicas.most)]
        self.service = _service(config, about=_about(replicas), makers=makers)
        app = make_api(self.service)
        if config.page:
            from syncflow.serving.page import add_page  # loads gradio

            app = add_page(app, self.service)
        OfThisProcess.app = Guard(app, token=token_for(config.host))
        self.service.start()

    def check_health(self) -> None:
        """Ray Serve begins a new front when this raises."""
        if not self.service.healthy:
            raise RuntimeError("a thread that hands out batches has ended")

    def __del__(self) -> None:
        service = getattr(self, "service", None)
        if service is not None:
            service.close()


def _service(config: ServerConfig, *, about: About, makers: list[RemoteMaker]) -> ClipService:
    """The service, once the front before this one has finished what it runs and left the folder."""
    end = time.monotonic() + _drain_s(config)
    while True:
        try:
            return ClipService(config, about=about, makers=makers)
        except UserError:
            if time.monotonic() > end:
                raise
            time.sleep(1.0)


def _drain_s(config: ServerConfig) -> float:
    """How long Ray Serve waits for a process that is to end, seconds."""
    return config.close_s + 10


def _about(replicas: DeploymentHandle) -> About:
    """Asks a replica; from a thread, as Ray Serve's handles block in no event loop."""
    found: list[About] = []
    thread = threading.Thread(target=lambda: found.append(replicas.about.remote().result()))
    thread.start()
    thread.join()
    return found[0]


def application(values: dict[str, Any]) -> Application:
    """Front and replicas of the settings in `values` (those of `ServerConfig`); a builder for Ray Serve's
    config files."""
    config = validate(ServerConfig, values, source="the application's args")
    token_for(config.host)
    replicas = config.replicas
    drain_s = _drain_s(config)
    maker = serve.deployment(
        Replica,
        name="replica",
        logging_config=LOGGING,
        health_check_timeout_s=HEALTH_S,
        ray_actor_options={"num_cpus": replicas.cpus, "num_gpus": replicas.gpus},
        autoscaling_config={
            "min_replicas": replicas.least,
            "max_replicas": replicas.most,
            "target_ongoing_requests": 1,
        },
        max_ongoing_requests=2,  # one is made, and one waits: what autoscaling sees
        graceful_shutdown_timeout_s=drain_s,
    )
    front = serve.deployment(
        Front,
        name="front",
        logging_config=LOGGING,
        num_replicas=1,
        health_check_timeout_s=HEALTH_S,
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=MANY,
        graceful_shutdown_timeout_s=drain_s,
    )
    return front.bind(config, maker.bind(config))  # pyright: ignore[reportFunctionMemberAccess]
