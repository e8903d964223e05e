"""Counters of the service in Prometheus' text format."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from syncflow.serving.jobs import State

SECONDS = (1, 2.5, 5, 10, 20, 40, 80, 160, 320)
BATCHES = (1, 2, 4, 8, 16, 32)


class ServiceMetrics:
    """What happened since the service began."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        registry = self._registry
        self._jobs = Counter("syncflow_jobs", "Jobs that ended", ["state"], registry=registry)
        self._now = Gauge("syncflow_jobs_now", "Jobs that are known", ["state"], registry=registry)
        self._lost = Counter("syncflow_clips_lost", "Clips given out again", registry=registry)
        self._seconds = Histogram(
            "syncflow_batch_seconds", "Time to make a clip's batch", buckets=SECONDS, registry=registry
        )
        self._batch = Histogram(
            "syncflow_batch_clips", "Clips made together", buckets=BATCHES, registry=registry
        )

    def ended(self, state: State) -> None:
        """A job became final."""
        self._jobs.labels(state).inc()

    def made(self, seconds: float) -> None:
        """A clip was made in a batch that took `seconds`."""
        self._seconds.observe(seconds)

    def batch(self, clips: int) -> None:
        """A batch was begun."""
        self._batch.observe(clips)

    def lost(self, clips: int) -> None:
        """What made a batch of `clips` went away before it was done."""
        self._lost.inc(clips)

    def text(self, counts: dict[State, int]) -> bytes:
        """All of it, with the jobs that are known now, by state."""
        for state, count in counts.items():
            self._now.labels(state).set(count)
        return generate_latest(self._registry)
