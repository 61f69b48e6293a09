"""Claims from a long queue of PostgreSQL, and what a long history, a held snapshot or many workers do to them.

Eight workers with 50 free slots each claim from 100,000 queued runs, through the stores of two servers. The floor is
the same by hand: one statement a claim, over the same tables, that takes 50 tickets past those that are locked. History
is made by one INSERT … SELECT, with all indexes, and has the shape of runs that have ended.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from bench.figure import Figure, Target
from bench.ground import answer

from ostinato.ids import new_id
from ostinato.records import Run, RunFilter, Worker
from ostinato.states import State
from ostinato.store.open import open_store
from ostinato.work import Offer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.ground import Database, Ground

    from ostinato.store.store import Store

TITLE = "(k) Claims from a long queue"
_CLAIMERS, _SLOTS = 8, 50
_COLUMNS = (
    "id, flow, state, epoch, attempt, recoveries, lineage, branch_cut, tags, version, created_at, deployment, pool, "
    "target"
)
_BARE = """
    WITH taken AS (SELECT run_id FROM ticket ORDER BY pool, priority, id LIMIT %s FOR UPDATE SKIP LOCKED),
        gone AS (DELETE FROM ticket USING taken WHERE ticket.run_id = taken.run_id)
    UPDATE run SET state = 'running', epoch = epoch + 1 FROM taken WHERE run.id = taken.run_id RETURNING run.*"""


def measure(ground: Ground) -> list[Figure]:
    """Return the figures of this chapter."""
    if ground.server is None:
        return []
    queued, finished = ground.size(100_000, 20_000), ground.size(1_000_000, 100_000)
    rounds = ground.rounds(3)
    bare = [_claims(ground, "bare", queued) for _ in range(rounds)]
    plain = [_claims(ground, "claim", queued) for _ in range(rounds)]
    held = [_claims(ground, "claim", queued, holds=True) for _ in range(rounds)]
    old = _with_history(ground, queued, finished)
    longest, waits = _beats(ground, ground.size(20, 5))

    def figure(name: str, unit: str, values: list[float], **more: Any) -> Figure:
        return Figure(f"PostgreSQL: {name}", unit, tuple(values), "durable", **more)

    many, past = f"claims from {queued:,}, 8 workers of 50 slots", f"with {finished:,} finished runs"
    beside: dict[str, Any] = {"floor": tuple(plain), "floor_name": "without"}
    return [
        figure(many, "/s", plain, target=Target(5000, "≥"), floor=tuple(bare), floor_name="bare statements"),
        figure("the same while a snapshot is held", "/s", held, target=Target(0.75, "≥", "ratio"), **beside),
        figure(f"the same {past}", "/s", old["claims"], target=Target(0.9, "≥", "ratio"), **beside),
        figure(f"{past}: made in", "s", old["made"]),
        figure(f"{past}: a run put into its queue", "ms", old["create"]),
        *(figure(f"{past}: a page of {which}", "ms", old[which], target=Target(100)) for which in _LISTS),
        figure("100 workers beat: the longest", "ms", [longest]),
        figure("100 workers beat: waits for a lock above 10 ms", "", [waits], target=Target(0)),
    ]


def _claims(ground: Ground, kind: str, queued: int, *, holds: bool = False) -> float:
    with _database(ground, queued) as (database, _), _held(database) if holds else contextlib.nullcontext():
        return float(ground.child("claims", kind, database.url, queued, database=database))


def _with_history(ground: Ground, queued: int, finished: int) -> dict[str, list[float]]:
    with _database(ground, queued, finished) as (database, seconds):
        found: dict[str, list[float]] = ground.child("claims", "lists", database.url, database=database)
        claims = [float(ground.child("claims", "claim", database.url, queued, database=database))]
    return found | {"claims": claims, "made": [seconds]}


def _beats(ground: Ground, seconds: int) -> tuple[float, float]:
    """Return the longest beat in milliseconds, and how often PostgreSQL saw a wait for a lock above 10 ms."""
    assert ground.server is not None
    server, log = ground.server, ground.server.home / "log"

    def waits() -> int:
        return log.read_text(errors="replace").count("still waiting for")

    for setting in ("log_lock_waits = on", "deadlock_timeout = '10ms'"):
        server.execute(f"ALTER SYSTEM SET {setting}")
    server.execute("SELECT pg_reload_conf()")
    try:
        with _database(ground, 20_000) as (database, _):
            before = waits()
            longest = float(ground.child("claims", "beat", database.url, seconds, database=database))
            return longest, float(waits() - before)
    finally:
        for name in ("log_lock_waits", "deadlock_timeout"):
            server.execute(f"ALTER SYSTEM RESET {name}")
        server.execute("SELECT pg_reload_conf()")


@contextlib.contextmanager
def _database(ground: Ground, queued: int, finished: int = 0) -> Iterator[tuple[Database, float]]:
    """Make a database with so many runs, and remove it; say how many seconds the history took."""
    database = ground.postgres()
    assert database is not None
    assert ground.server is not None
    try:
        yield database, fill(database.url, queued, finished)
    finally:
        ground.server.drop_database(database.url.rpartition("/")[2].partition("?")[0])


def fill(url: str, queued: int, finished: int) -> float:
    """Put runs that have ended and runs that wait into a database; return the seconds that the first took."""
    import psycopg

    row = (
        "'{0}' || lpad(i::text, 12, '0'), '{1}', '{2}', 1, 1, 0, '{0}' || i, '[]', '[]', '0', {3} + i, '{1}', 'default'"
    )
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        begun = time.perf_counter()
        ended = row.format("f", "flow-' || i % 50 || '", "succeeded", 1_000_000_000)
        connection.execute(
            f"INSERT INTO run ({_COLUMNS}, started_at, finished_at) "  # noqa: S608  nothing in it is from outside
            f"SELECT {ended}, '/a/b.py:f', 1000000001 + i, 1000000002 + i FROM generate_series(1, {finished}) AS i"
        )
        seconds = time.perf_counter() - begun
        waiting = row.format("q", "flow", "queued", 100_000_000_000_000)
        connection.execute(
            f"INSERT INTO run ({_COLUMNS}) "  # noqa: S608  likewise
            f"SELECT {waiting}, '/a/b.py:f' FROM generate_series(1, {queued}) AS i"
        )
        connection.execute(
            "INSERT INTO ticket (run_id, pool, queue, priority, deployment, paused, created_at) "
            "SELECT id, pool, 'default', 0, deployment, FALSE, 1 FROM run WHERE state = 'queued' ORDER BY id"
        )
        connection.execute("INSERT INTO ticket_level VALUES ('default', 0) ON CONFLICT DO NOTHING")
        connection.execute("ANALYZE run, ticket")
    return seconds


@contextlib.contextmanager
def _held(database: Database) -> Iterator[None]:
    """Hold a snapshot, as a long report or a backup does."""
    import psycopg

    with psycopg.connect(database.url) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT count(*) FROM worker")
        yield


# --- the child's part

_LISTS: dict[str, RunFilter] = {
    "all runs": RunFilter(limit=50),
    "failed runs": RunFilter(states=[State.FAILED], limit=50),
    "running runs": RunFilter(states=[State.RUNNING, State.QUEUED], limit=50),
    "one flow's runs": RunFilter(flow="flow-7", limit=50),
}


def _register(store: Store, count: int) -> list[str]:
    names = [f"worker-{number}" for number in range(count)]
    for name in names:
        worker = Worker(
            id=name, kind="worker", host="bench", pid=1, pid_started="", version="0", started_at=1, expires_at=0
        )
        store.register(worker)
    return names


def _claim(url: str, queued: int) -> float:
    """Claim most of the queue; return claims a second."""
    stores = [open_store(url, lease=3600) for _ in range(2)]
    names = _register(stores[0], _CLAIMERS)
    offer = Offer(pools=["default"], slots=_SLOTS)
    return _at_once(lambda number: len(stores[number % 2].claim(names[number], offer)), queued * 4 // 5)


def _claim_bare(url: str, queued: int) -> float:
    import psycopg

    connections = [psycopg.connect(url, autocommit=True) for _ in range(_CLAIMERS)]
    return _at_once(lambda number: len(connections[number].execute(_BARE, (_SLOTS,)).fetchall()), queued * 4 // 5)


def _at_once(claim: Callable[[int], int], most: int) -> float:
    """Let all claimers claim until there were so many; return claims a second."""
    had = [0] * _CLAIMERS

    def work(number: int) -> None:
        while sum(had) < most and (got := claim(number)):
            had[number] += got

    threads = [threading.Thread(target=work, args=(number,)) for number in range(_CLAIMERS)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(had) / (time.perf_counter() - begun)


def _look(url: str) -> dict[str, list[float]]:
    """Return the milliseconds of lists and of a start, several times each."""
    store = open_store(url, lease=3600)

    def timed(act: Callable[[], object]) -> list[float]:
        act()
        found = []
        for _ in range(9):
            begun = time.perf_counter()
            act()
            found.append((time.perf_counter() - begun) * 1e3)
        return found

    def create() -> None:
        identity = new_id(store.now())
        store.create(Run(id=identity, flow="f", state=State.QUEUED, lineage=identity, pool="other"))

    return {name: timed(lambda which=which: store.list_runs(which)) for name, which in _LISTS.items()} | {  # type: ignore[misc]
        "create": timed(create)
    }


def _beat(url: str, seconds: float) -> float:
    """Let 100 workers renew their leases every two seconds while two claim; the longest beat in milliseconds."""
    store, took, over = open_store(url, lease=8), [0.0], threading.Event()
    names = _register(store, 100)

    def beating(mine: list[str]) -> None:
        while not over.is_set():
            for name in mine:
                begun = time.perf_counter()
                store.beat(name)
                took.append((time.perf_counter() - begun) * 1e3)
                over.wait(2.0 / len(mine))

    def claiming(name: str) -> None:
        while not over.wait(0.02):
            store.claim(name, Offer(pools=["default"], slots=10))

    threads = [threading.Thread(target=beating, args=(names[place::4],)) for place in range(4)]
    threads += [threading.Thread(target=claiming, args=(name,)) for name in names[:2]]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    over.set()
    for thread in threads:
        thread.join()
    print(f"{len(took)} beats, {statistics.median(took):.1f} ms in the middle", file=sys.stderr)
    return max(took)


if __name__ == "__main__":
    _acts: dict[str, Callable[..., object]] = {"claim": _claim, "bare": _claim_bare, "lists": _look, "beat": _beat}
    answer(_acts[sys.argv[1]](sys.argv[2], *map(int, sys.argv[3:])))
