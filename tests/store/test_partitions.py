"""Partitions in PostgreSQL: made ahead, dropped whole, and never while somebody needs what is in them."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import psycopg
import pytest
from tests.store.builders import a_deployed, a_log, a_project, a_run, an_event, end

from ostinato.clock import ManualClock
from ostinato.history import Cuts
from ostinato.records import Commit, Event
from ostinato.store import partitions
from ostinato.store.postgres import PostgresStore
from ostinato.timing import Decision, Schedule, Timing

if TYPE_CHECKING:
    from collections.abc import Iterator

DAY = 86_400 * 1_000_000
FEW = 10


@pytest.fixture
def clock() -> ManualClock:
    """The clock begins now: the first partition of log lines ends tomorrow."""
    return ManualClock(time.time_ns() // 1000)


@pytest.fixture
def raw(postgres_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def store(
    postgres_url: str, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, raw: psycopg.Connection
) -> Iterator[PostgresStore]:
    """A store whose partitions of events are small, the first of them ends with event 9."""
    monkeypatch.setattr(partitions, "STEP", FEW)
    monkeypatch.setattr(partitions, "_SAFE", 1)
    monkeypatch.setattr(partitions, "_AHEAD", 4 * FEW)
    raw.execute("ALTER TABLE event DETACH PARTITION event_0")
    raw.execute(f"ALTER TABLE event ATTACH PARTITION event_0 FOR VALUES FROM (MINVALUE) TO ({FEW})")
    opened = PostgresStore(postgres_url, clock=clock, durability="crash-safe", lease=1e9)
    yield opened
    opened.close()


def happen(store: PostgresStore, count: int, key: str | None = None) -> list[int]:
    for _ in range(count):
        store.emit([Event(at=store.now(), kind="thing", run_id="", key=key)])
    newest = store.newest_event()
    return list(range(newest - count + 1, newest + 1))


def parts(raw: psycopg.Connection, table: str) -> list[str]:
    """Name the partitions in which there are rows."""
    found = raw.execute(f"SELECT DISTINCT tableoid::regclass::text FROM {table}").fetchall()  # type: ignore[arg-type]
    return sorted(name for (name,) in found)


def forget(store: PostgresStore, name: str, before: int) -> list[str]:
    """Take all steps; return the partitions that were dropped."""
    dropped, more = list[str](), True
    while more:
        done = store.forget(name, Cuts(**{name: before}))
        dropped, more = dropped + done.partitions, done.more
    return dropped


def there(store: PostgresStore) -> list[int]:
    return [each.id for each in store.list_events(limit=10_000)]


def test_room_is_made_ahead_so_that_nothing_falls_into_the_default(
    store: PostgresStore, raw: psycopg.Connection
) -> None:
    assert store.make_room() > 0
    assert store.make_room() == 0
    happen(store, 35)
    assert parts(raw, "event") == ["event_0", "event_10", "event_20", "event_30"]
    assert store.make_room() > 0
    assert there(store) == list(range(1, 36))
    found = store.find_event("thing", "none")
    assert found is None


def test_partition_is_dropped_whole_when_all_in_it_is_old(
    store: PostgresStore, clock: ManualClock, raw: psycopg.Connection
) -> None:
    store.make_room()
    happen(store, 25)
    clock.move(20 * 86_400)
    happen(store, 10)
    assert forget(store, "events", clock.now() - 21 * DAY) == []
    assert forget(store, "events", clock.now() - 19 * DAY - DAY // 2) == ["event_0", "event_10"]
    assert there(store) == list(range(20, 36)), "the third holds a young one; by the row they go a day later"
    assert forget(store, "events", clock.now() - 10 * DAY) == []
    assert there(store) == list(range(26, 36))
    assert happen(store, 1) == [36]
    assert "event_0" not in parts(raw, "event")


def test_partition_is_kept_while_a_reader_lags(store: PostgresStore, clock: ManualClock) -> None:
    row = Schedule(name="c", deployment="d", project="p", kind="event", spec="{}")
    store.put_project(a_project(), [a_deployed()], Timing(schedules=[row]))
    store.make_room()
    happen(store, 35)
    clock.move(100 * 86_400)
    for read, left in ((12, 13), (29, 30)):
        row = store.get_schedule("c")
        store.decide([Decision(schedule="c", turn=row.turn, since=0, read=read)])
        forget(store, "events", clock.now() - DAY)
        assert there(store)[0] == left
    assert store.list_kept(Cuts(events=clock.now()))[3].held[0].by == "schedule c"


def test_events_that_a_run_may_wait_for_outlive_their_partition(
    store: PostgresStore, clock: ManualClock, raw: psycopg.Connection
) -> None:
    store.make_room()
    waiting = a_run(store, None)
    happen(store, 4)
    (wanted,) = happen(store, 1, key="k")
    happen(store, 30)
    clock.move(100 * 86_400)
    assert "event_0" in forget(store, "events", clock.now() - DAY)
    assert parts(raw, "event")[0] == "event_default"
    found = store.find_event("thing", "k")
    assert found is not None
    assert found.id == wanted
    assert store.make_room() >= 0
    store.request_cancel(waiting.id)
    forget(store, "events", clock.now() - DAY)
    assert store.find_event("thing", "k") is None


def test_partition_with_more_than_a_few_that_are_needed_stays(
    store: PostgresStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "_MOST_KEPT", 3)
    store.make_room()
    a_run(store, None)
    happen(store, 25, key="k")
    clock.move(100 * 86_400)
    assert forget(store, "events", clock.now() - DAY) == []
    assert len(there(store)) >= 25


def test_pruner_that_was_away_makes_room_beyond_what_came_meanwhile(
    store: PostgresStore, clock: ManualClock, raw: psycopg.Connection
) -> None:
    run = a_run(store)
    clock.move(9 * 86_400)
    late = clock.now()
    store.commit(run.id, 1, Commit(logs=[a_log(run, 0, first_at=late)]))
    happen(store, 25)
    assert parts(raw, "event") == ["event_0", "event_default"]
    assert parts(raw, "log") == ["log_default"]
    assert store.make_room() > 0
    happen(store, 15)
    clock.move(86_400)
    store.commit(run.id, 1, Commit(logs=[a_log(run, 1, first_at=clock.now())]))
    assert len(parts(raw, "event")) == 4
    assert len(parts(raw, "log")) == 2
    clock.move(50 * 86_400)
    store.make_room()
    forget(store, "events", clock.now() - DAY)
    forget(store, "logs", clock.now() - DAY)
    assert parts(raw, "log") == []
    assert "event_default" not in parts(raw, "event")


def test_batch_of_lines_that_is_put_twice_is_there_once(store: PostgresStore, clock: ManualClock) -> None:
    store.make_room()
    run = a_run(store)
    for day in range(3):
        batch = a_log(run, day, first_at=clock.now() + day * DAY)
        for _ in range(2):
            store.commit(run.id, 1, Commit(logs=[batch]))
    assert [batch.n for batch in store.read_logs(run.id)] == [0, 1, 2]
    end(store, run)
    clock.move(10)
    assert store.prune(clock.now()).runs == 1
    assert store.read_logs(run.id) == []


def test_days_of_lines_are_dropped_whole(store: PostgresStore, clock: ManualClock, raw: psycopg.Connection) -> None:
    store.make_room()
    run = a_run(store)
    for day in range(4):
        store.commit(run.id, 1, Commit(logs=[a_log(run, day, first_at=clock.now() + day * DAY)]))
    clock.move(5 * 86_400)
    dropped = forget(store, "logs", clock.now() - 2 * DAY - DAY // 2)
    assert dropped[0] == "log_0"
    assert [batch.n for batch in store.read_logs(run.id)][-1] == 3
    assert set(dropped) & set(parts(raw, "log")) == set()


def test_whoever_reads_for_long_is_let_be_and_commits_go_on(
    store: PostgresStore, clock: ManualClock, postgres_url: str
) -> None:
    store.make_room()
    run = a_run(store)
    happen(store, 25)
    clock.move(100 * 86_400)
    longest = [0.0]
    done = threading.Event()

    def commit() -> None:
        while not done.is_set():
            began = time.monotonic()
            store.commit(run.id, 1, Commit(events=[an_event(run)]))
            longest[0] = max(longest[0], time.monotonic() - began)

    with psycopg.connect(postgres_url) as backup:
        backup.execute("SELECT count(*) FROM event")
        thread = threading.Thread(target=commit)
        thread.start()
        dropped = forget(store, "events", clock.now() - DAY)
        assert dropped == []
        done.set()
        thread.join(30)
    assert longest[0] < 2, "a fifth of a second, with much room for a busy machine"
    assert "event_0" in forget(store, "events", clock.now() - DAY)


def test_two_servers_that_make_room_and_drop_at_once_do_it_once(
    store: PostgresStore, clock: ManualClock, postgres_url: str
) -> None:
    others = [PostgresStore(postgres_url, clock=clock, durability="crash-safe") for _ in range(3)]
    made: list[int] = []
    threads = [threading.Thread(target=lambda s=each: made.append(s.make_room())) for each in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    store.make_room()
    assert store.make_room() == 0
    assert len(made) == 3
    happen(store, 35)
    clock.move(100 * 86_400)
    dropped: list[str] = []
    threads = [
        threading.Thread(target=lambda s=each: dropped.extend(forget(s, "events", clock.now() - DAY)))
        for each in others
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    forget(store, "events", clock.now() - DAY)
    assert sorted(dropped) == sorted(set(dropped))
    assert not set(there(store)) & set(range(30))
    for each in others:
        each.close()
