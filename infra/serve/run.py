"""Ray Serve on this machine, or on the cluster of RAY_ADDRESS."""

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from infra.executors.local_cluster import cluster
from infra.executors.supervisor import MEANS, Interrupted
from syncflow.config import with_absolute_paths
from syncflow.serving.body_limit import VARIABLE, middlewares
from syncflow.serving.config import LimitsConfig, ServerConfig

DEFAULTS = {
    # a loaded machine imports for minutes; Ray Serve would begin anew after seconds
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "300",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "120",
    "RAY_SERVE_HAPROXY_STARTUP_TIMEOUT_S": "300",
}


def environment(limits: LimitsConfig) -> dict[str, str]:
    """Variables by which Ray Serve's proxy finds what limits the bodies that it takes."""
    callback = f"{middlewares.__module__}:{middlewares.__name__}"
    return {"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": callback, VARIABLE: str(limits.upload_mib)}


@contextmanager
def serving(config: ServerConfig, *, log_to_driver: bool = True) -> Iterator[str]:
    """The address of the running service; at the end no more jobs are taken, and what runs may finish."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    os.environ.update(environment(config.limits))
    from ray import serve

    from infra.serve.front import LOGGING, NAME, application

    cpus = max(2, round(config.replicas.most * config.replicas.cpus))
    port = config.port or _free_port(config.host)
    logging.getLogger("ray.serve").setLevel(LOGGING["log_level"])
    with cluster(num_cpus=cpus, log_to_driver=log_to_driver):
        try:
            serve.start(
                proxy_location="HeadOnly",
                http_options={"host": config.host, "port": port},
                logging_config=LOGGING,
            )
            serve.run(application(with_absolute_paths(config).model_dump()), name=NAME, route_prefix="/")
            yield f"http://{config.host}:{port}/"
        finally:
            serve.shutdown()


def serve_until_signal(config: ServerConfig, *, ready: Callable[[str], None]) -> int:
    """Answer until a signal that `supervised` passes on; the exit status, 130 after Ctrl-C.

    Args:
        config: what is served, and where.
        ready: called with the address once requests are answered.
    """
    received: list[signal.Signals] = []
    ended = threading.Event()

    def end(number: int, _: object) -> None:
        received.append(MEANS[signal.Signals(number)])
        ended.set()

    with serving(config) as address:
        # not before: a start that is under way is broken off by the handlers of `supervised`
        for kind in MEANS:
            signal.signal(kind, end)
        ready(address)
        ended.wait()
    return Interrupted(received[0], "").status


def _free_port(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]
