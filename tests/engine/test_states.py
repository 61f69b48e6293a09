"""The table of transitions, every pair of it."""

from __future__ import annotations

import itertools

import pytest

from ostinato.states import LIVE, REOPENINGS, TERMINAL, TRANSITIONS, State, allowed

# rows: from; columns in the order of State: . never, x within an epoch, o only with a new epoch, b both
#             sch que run wai ret suc fai cra can ski
TABLE = {
    "scheduled": ". x x . . o o o b b",
    "queued":    ". . x . . o o o b b",
    "running":   ". o . x x x x b x x",
    "waiting":   ". b x . . x x b x x",
    "retrying":  ". b x . . x x b x x",
    "succeeded": "o o . . . o o o o o",
    "failed":    "o o . . . o o o o o",
    "crashed":   "o o . . . o o o o o",
    "cancelled": "o o . . . o o o o o",
    "skipped":   "o o . . . o o o o o",
}  # fmt: skip


def test_the_table_is_over_the_closed_list():
    assert [str(state) for state in State] == list(TABLE)
    assert set(TRANSITIONS) == set(REOPENINGS) == set(State)
    assert {s for s in State if s.is_terminal} == TERMINAL
    assert {s for s in State if s.is_live} == LIVE
    assert not TERMINAL & LIVE


@pytest.mark.parametrize(("before", "after"), list(itertools.product(State, State)))
def test_a_move_is_allowed_as_the_table_says(before, after):
    cell = TABLE[before].split()[list(State).index(after)]
    assert allowed(before, after) == (cell in "xb")
    assert allowed(before, after, new_epoch=True) == (cell in "xbo")


def test_terminal_absorbs_and_everything_can_end():
    for state in State:
        reached, left = {state}, [state]
        while left:
            for after in TRANSITIONS[left.pop()] - reached:
                reached.add(after)
                left.append(after)
        assert (reached == {state}) == state.is_terminal
        assert reached & TERMINAL
