"""What Prometheus reads at ``/metrics``: of this server's requests and loops, and of the queue as it is now.

The queue is looked at when it is asked for, in a few reads whose cost does not grow with history.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from starlette.types import Scope

    from ostinato.store.store import Store

_FAST: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0)


class Metrics:
    """The figures of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own = self.registry
        self._requests = Counter("ostinato_requests", "Requests answered.", ["method", "route", "status"], registry=own)
        self._seconds = Histogram(
            "ostinato_request_seconds", "Seconds to answer a request.", ["route"], buckets=_FAST, registry=own
        )
        self._kinds: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self.claims = Counter("ostinato_claims", "Runs given to workers by this server.", registry=own)
        self.events = Counter("ostinato_events_streamed", "Events sent to those who watch.", registry=own)
        self.watching = Gauge("ostinato_watchers", "Those who watch the live events.", registry=own)
        self._loop_seconds = Histogram(
            "ostinato_loop_seconds", "Seconds a background duty took.", ["loop"], buckets=_FAST, registry=own
        )
        self._loop_failures = Counter(
            "ostinato_loop_failures", "Background duties that failed.", ["loop"], registry=own
        )
        self._waiting = Gauge("ostinato_runs_waiting", "Runs in the queue.", ["pool", "queue"], registry=own)
        self._oldest = Gauge(
            "ostinato_oldest_run_waiting_seconds", "Seconds the oldest run waits.", ["pool", "queue"], registry=own
        )
        self._held = Gauge("ostinato_runs_held", "Runs that workers carry out, up to 10,000.", ["pool"], registry=own)
        self._workers = Gauge("ostinato_workers", "Workers that are registered.", ["kind"], registry=own)
        self._slots = Gauge("ostinato_worker_slots", "Runs that all workers could carry out at once.", registry=own)

    def request(self, scope: Scope, status: int, seconds: float) -> None:
        """Count a request. Routes are told apart by their pattern, never by what callers make up."""
        route = getattr(scope.get("route"), "path", None) or ("/api/store" if "endpoint" in scope else "other")
        counter, seconds_of = self._requests_of(scope["method"], route, status)
        counter.inc()
        seconds_of.observe(seconds)

    def _requests_of(self, method: str, route: str, status: int) -> tuple[Counter, Histogram]:
        """Return what counts such requests, remembered: to look it up by its labels takes twice as long as to count."""
        kind = (method, route, status)
        found = self._kinds.get(kind)
        if found is None:
            found = self._kinds[kind] = (self._requests.labels(*kind), self._seconds.labels(route))
        return found

    def loop(self, name: str, seconds: float, *, failed: bool) -> None:
        """Count a background duty that has been done once."""
        self._loop_seconds.labels(name).observe(seconds)
        if failed:
            self._loop_failures.labels(name).inc()

    def text(self, store: Store) -> bytes:
        """Look at the queue and write everything in Prometheus' format."""
        now = store.now()
        for gauge in (self._waiting, self._oldest, self._held, self._workers):
            gauge.clear()
        for length in store.list_queue_lengths():
            self._waiting.labels(length.pool, length.queue).set(length.waiting)
            oldest = 0.0 if length.oldest_at is None else max(0.0, (now - length.oldest_at) / 1e6)
            self._oldest.labels(length.pool, length.queue).set(oldest)
        for run in store.list_held_runs(limit=10_000):
            self._held.labels(run.pool or "").inc()
        workers = store.list_workers()
        for worker in workers:
            self._workers.labels(worker.kind).inc()
        self._slots.set(sum(worker.slots for worker in workers))
        return generate_latest(self.registry)
