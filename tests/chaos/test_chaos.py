"""Chaos against the real thing: everything is killed, stopped, cut off and restarted at random while runs go on.

The short form runs with the other tests, the long one by ``make soak``; `CHAOS_RUNS` and `CHAOS_SEED` change them. What
must hold is in `oracle.py`.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Self

import pytest
from tests.chaos.oracle import Told, check
from tests.chaos.system import System, stop_for
from tests.process import until

from ostinato.records import RunFilter
from ostinato.states import TERMINAL, State
from ostinato.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.postgres import PostgresServer

FLOWS = {
    "chain": {"length": 12},
    "fan": {"width": 20},
    "nested": {"width": 3},
    "parent": {"width": 3},
    "unlucky": {"length": 5},
}


class Chaos:
    """Does harm at random until it is told to be calm; counts what it did.

    Its thread lives to the end: a process that a thread has started, PostgreSQL, is told to end when the thread does.
    """

    def __init__(self, system: System, postgres: PostgresServer | None, seed: int) -> None:
        self.system, self.postgres, self.random = system, postgres, random.Random(seed)
        self.counts: Counter[str] = Counter()
        self._stop, self._over, self._quiet = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._harm)
        self.error: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def calm(self) -> None:
        """End the harm; all that was stopped or cut off is well again then."""
        self._stop.set()
        assert self._quiet.wait(120), "the chaos does not end"
        if self.error is not None:
            raise self.error

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._over.set()
        self._thread.join(120)

    def _harm(self) -> None:
        deeds: list[tuple[Callable[[], object], int]] = [
            (self.kill_run_process, 8),
            (self.kill_worker, 2),
            (self.kill_server, 1),
            (self.restart_server, 1),
            (self.cut, 2),
            (self.stop_worker, 1),
        ]
        if self.postgres is not None:
            deeds += [(self.kill_backend, 4), (self.restart_database, 1)]
        try:
            while not self._stop.wait(self.random.uniform(0.2, 1.2)):
                deed = self.random.choices([deed for deed, _ in deeds], [weight for _, weight in deeds])[0]
                if deed() is not False:
                    self.counts[deed.__name__.replace("_", " ")] += 1
        except BaseException as error:
            self.error = error
        self._quiet.set()
        self._over.wait()

    def kill_run_process(self) -> bool:
        children = [child for worker in self.system.workers for child in worker.children()]
        if not children:
            return False
        self.random.choice(children).kill()
        return True

    def kill_worker(self) -> None:
        self.random.choice(self.system.workers).restart()

    def kill_server(self) -> None:
        self.random.choice(self.system.servers).restart()

    def restart_server(self) -> None:
        server = self.random.choice(self.system.servers)
        server.end(30)
        self._stop.wait(self.random.uniform(0, 2))
        server.start()

    def cut(self) -> None:
        proxy = self.random.choice(self.system.proxies)
        proxy.refuses = True
        proxy.cut()
        self._stop.wait(self.random.choice([0.2, 1, 3]))
        proxy.refuses = False

    def stop_worker(self) -> None:
        stop_for(self.random.choice(self.system.workers), self.random.choice([1, 9]))

    def kill_backend(self) -> None:
        assert self.postgres is not None
        self.postgres.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name LIKE 'ostinato%' ORDER BY random() LIMIT 1"
        )

    def restart_database(self) -> None:
        assert self.postgres is not None
        self.postgres.halt(self.random.choice([signal.SIGINT, signal.SIGQUIT]))
        self.postgres.start()


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/chaos.db"
    return str(request.getfixturevalue("own_postgres")[1])


def test_every_run_survives_a_little_chaos(database: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    _survive(database, tmp_path, request, runs=30, pace=0.1)


@pytest.mark.soak
def test_every_run_survives_long_chaos(database: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    _survive(database, tmp_path, request, runs=500, pace=0.3)


def _survive(database: str, folder: Path, request: pytest.FixtureRequest, *, runs: int, pace: float) -> None:
    runs = int(os.environ.get("CHAOS_RUNS", runs))
    seed = int(os.environ.get("CHAOS_SEED", random.randrange(1 << 32)))
    postgres = request.getfixturevalue("own_postgres")[0] if database.startswith("postgresql") else None
    begun = time.monotonic()
    servers = 1 if postgres is None else 2
    with System(folder, database, servers=servers, pace=pace) as system:
        names = list(FLOWS)
        with Chaos(system, postgres, seed) as chaos:
            ids = [system.start(names[n % len(names)], f"run-{n}", **FLOWS[names[n % len(names)]]) for n in range(runs)]
            store = open_store(database)
            until(lambda: _open(store) < runs // 3, "two thirds of the runs to end under fire", 60 + runs * 2)
            chaos.calm()
            until(
                lambda: _open(store) == 0,
                lambda: f"all runs to end when it is quiet again; left: {_left(store)}\n{system.logs()}",
                90 + runs / 4,
            )
            counts = check(store, Told(system.ledger), ids)
            _slots_are_free(system, store)
            store.close()
    print(f"\nseed {seed}, {time.monotonic() - begun:.0f} s: {counts}; harm done: {dict(chaos.counts)}")


def _open(store: object) -> int:
    found = store.list_runs(RunFilter(states=_OPEN, limit=1000))  # type: ignore[attr-defined]
    return len(found)


_OPEN = [state for state in State if state not in TERMINAL]


def _left(store: object) -> list[str]:
    return [
        f"{run.id} {run.flow} {run.state} {run.reason} epoch {run.epoch} held by {run.worker_id}"
        for run in store.list_runs(RunFilter(states=_OPEN, limit=20))  # type: ignore[attr-defined]
    ]


def _slots_are_free(system: System, store: object) -> None:
    """As many runs as there are slots can be under way at once: none was lost on the way."""

    def ready() -> bool:
        now = store.now()  # type: ignore[attr-defined]
        return sum(worker.slots for worker in store.list_workers() if worker.expires_at > now) == 8  # type: ignore[attr-defined]

    def absent() -> str:
        workers = [f"{each.id} {each.pid} {each.slots}" for each in store.list_workers()]  # type: ignore[attr-defined]
        return f"both workers to be back; there are {workers}\n{system.logs()}"

    until(ready, absent, 30)
    ids = [system.start("chain", f"after-{n}", length=40) for n in range(8)]
    most = 0

    def done() -> bool:
        nonlocal most
        most = max(most, len(store.list_held_runs()))  # type: ignore[attr-defined]
        return all(store.get_run(run_id).state in TERMINAL for run_id in ids)  # type: ignore[attr-defined]

    until(done, "eight more runs to end", 60)
    assert most == 8, f"of 8 slots only {most} were taken at once"
