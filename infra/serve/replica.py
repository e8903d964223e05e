"""A replica that holds the weights, and what asks one for a batch."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import cast

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle, DeploymentResponseGenerator

from syncflow.serving.config import ServerConfig
from syncflow.serving.orders import Cancelled, MakerLostError, Order, Outcome, Progress, Tell
from syncflow.serving.request import About

Event = Progress | list[Outcome]  # the last event of a batch is its outcomes


class Replica:
    """One `ClipMaker` in a process of its own; it makes one batch at a time."""

    def __init__(self, config: ServerConfig) -> None:
        from syncflow.serving.maker import ClipMaker  # loads torch, which front and driver do without

        self._maker = ClipMaker(config)
        self._thread = ThreadPoolExecutor(1)

    def about(self) -> About:
        """What the model makes."""
        return self._maker.about

    async def make(self, orders: list[Order]) -> AsyncIterator[Event]:
        """Progress as it comes, then the outcomes; a caller that leaves ends the batch at its next step."""
        loop, events = asyncio.get_running_loop(), asyncio.Queue[Event | None]()
        left = threading.Event()

        def tell(progress: Progress) -> None:
            loop.call_soon_threadsafe(events.put_nowait, progress)

        making = loop.run_in_executor(
            self._thread, partial(self._maker, orders, tell=tell, cancelled=lambda _: left.is_set())
        )
        making.add_done_callback(lambda _: events.put_nowait(None))
        try:
            while (event := await events.get()) is not None:
                yield event
            yield making.result()
        finally:
            left.set()


class RemoteMaker:
    """Gives each batch to whichever replica is free (a `Maker` of `syncflow.serving.service`)."""

    def __init__(self, replicas: DeploymentHandle) -> None:
        self._replicas = replicas

    def __call__(self, orders: Sequence[Order], *, tell: Tell, cancelled: Cancelled) -> list[Outcome]:
        """Raises MakerLostError when the replica went away.

        Args:
            tell: called with an order's share that is done, and its preview.
            cancelled: whether an order is no longer wanted.
        """
        try:
            handle = self._replicas.options(stream=True)
            events = cast(DeploymentResponseGenerator, handle.make.remote(list(orders)))
            for event in events:
                if isinstance(event, list):
                    return event
                tell(event)
                if all(cancelled(order.id) for order in orders):
                    events.cancel()
                    return [Outcome(id=order.id) for order in orders]
        except (RayError, RayServeException) as error:
            raise MakerLostError(f"the replica went away ({type(error).__name__})") from error
        raise MakerLostError("the replica ended without a word")
