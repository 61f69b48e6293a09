"""What is found again, what is an orphan, and how a row goes on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.engine.identity import call_fingerprint, child_run_id, keyed_fingerprint, task_run_id
from ostinato.engine.memo import NOT_REPLAYABLE, Memo, is_replayable, may_keep, succeed_to
from ostinato.records import TaskRun
from ostinato.states import State


def a_row(seq=0, **fields):
    values = {"run_id": "r", "seq": seq, "id": f"id{seq}", "task": "m.f", "key": "k", "state": State.SUCCEEDED, "epoch": 1,
              "created_at": 1, "result": b"m1", "result_fp": b"f" * 16} | fields  # fmt: skip
    return TaskRun(**values)


@pytest.mark.parametrize(
    ("fields", "replays"),
    [
        ({}, True), ({"result": None}, False), ({"result": NOT_REPLAYABLE + b"why"}, False),
        ({"state": State.FAILED, "result": b"e"}, True), ({"state": State.FAILED, "result": None}, True),
        ({"state": State.SKIPPED, "reason": "returned"}, True), ({"state": State.SKIPPED, "reason": "marked"}, True),
        ({"state": State.SKIPPED, "reason": "upstream_failed"}, False),
        ({"state": State.CANCELLED, "reason": "returned"}, True), ({"state": State.CANCELLED, "reason": "cancelled"}, False),
        *[({"state": s}, False) for s in State if s not in (State.SUCCEEDED, State.FAILED)],
    ],
)  # fmt: skip
def test_what_is_final_is_given_again_and_all_else_runs(fields, replays):
    assert is_replayable(a_row(**fields)) is replays


def test_early_cut_off_keeps_only_what_was_cleared_for_others_and_had_a_result():
    stale = {"state": State.SCHEDULED, "reason": "stale"}
    assert may_keep(a_row(**stale), upstream_changed=False)
    for other in ({"reason": "cleared"}, {"reason": "retried"}, {"state": State.CRASHED}, {"result": None},
                  {"result_fp": None}, {"result": NOT_REPLAYABLE}):  # fmt: skip
        assert not may_keep(a_row(**(stale | other)), upstream_changed=False)
    assert not may_keep(a_row(**stale), upstream_changed=True)


def test_a_task_run_is_found_once():
    memo = Memo([a_row(0), a_row(1)])
    assert (len(memo), memo.next_seq) == (2, 2)
    assert memo.take("id0").seq == 0
    assert memo.take("id0") is None
    assert memo.take("nope") is None
    assert [row.seq for row in memo.orphans("r")] == [1]
    assert Memo([]).next_seq == 0


def test_children_of_what_was_not_run_again_are_no_orphans():
    #   0 ─ 1 ─ 2      3 ─ 4      5
    rows = [a_row(0), a_row(1, parent_seq=0), a_row(2, parent_seq=1), a_row(3), a_row(4, parent_seq=3), a_row(5)]
    memo = Memo(rows)
    memo.take("id0")
    memo.cover(0)
    memo.take("id3")  # ran again, and did not call 4 this time
    assert [row.seq for row in memo.orphans("r")] == [4, 5]


def test_orphans_are_the_runs_own_and_told_once():
    memo = Memo([a_row(0, run_id="of the fork's origin"), a_row(1, orphaned=True), a_row(2)])
    assert [row.seq for row in memo.orphans("r")] == [2]


@pytest.mark.parametrize(
    ("found", "attempt", "keeps"),
    [
        ({"state": State.CRASHED, "started_at": 5, "attempt": 2}, 3, True),
        ({"state": State.FAILED, "started_at": 5}, 2, True),
        ({"state": State.SKIPPED, "started_at": None}, 1, False),
        ({"state": State.SCHEDULED, "reason": "retried", "started_at": None, "attempt": 2}, 3, False),
        ({"state": State.SCHEDULED, "reason": "cleared", "started_at": None}, 2, False),
        ({"state": State.SCHEDULED, "reason": "stale", "started_at": None}, 2, False),
        ({"state": State.SCHEDULED, "reason": None, "started_at": None}, 1, False),
    ],
)
def test_a_row_goes_on_with_the_number_after_the_last_attempt(found, attempt, keeps):
    row = a_row(9, state=State.RUNNING, kind="flow")
    old = a_row(0, kind="flow", failures=3, clears=2, child_run_id="c", **found)
    kept = succeed_to(row, old)
    assert (row.seq, row.attempt, row.failures, row.clears, row.child_run_id) == (0, attempt, 3, 2, "c")
    assert (kept is not None) is keeps
    if kept is not None:
        assert (kept.attempt, kept.state) == (old.attempt, old.state)


def test_what_a_fork_reads_through_is_not_gone_on_with():
    row = a_row(9, run_id="fork", state=State.RUNNING)
    assert succeed_to(row, a_row(0, state=State.CRASHED, started_at=5)) is None
    assert (row.seq, row.attempt) == (9, 1)


digests = st.binary(min_size=16, max_size=16)


@given(st.text(), st.lists(digests), st.text(), st.lists(digests))
def test_calls_are_the_same_only_for_the_same_task_and_inputs(task, inputs, other, more):
    same = (task, inputs) == (other, more)
    assert (call_fingerprint(task, inputs) == call_fingerprint(other, more)) is same


@given(st.text(), st.text(), st.lists(digests))
def test_a_key_of_ones_own_never_meets_a_fingerprint(task, key, inputs):
    assert keyed_fingerprint(task, key) != call_fingerprint(task, inputs)


@given(*[st.tuples(st.text(max_size=3), st.text(max_size=3), digests, st.integers(0, 3))] * 2)
def test_an_identity_is_of_lineage_parent_call_and_number(one, other):
    assert (task_run_id(*one) == task_run_id(*other)) is (one == other)
    assert len(task_run_id(*one)) == 32


def test_a_child_run_is_of_its_run_and_task_run():
    assert child_run_id("r", "t") == child_run_id("r", "t")
    assert len({child_run_id("r", "t"), child_run_id("r", "u"), child_run_id("s", "t"), child_run_id("rt", "")}) == 4
