"""The one way in which a running run changes the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.store.builders import a_log, a_run, a_task_run, a_worker, an_attempt, an_event, cached, contents, end, ended

from ostinato.errors import StaleEpochError, StoreError
from ostinato.records import Commit, RunEnd, StateValue
from ostinato.states import State

if TYPE_CHECKING:
    from ostinato.clock import ManualClock
    from ostinato.store.store import Store


def everything(run) -> Commit:
    """Return a commit with something of each kind in it."""
    return Commit(
        task_runs=[a_task_run(run, 7)],
        attempts=[an_attempt(run, 7)],
        logs=[a_log(run, 7)],
        events=[an_event(run)],
        states=[StateValue(run_id=run.id, task_run_id="t", name="n", value=b"v")],
        cached=[cached(run)],
        blobs=["ab12"],
        orphans=[0],
        end=RunEnd(state=State.SUCCEEDED, finished_at=3, result=b"r"),
    )


def test_commit_writes_all_kinds_of_rows(store: Store) -> None:
    run = a_run(store)
    store.commit(run.id, 1, Commit(task_runs=[a_task_run(run, 0)]))
    entries = everything(run)
    assert store.commit(run.id, 1, entries) is False
    assert list(store.load(run.id)) == [a_task_run(run, 0, orphaned=True), a_task_run(run, 7)]
    assert store.list_attempts(run.id) == entries.attempts
    assert store.read_logs(run.id) == entries.logs
    assert [stored.event for stored in store.list_events(run.id)] == entries.events
    assert store.load_states(run.id, "t") == entries.states
    assert store.find_cached("c1") == entries.cached[0]
    after = store.get_run(run.id)
    assert (after.state, after.finished_at, after.result, after.worker_id) == (State.SUCCEEDED, 3, b"r", None)
    assert store.info().counts["blob"] == 1


def test_every_field_of_a_task_run_is_kept(store: Store) -> None:
    run = a_run(store)
    full = a_task_run(
        run, 3, parent_seq=1, kind="flow", map_index=4, partition="2024-01-01", reason="r", attempt=2, failures=1,
        clears=1, started_at=5, finished_at=6, inputs=b"\x00i", result=b"", result_fp=b"\xff", error="{}",
        upstream="0,1", code="c", child_run_id="x", critical=False, orphaned=True,
    )  # fmt: skip
    store.commit(run.id, 1, Commit(task_runs=[full]))
    assert store.list_task_runs(run.id) == [full]


def test_put_replaces_the_row_of_the_same_number(store: Store) -> None:
    run = a_run(store)
    store.commit(run.id, 1, Commit(task_runs=[a_task_run(run, state=State.RUNNING, inputs=b"i")]))
    store.commit(run.id, 1, Commit(task_runs=[a_task_run(run, result=b"r")]))
    assert store.list_task_runs(run.id) == [a_task_run(run, result=b"r")]


def test_commit_with_the_same_row_twice_keeps_the_last(store: Store) -> None:
    run = a_run(store)
    states = [
        StateValue(run_id=run.id, task_run_id="t", name=name, value=value)
        for name, value in (("a", b"1"), ("a", None), ("b", b"1"), ("b", b"2"), ("c", None), ("c", b"3"))
    ]
    store.commit(
        run.id,
        1,
        Commit(
            task_runs=[a_task_run(run, state=State.RUNNING), a_task_run(run, 1), a_task_run(run)],
            states=states,
            cached=[cached(run, result=b"1"), cached(run, result=b"2")],
            attempts=[an_attempt(run), an_attempt(run)],
            blobs=["aa", "aa"],
        ),
    )
    assert [t.state for t in store.load(run.id)] == [State.SUCCEEDED, State.SUCCEEDED]
    assert [(s.name, s.value) for s in store.load_states(run.id, "t")] == [("b", b"2"), ("c", b"3")]
    found = store.find_cached("c1")
    assert found is not None
    assert found.result == b"2"


def test_row_that_is_put_and_orphaned_at_once_is_orphaned(store: Store) -> None:
    run = a_run(store)
    store.commit(run.id, 1, Commit(task_runs=[a_task_run(run), a_task_run(run, 1)], orphans=[1]))
    assert [t.orphaned for t in store.load(run.id)] == [False, True]


def test_state_value_can_be_changed_and_removed(store: Store) -> None:
    run = a_run(store)

    def put(value: bytes | None) -> list[bytes | None]:
        store.commit(run.id, 1, Commit(states=[StateValue(run_id=run.id, task_run_id="t", name="n", value=value)]))
        return [state.value for state in store.load_states(run.id, "t")]

    assert [put(b"1"), put(b"2"), put(None), put(None), put(b"")] == [[b"1"], [b"2"], [], [], [b""]]
    assert store.load_states(run.id, "other") == []


def refused(store: Store, run_id: str, epoch: int, entries: Commit) -> None:
    run = store.get_run(run_id)
    before = contents(store, run)
    with pytest.raises(StaleEpochError, match="Nothing was written"):
        store.commit(run_id, epoch, entries)
    assert contents(store, run) == before


def test_commit_of_another_epoch_is_refused_whole(store: Store) -> None:
    run = a_run(store)
    for epoch in (0, 2):
        refused(store, run.id, epoch, everything(run))


def test_commit_after_the_lease_is_refused_whole(store: Store, clock: ManualClock) -> None:
    run = a_run(store)
    clock.move(7.999_999)
    store.commit(run.id, 1, Commit(task_runs=[a_task_run(run)]))
    clock.move(0.000_001)
    refused(store, run.id, 1, everything(run))


def test_commit_of_a_run_that_is_not_live_is_refused_whole(store: Store) -> None:
    for run in (ended(store), a_run(store, None), a_run(store, state=State.QUEUED, epoch=1)):
        refused(store, run.id, run.epoch, everything(run))
    over = a_run(store)
    end(store, over)
    refused(store, over.id, 1, everything(over))


def test_commit_after_the_run_was_taken_by_another_is_refused_whole(store: Store, clock: ManualClock) -> None:
    run = a_run(store)
    clock.move(8)
    store.reopen(run.id, a_worker(store, "w2"))
    a_worker(store, "w1")
    refused(store, run.id, 1, everything(run))


def test_commit_of_an_unknown_run_is_refused(store: Store) -> None:
    with pytest.raises(StaleEpochError):
        store.commit("nobody", 1, Commit())


def test_commit_that_fails_in_the_middle_leaves_nothing_and_the_next_one_works(store: Store) -> None:
    run = a_run(store)
    before = contents(store, run)
    entries = everything(run)
    # a row that the database refuses, after others that it took
    entries.attempts = [an_attempt(run, 1), msgspec.structs.replace(an_attempt(run, 2), state="no such state")]  # type: ignore[list-item]
    with pytest.raises(StoreError, match="refused a row|Invalid enum value"):
        store.commit(run.id, 1, entries)
    assert contents(store, run) == before
    store.commit(run.id, 1, everything(run))
    assert store.info().counts["attempt"] == 1


def test_end_takes_the_run_out_of_the_workers_hands(store: Store) -> None:
    run = a_run(store)
    store.request_cancel(run.id)
    end(store, run, State.FAILED, reason="timed_out", error='{"type":"E"}')
    after = store.get_run(run.id)
    assert (after.state, after.reason, after.error, after.worker_id) == (
        State.FAILED,
        "timed_out",
        '{"type":"E"}',
        None,
    )
    assert store.beat("w1").cancelled == []
    store.leave("w1")
    assert store.get_run(run.id) == after


def test_end_resets_recoveries_unless_it_is_a_crash(store: Store) -> None:
    for state, left in ((State.SUCCEEDED, 0), (State.CRASHED, 3)):
        run = a_run(store, recoveries=3)
        end(store, run, state, reason="poisonous")
        assert store.get_run(run.id).recoveries == left


@pytest.mark.parametrize(
    "text", ["ünï 😀 日本", "nul\0inside", "lone \ud800 surrogate", "\\u0000", 'it\'s "%s" :x ?', "\r\n\t"]
)
def test_any_text_can_be_stored(store: Store, text: str) -> None:
    run = a_run(store, cwd=text, tags=[text], key=text)
    kept = text.replace("\0", "\ufffd").replace("\ud800", "\ufffd")
    store.commit(
        run.id,
        1,
        Commit(
            task_runs=[a_task_run(run, task=text, error=text)],
            events=[an_event(run, kind=text)],
            end=RunEnd(state=State.FAILED, finished_at=1, reason=text, error=text),
        ),
    )
    (found,) = store.load(run.id)
    assert (found.task, found.error) == (kept, kept)
    after = store.get_run(run.id)
    assert (after.cwd, after.tags, after.reason, after.error) == (kept, [kept], kept, kept)
    assert store.list_events(run.id)[0].event.kind == kept
    assert a_run(store, None, key=text).id == run.id
    assert store.find_runs(text) == []


def test_large_values_are_kept(store: Store) -> None:
    run = a_run(store)
    blob, text = bytes(range(256)) * 40_000, "ä" * 3_000_000
    store.commit(run.id, 1, Commit(task_runs=[a_task_run(run, result=blob, error=text)]))
    (found,) = store.load(run.id)
    assert found.result == blob
    assert found.error == text


def test_batch_of_thousands_is_one_commit(store: Store) -> None:
    run = a_run(store)
    rows = [a_task_run(run, seq) for seq in range(5000)]
    store.commit(run.id, 1, Commit(task_runs=rows))
    assert list(store.load(run.id)) == rows


def test_commit_is_seen_by_another_store_at_once(store: Store, opener, clock: ManualClock) -> None:
    other = opener(clock=clock)
    run = a_run(store)
    for seq in range(5):
        store.commit(run.id, 1, Commit(task_runs=[a_task_run(run, seq)]))
        assert len(other.list_task_runs(run.id)) == seq + 1
