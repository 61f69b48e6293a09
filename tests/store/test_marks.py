"""How far the searches for tickets came: nothing is passed over, and dead entries are not walked again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from tests.postgres import postgres_server, postgres_template, postgres_url  # noqa: F401
from tests.process import until
from tests.store.builders import a_worker, claim, queued

from ostinato.store.claiming import Marks
from ostinato.store.postgres import PostgresStore
from ostinato.work import Offer

if TYPE_CHECKING:
    from collections.abc import Iterator

LEVEL = ("default", 0)


@pytest.fixture
def store(postgres_url: str) -> Iterator[PostgresStore]:
    store = PostgresStore(postgres_url, durability="crash-safe", lease=600)
    yield store
    store.close()


def settled(marks: Marks, *seen: int) -> int | None:
    for upto in seen:
        marks.note({LEVEL: upto})
    return marks._marks.get(LEVEL)


def test_mark_moves_only_when_a_second_search_agrees() -> None:
    assert settled(Marks(lag=60.0), 10, 20, 30) is None, "not so soon"
    assert settled(Marks(lag=0.0), 10, 20) == 10
    assert settled(Marks(lag=0.0), 10, 4) == 4, "one came late"


def test_search_begins_at_the_marks_but_now_and_then_at_the_beginning() -> None:
    marks = Marks(lag=0.0)
    assert marks.starts() == {}
    settled(marks, 10, 20)
    assert marks.starts() == {LEVEL: 10}
    marks._look_at = 0.0
    assert marks.starts() == {}
    marks.forget()
    assert marks.starts() == {}


def test_ticket_that_is_committed_late_is_found(store: PostgresStore, postgres_url: str) -> None:
    store._marks = Marks(lag=0.0)
    late = queued(store)
    with psycopg.connect(postgres_url) as slow:
        slow.execute("SELECT 1 FROM run WHERE id = %s FOR UPDATE", (late.id,))
        for _ in range(6):
            queued(store)
        for _ in range(6):
            assert len(claim(store)) == 1
        assert claim(store) == [], "somebody has it locked"
        slow.rollback()
    found = until(lambda: claim(store), "the ticket behind the mark")
    assert [run.id for run in found] == [late.id]


def test_searches_do_not_walk_over_what_a_held_snapshot_keeps(
    store: PostgresStore,
    postgres_url: str,
) -> None:
    store._marks = Marks(lag=0.0)
    with psycopg.connect(postgres_url) as held, psycopg.connect(postgres_url, autocommit=True) as raw:
        held.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        held.execute("SELECT 1").fetchall()
        for _ in range(300):
            queued(store)
        a_worker(store)
        for _ in range(6):
            assert len(store.claim("w1", Offer(pools=["default"], slots=49))) == 49
        marks = dict(store._marks._marks)
        raw.execute("SET enable_seqscan = off")
        (explained,) = raw.execute(
            """EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT id FROM ticket
            WHERE (pool, priority, id) > ('default', 0, %s) AND (pool, priority) <= ('default', 0) AND NOT paused
            ORDER BY pool, priority, id LIMIT 1""",
            (marks[LEVEL],),
        ).fetchone() or ("",)
        assert marks[LEVEL] > 200
        assert "ticket_order" in str(explained)
        assert len(store.claim("w1", Offer(pools=["default"], slots=49))) == 6
