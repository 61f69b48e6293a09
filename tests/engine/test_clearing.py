"""Which task runs are run again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.engine.clearing import ancestors, downstream, format_ranges, parse_ranges, select, unfinished
from ostinato.errors import UsageError
from ostinato.records import TaskRun
from ostinato.states import State


def a_row(seq, **fields):
    values = {"run_id": "r", "seq": seq, "id": f"{seq:06x}abcdef", "task": "m.f", "key": "k", "epoch": 1, "created_at": 1,
              "state": State.SUCCEEDED} | fields  # fmt: skip
    return TaskRun(**values)


@given(st.lists(st.integers(0, 60)))
def test_ranges_come_back(seqs):
    text = format_ranges(seqs)
    assert parse_ranges(text) == sorted(set(seqs))
    assert (text is None) == (not seqs)
    assert text is None or len(text.split(",")) == len({n - i for i, n in enumerate(sorted(set(seqs)))})


def test_ranges_are_written_short():
    assert format_ranges([3, 1, 4, 2, 9, 7, 8, 20]) == "1-4,7-9,20"


@given(st.data())
def test_downstream_is_all_that_can_be_reached_and_nothing_else(data):
    count = data.draw(st.integers(1, 12))
    rows = []
    for seq in range(count):
        ups = data.draw(st.sets(st.integers(0, max(0, seq - 1)))) if seq else set()
        parent = data.draw(st.one_of(st.none(), st.integers(0, seq - 1))) if seq else None
        rows.append(a_row(seq, upstream=format_ranges(ups), parent_seq=parent))
    chosen = data.draw(st.sets(st.integers(0, count - 1)))
    found = set(chosen)
    while True:  # the naive way: until nothing is added
        more = {
            row.seq for row in rows
            if row.seq not in found and (set(parse_ranges(row.upstream)) & found or row.parent_seq in found)
        }  # fmt: skip
        if not more:
            break
        found |= more
    assert downstream(rows, chosen) == sorted(found - chosen)
    above = ancestors(rows, chosen)
    assert set(above) == {row.parent_seq for row in rows if row.seq in (chosen | set(above))} - {None}


def test_a_retry_chooses_what_did_not_succeed():
    chosen = {State.FAILED, State.CRASHED, State.CANCELLED, State.SKIPPED, State.RUNNING, State.WAITING, State.RETRYING,
              State.QUEUED}  # fmt: skip
    rows = [a_row(n, state=state) for n, state in enumerate(State)]
    assert {rows[n].state for n in unfinished(rows)} == chosen
    assert (
        unfinished([a_row(0, state=State.SKIPPED, reason="returned"), a_row(1, state=State.SKIPPED, reason="marked")])
        == []
    )


ROWS = [
    a_row(0, task="flow.load"), a_row(1, task="flow.load", map_index=0), a_row(2, task="flow.load", map_index=1),
    a_row(3, task="other.Class.save"), a_row(12, task="named by hand"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("chosen", "seqs"),
    [
        ("load", [0, 1, 2]), ("flow.load", [0, 1, 2]), ("load[1]", [2]), ("flow.load[0]", [1]), ("save", [3]),
        ("12", [12]), ("named by hand", [12]), ("000003abc", [3]), ("3abcd", None), ("lod", None), ("load[7]", None),
    ],
)  # fmt: skip
def test_a_person_names_task_runs(chosen, seqs):
    if seqs is None:
        with pytest.raises(UsageError, match="No task run"):
            select(ROWS, chosen)
    else:
        assert [row.seq for row in select(ROWS, chosen)] == seqs


def test_a_name_that_is_nearly_right_is_suggested():
    with pytest.raises(UsageError, match="Did you mean 'load'"):
        select(ROWS, "laod")
