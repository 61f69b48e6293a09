"""A worker without processes: it claims runs from a test's store and carries them out here, as a host process does."""

from __future__ import annotations

import contextlib
import itertools
import threading
from typing import TYPE_CHECKING, Any

from tests.process import until

from ostinato.authoring.flow import Flow
from ostinato.ids import new_id
from ostinato.records import Run, Worker
from ostinato.runtime.claimed import ClaimedRun, Ending
from ostinato.runtime.lone_task import flow_of_task
from ostinato.runtime.session import Session
from ostinato.states import State
from ostinato.work import Offer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.inside import Home

    from ostinato.store.store import Store

_numbers = itertools.count(1)
_open: list[Store] = []


def close_all() -> None:
    """Close the stores of all fleets of the test."""
    while _open:
        _open.pop().close()


class Fleet:
    """Workers of one home, and the flows and tasks they know by name."""

    def __init__(self, home: Home, *known: Any) -> None:
        self.home = home
        self.store: Store = home.open()
        _open.append(self.store)
        self.known = {
            flow.name: flow for flow in (item if isinstance(item, Flow) else flow_of_task(item) for item in known)
        }

    def order(self, flow: Flow[Any, Any], pool: str = "default", **parameters: Any) -> Run:
        """Queue a run of a flow, as a start from outside does."""
        from ostinato.fingerprint import fingerprint
        from ostinato.io.results import ResultStore

        given = flow.validate((), parameters)
        stored, _ = ResultStore(self.home.settings.results_url).dump(given, fingerprint(given), 1 << 20)
        now = self.store.now()
        identity = new_id(now)
        return self.store.create(
            Run(
                id=identity,
                flow=flow.name,
                state=State.QUEUED,
                lineage=identity,
                parameters=stored,
                created_at=now,
                pool=pool,
                code=flow.spec.code,
            )
        )

    def register(self, *pools: str) -> str:
        """Register a worker and return its id."""
        now = self.store.now()
        worker = Worker(
            id=f"w{next(_numbers)}", kind="worker", host="h", pid=1, pid_started="", version="1", started_at=now,
            expires_at=now, pools=list(pools), slots=8,
        )  # fmt: skip
        self.store.register(worker)
        return worker.id

    def claim(self, worker: str, pool: str = "default") -> Run | None:
        """Claim one run."""
        found = self.store.claim(worker, Offer(pools=[pool], slots=1))
        return found[0].run if found else None

    def carry_out(self, pool: str = "default", *, store: Any = None, worker: str | None = None) -> tuple[Run, Ending]:
        """Claim the next run of a pool and carry it out to its end or its suspension."""
        worker = worker or self.register(pool)
        run = until(lambda: self.claim(worker, pool), f"a run in the pool {pool}")
        with Session(self.home.settings, store=store or self.store, guest=worker) as session:
            ending = ClaimedRun(session, run).carry_out(self.known[run.flow])
        return self.store.get_run(run.id), ending

    @contextlib.contextmanager
    def serving(self, pool: str, threads: int = 2) -> Iterator[None]:
        """Carry out whatever comes to a pool, on threads, while the context lasts."""
        over = threading.Event()
        worker = self.register(pool)
        failures: list[BaseException] = []

        def serve() -> None:
            with Session(self.home.settings, store=self.store, guest=worker) as session:
                while not over.is_set():
                    run = self.claim(worker, pool)
                    self.store.beat(worker)
                    self.store.wake()
                    if run is None:
                        over.wait(0.01)
                        continue
                    try:
                        ClaimedRun(session, run).carry_out(self.known[run.flow])
                    except BaseException as error:
                        failures.append(error)

        served = [threading.Thread(target=serve, name=f"fleet-{pool}-{n}") for n in range(threads)]
        for thread in served:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in served:
                thread.join(20)
            assert not failures, failures
