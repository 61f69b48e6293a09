"""Limits: how soon a waiter has the slot that another gives back, through a server; what a limited task costs.

Holder and waiter are two clients of one server, each with its own connection: the holder's commit returns the slot, and
what is timed is from the moment that commit is acknowledged, or was sent, until the waiter's long poll has answered.
The floor of a limited task is the same chain without the limit, in the same process.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from bench.figure import Figure, Target
from bench.system import Program, free_port

from ostinato import flow, task
from ostinato.ids import new_id
from ostinato.limits import Entrance, Limit
from ostinato.records import Commit, Run, Worker
from ostinato.runtime.passes import Passes
from ostinato.runtime.session import Session
from ostinato.runtime.start import begin
from ostinato.settings import Settings
from ostinato.states import State
from ostinato.store.open import open_store
from ostinato.store.remote import RemoteStore

if TYPE_CHECKING:
    from bench.ground import Database, Ground

    from ostinato.store.store import Store

TITLE = "(m) Limits"
_ONE = Limit("one", 1)


@task
def free(number: int) -> int:
    """Do nothing."""
    return number


@task(limits=Limit("many", 100))
def limited(number: int) -> int:
    """Do nothing, with a slot."""
    return number


@flow
def chains(count: int) -> tuple[float, float]:
    """Return the seconds of a chain of free tasks, and of one of limited tasks."""
    return _timed(free, count), _timed(limited, count)


@flow
def maps(count: int) -> tuple[float, float]:
    """Return the seconds of a map of free tasks, and of one of limited tasks."""
    begun = time.perf_counter()
    list(free.map(range(count)))
    between = time.perf_counter()
    list(limited.map(range(count)))
    return between - begun, time.perf_counter() - between


def _timed(step: object, count: int) -> float:
    begun = time.perf_counter()
    for number in range(count):
        step(number)  # type: ignore[operator]
    return time.perf_counter() - begun


def measure(ground: Ground) -> list[Figure]:
    """Return the figures of this chapter."""
    return [
        figure for database in ground.databases() for figure in (*_wakes(ground, database), *_costs(ground, database))
    ]


def _wakes(ground: Ground, database: Database) -> list[Figure]:
    port = free_port()
    server = Program(ground, ground.place(), database, "server", "--port", str(port))
    try:
        acknowledged, sent = _rounds(f"http://127.0.0.1:{port}", ground.size(300, 60))
    finally:
        server.end()
    ordered = sorted(sent)
    p95 = ordered[int(len(ordered) * 0.95)]
    kind, durability = database.kind, database.durability
    return [
        Figure(f"{kind}: a slot returned, from the answer to the waiter's", "ms", tuple(acknowledged), durability),
        Figure(f"{kind}: the same, from the request", "ms", tuple(sent), durability, target=Target(20)),
        Figure(f"{kind}: the same, 95th percentile", "ms", (p95,), durability, target=Target(20)),
    ]


def _rounds(url: str, count: int) -> tuple[list[float], list[float]]:
    """Hand a slot to and fro between two runs; return the milliseconds from the answer, and from the request."""
    stores = [RemoteStore(url, patience=30), RemoteStore(url, patience=30)]
    runs = [_held(store, f"bench-{number}") for number, store in enumerate(stores)]
    acknowledged, sent = [], []
    stores[0].enter(runs[0].id, 1, [_entrance(0)])
    for number in range(1, count + 1):
        holder, waiter = (number + 1) % 2, number % 2
        stores[waiter].enter(runs[waiter].id, 1, [_entrance(number)])
        got: list[float] = []

        def wait(store: Store = stores[waiter], run: Run = runs[waiter], got: list[float] = got) -> None:
            while not store.await_slots(run.id, 1, [], wait=20):
                pass
            got.append(time.perf_counter())

        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.02)  # its poll is waiting by then
        begun = time.perf_counter()
        stores[holder].commit(runs[holder].id, 1, Commit(leaves=[number - 1]))
        answered = time.perf_counter()
        thread.join()
        sent.append((got[0] - begun) * 1e3)
        acknowledged.append(max(0.0, got[0] - answered) * 1e3)
        if number % 50 == 0:
            for store in stores:
                store.beat(f"bench-{stores.index(store)}")
    return acknowledged, sent


def _entrance(seq: int) -> Entrance:
    return Entrance(seq, [_ONE.passing({})])


def _held(store: Store, worker_id: str) -> Run:
    now = store.now()
    store.register(
        Worker(
            id=worker_id, kind="script", host="bench", pid=1, pid_started="", version="", started_at=now, expires_at=0
        )
    )
    run_id = new_id(now)
    return store.create(
        Run(id=run_id, flow="f", state=State.RUNNING, epoch=1, lineage=run_id, worker_id=worker_id, created_at=now)
    )


def _costs(ground: Ground, database: Database) -> list[Figure]:
    count = ground.size(500, 100)
    place = ground.place()
    settings = Settings(home=str(place), display="none", database=database.url, durability=database.durability)
    open_store(database.url, durability=database.durability).close()
    figures = []
    for name, measured in (("chain", chains), ("map", maps)):
        values, floor = [], []
        for _ in range(ground.rounds(5) + 1):
            with Session(settings) as session:
                run, given, _done = begin(session, measured, {"count": count})
                without, with_limit = Passes(session).run_here(run, measured, given)
            values.append(with_limit / count * 1e6)
            floor.append(without / count * 1e6)
        figures.append(
            Figure(f"{database.kind}: a limited task in a {name}", "µs", tuple(values[1:]), database.durability,
                   tuple(floor[1:]), "the same without a limit"),
        )  # fmt: skip
    return figures
