"""Ray Serve on this machine, or on the cluster of RAY_ADDRESS."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from infra.executors.local_cluster import cluster
from syncflow.config import with_absolute_paths
from syncflow.serving.config import ServerConfig

PATIENT = {  # a loaded machine imports for minutes; Ray Serve would begin anew after seconds
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "300",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "120",
    "RAY_SERVE_HAPROXY_STARTUP_TIMEOUT_S": "300",
}


@contextmanager
def serving(config: ServerConfig, *, log_to_driver: bool = True) -> Iterator[str]:
    """The address of the running service; at the end no more jobs are taken, and what runs may finish."""
    for name, value in PATIENT.items():
        os.environ.setdefault(name, value)
    from ray import serve

    from infra.serve.front import NAME, application

    cpus = max(2, round(config.replicas.most * config.replicas.cpus))
    with cluster(num_cpus=cpus, log_to_driver=log_to_driver):
        serve.start(http_options={"host": config.host, "port": config.port, "location": "HeadOnly"})
        try:
            serve.run(application(with_absolute_paths(config).model_dump()), name=NAME, route_prefix="/")
            yield f"http://{config.host}:{config.port}/"
        finally:
            serve.shutdown()


def serve_until_signal(config: ServerConfig, *, ready: Callable[[str], None]) -> None:
    """Answer until SIGTERM or Ctrl-C; `ready` is called with the address once requests are answered."""
    ended = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: ended.set())
    with serving(config) as address:
        ready(address)
        ended.wait()
