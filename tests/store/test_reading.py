"""What listings, a new pass of a run, and the pages of logs and events get to see."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.store.builders import a_log, a_run, a_task_run, an_attempt, an_event, cached, end, ended

from ostinato.records import Commit, Run, RunFilter
from ostinato.states import State
from ostinato.store.revisions import HEAD

if TYPE_CHECKING:
    from ostinato.clock import ManualClock
    from ostinato.store.store import Store


def with_tasks(store: Store, *ids: str, **fields: object) -> Run:
    """Store a run that ended, with task runs of these ids."""
    run = a_run(store, **fields)
    rows = [a_task_run(run, seq, id=task_run_id) for seq, task_run_id in enumerate(ids)]
    store.commit(run.id, 1, Commit(task_runs=rows))
    end(store, run)
    return run


def loaded(store: Store, run: Run) -> list[tuple[str, str]]:
    return [(t.run_id, t.id) for t in store.load(run.id)]


def test_load_yields_task_runs_in_order_over_many_pages(store: Store) -> None:
    run = a_run(store)
    rows = [a_task_run(run, seq) for seq in range(0, 9000, 2)]
    store.commit(run.id, 1, Commit(task_runs=rows[::-1]))
    assert list(store.load(run.id)) == rows


def test_load_of_a_fork_reads_through_but_for_what_is_cut_or_hidden(store: Store) -> None:
    origin = with_tasks(store, "a", "b", "c", "d")
    fork = with_tasks(store, "b", "e", branch_of=origin.id, branch_cut=["d"])
    assert loaded(store, fork) == [(fork.id, "b"), (fork.id, "e"), (origin.id, "a"), (origin.id, "c")]
    second = with_tasks(store, branch_of=fork.id, branch_cut=["a", "e"])
    assert loaded(store, second) == [(fork.id, "b"), (origin.id, "c")]
    assert loaded(store, origin) == [(origin.id, name) for name in "abcd"]


def test_cut_hides_from_the_runs_branched_from_but_not_from_the_fork_itself(store: Store) -> None:
    origin = with_tasks(store, "a")
    fork = with_tasks(store, "a", branch_of=origin.id, branch_cut=["a"])
    assert loaded(store, fork) == [(fork.id, "a")]


def test_runs_are_listed_newest_first_and_page_by_page(store: Store, clock: ManualClock) -> None:
    runs = []
    for number in range(7):
        # three at the same instant; ids that do not follow the time, as those of child runs
        clock.move(number % 3)
        runs.append(a_run(store, None, id=f"{9 - number}x"))
    wanted = sorted(runs, key=lambda run: (run.created_at, run.id), reverse=True)
    assert store.list_runs(RunFilter()) == wanted
    pages, before = [], None
    while (page := store.list_runs(RunFilter(limit=3, before=before))) and len(pages) < 20:
        pages += page
        before = page[-1].id
    assert pages == wanted


def test_listing_filters_by_everything_at_once_and_one_by_one(store: Store, clock: ManualClock) -> None:
    one = ended(store, flow="a", tags=["red", 'gr"een'], target="/f.py:a")
    clock.move(1)
    two = ended(store, State.FAILED, flow="a", parent_run_id=one.id, tags=["red2"])
    clock.move(1)
    three = a_run(store, None, flow="b")

    def ids(**wanted: object) -> list[str]:
        return [run.id for run in store.list_runs(RunFilter(**wanted))]  # type: ignore[arg-type]

    assert ids(flow="a") == [two.id, one.id]
    assert ids(states=[State.FAILED, State.QUEUED]) == [three.id, two.id]
    assert ids(states=[State.QUEUED]) == [three.id]
    assert ids(tag="red") == ids(tag='gr"een') == ids(target="/f.py:a") == [one.id]
    assert ids(tag="re") == ids(tag="RED") == ids(tag="een") == []
    assert ids(parent_run_id=one.id) == [two.id]
    assert ids(top_level=True) == [three.id, one.id]
    assert ids(created_since=two.created_at) == [three.id, two.id]
    assert ids(flow="a", states=[State.FAILED], tag="red2", parent_run_id=one.id, created_since=0) == [two.id]
    assert ids(flow="a", top_level=True, before=two.id) == [one.id]
    assert ids(limit=1) == [three.id]


def test_runs_are_found_by_either_end_of_their_id(store: Store, clock: ManualClock) -> None:
    for run_id in ("0abcxyz", "0abdxyz", "1abcx%z"):
        clock.move(1)
        a_run(store, None, id=run_id)

    def found(fragment: str) -> list[str]:
        return [run.id for run in store.find_runs(fragment)]

    assert found("0ab") == ["0abdxyz", "0abcxyz"]
    assert found("xyz") == ["0abdxyz", "0abcxyz"]
    assert found("0abcxyz") == ["0abcxyz"]
    assert found("bcx") == found("%z0") == found("_") == found("") == found("XYZ") == []
    assert found("%z") == ["1abcx%z"]
    for number in range(15):
        clock.move(1)
        a_run(store, None, id=f"9{number:02}")
    assert found("9") == [f"9{number:02}" for number in range(14, 4, -1)]


def test_task_runs_are_counted_by_state_without_values_and_orphans(store: Store) -> None:
    run, empty = a_run(store), a_run(store)
    rows = [
        a_task_run(run, 0),
        a_task_run(run, 1),
        a_task_run(run, 2, state=State.RUNNING),
        a_task_run(run, 3, kind="value"),
        a_task_run(run, 4, orphaned=True),
        a_task_run(run, 5, kind="flow", state=State.FAILED),
    ]
    store.commit(run.id, 1, Commit(task_runs=rows))
    assert store.count_task_runs([run.id, empty.id]) == {
        run.id: {State.SUCCEEDED: 2, State.RUNNING: 1, State.FAILED: 1},
        empty.id: {},
    }
    assert store.count_task_runs([]) == {}


def test_task_runs_are_listed_by_page_and_by_state(store: Store) -> None:
    run = a_run(store)
    rows = [a_task_run(run, seq, state=State.FAILED if seq % 2 else State.SUCCEEDED) for seq in range(10)]
    store.commit(run.id, 1, Commit(task_runs=rows))
    assert store.list_task_runs(run.id, after=3, limit=2) == rows[4:6]
    assert store.list_task_runs(run.id, states=[State.FAILED], after=1, limit=2) == [rows[3], rows[5]]
    assert store.list_task_runs("nobody") == []


def test_attempts_are_listed_of_all_or_of_one(store: Store) -> None:
    run = a_run(store)
    attempts = [an_attempt(run, seq, number) for seq in (0, 1) for number in (1, 2)]
    store.commit(run.id, 1, Commit(attempts=attempts[::-1]))
    assert store.list_attempts(run.id) == attempts
    assert store.list_attempts(run.id, 1) == attempts[2:]


def test_logs_are_read_in_order_of_epoch_and_batch(store: Store) -> None:
    run = a_run(store)
    first = [a_log(run, n, lines=b"[%d]" % n) for n in range(3)]
    store.commit(run.id, 1, Commit(logs=first))
    end(store, run, State.FAILED)
    run = store.reopen(run.id, "w1")
    second = [a_log(run, n) for n in range(2)]
    store.commit(run.id, 2, Commit(logs=second))
    assert store.read_logs(run.id) == first + second
    assert store.read_logs(run.id, after=(1, 1)) == [first[2], *second]
    assert store.read_logs(run.id, after=(2, 0), limit=1) == [second[1]]


def test_events_are_listed_in_the_order_they_were_stored(store: Store) -> None:
    runs = [a_run(store), a_run(store)]
    for number in range(6):
        run = runs[number % 2]
        store.commit(
            run.id, 1, Commit(events=[an_event(run, f"e{number}.{n}", seq=n, data='{"a": 1}') for n in (0, 1)])
        )
    stored = store.list_events()
    assert [s.event.kind for s in stored] == [f"e{number}.{n}" for number in range(6) for n in (0, 1)]
    assert [s.id for s in stored] == sorted({s.id for s in stored})
    assert store.list_events(after=stored[4].id, limit=3) == stored[5:8]
    mine = [s for s in stored if s.event.run_id == runs[1].id]
    assert store.list_events(runs[1].id) == mine
    assert store.list_events(runs[1].id, after=mine[0].id, limit=2) == mine[1:3]


def test_cache_entry_is_found_until_it_expires_and_replaced_by_a_newer(store: Store, clock: ManualClock) -> None:
    run = a_run(store)
    entry = cached(run, expires_at=clock.now() + 5_000_000)
    store.commit(run.id, 1, Commit(cached=[entry, cached(run, "forever")]))
    clock.move(4.999_999)
    assert store.find_cached("c1") == entry
    clock.move(0.000_001)
    assert store.find_cached("c1") is None
    assert store.find_cached("none") is None
    assert store.find_cached("forever") is not None
    newer = cached(run, result=b"2")
    store.commit(run.id, 1, Commit(cached=[newer]))
    assert store.find_cached("c1") == newer


def test_info_says_what_the_database_is(store: Store) -> None:
    run = a_run(store)
    store.commit(run.id, 1, Commit(task_runs=[a_task_run(run)]))
    info = store.info()
    assert info.dialect in ("sqlite", "postgresql")
    assert info.revision == info.head == HEAD
    assert info.durability == "crash-safe"
    assert info.size > 10_000
    assert info.version[0].isdigit()
    assert (info.counts["worker"], info.counts["run"], info.counts["task_run"], info.counts["event"]) == (1, 1, 1, 0)
