"""Which instants of a schedule are due and which were missed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostinato.clock import SECOND
from ostinato.runtime.due import BATCH, GRACE, find_due
from ostinato.schedules import At, Cron, Every, delay_of, instants, next_after

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ostinato.runtime.due import Due

BEGIN = 1_750_032_000 * SECOND  # 2025-06-16, midnight
MINUTE, HOUR, DAY = 60 * SECOND, 3600 * SECOND, 86_400 * SECOND


def every(seconds: float = 60, **options: Any) -> Every:
    return Every(seconds=seconds, **options)


def between(first: int, last: int, step: int = MINUTE) -> list[int]:
    return list(range(first, last + 1, step))


def test_what_is_on_time_is_started_and_the_next_is_awaited():
    due = find_due(every(), "s", BEGIN, BEGIN + MINUTE)
    assert (due.instants, due.missed) == ([BEGIN + MINUTE], None)
    assert (due.since, due.next_at) == (BEGIN + MINUTE, BEGIN + 2 * MINUTE)


def test_before_its_time_nothing_is_due():
    due = find_due(every(), "s", BEGIN, BEGIN + MINUTE - 1)
    assert (due.instants, due.since, due.next_at) == ([], BEGIN, BEGIN + MINUTE)


def test_a_minute_late_is_still_on_time():
    now = BEGIN + HOUR + GRACE
    assert find_due(every(3600, catchup="none"), "s", BEGIN, now).instants == [BEGIN + HOUR]
    late = find_due(every(3600, catchup="none"), "s", BEGIN, now + 1)
    assert late.instants == []
    assert late.missed is not None
    assert (late.missed.count, late.missed.first, late.missed.last) == (1, BEGIN + HOUR, BEGIN + HOUR)


def test_asleep_for_a_day_the_newest_stands_for_all_by_default():
    due = find_due(every(3600), "s", BEGIN, BEGIN + DAY + 30 * MINUTE)
    assert due.instants == [BEGIN + DAY]
    assert due.missed is not None
    assert (due.missed.count, due.missed.first, due.missed.last) == (23, BEGIN + HOUR, BEGIN + DAY - HOUR)
    assert (due.since, due.next_at) == (BEGIN + DAY, BEGIN + DAY + HOUR)


def test_asleep_for_a_day_one_that_is_on_time_stands_for_those_that_were_missed():
    due = find_due(every(3600), "s", BEGIN, BEGIN + DAY)
    assert due.instants == [BEGIN + DAY]
    assert due.missed is not None
    assert due.missed.count == 23


def test_one_missed_instant_is_caught_up_with_and_nothing_is_left_out():
    due = find_due(every(3600), "s", BEGIN, BEGIN + HOUR + 30 * MINUTE)
    assert (due.instants, due.missed) == ([BEGIN + HOUR], None)


def test_none_starts_nothing_for_what_was_missed_but_what_is_on_time():
    due = find_due(every(catchup="none"), "s", BEGIN, BEGIN + DAY)
    assert due.instants == [BEGIN + DAY - MINUTE, BEGIN + DAY]
    assert due.missed is not None
    assert due.missed.more
    assert due.missed.first == BEGIN + MINUTE
    assert due.missed.last == BEGIN + DAY - 2 * MINUTE


def test_all_starts_all_of_them_in_batches_the_oldest_first():
    when, since, now, seen = every(catchup="all"), BEGIN, BEGIN + DAY, list[int]()
    looks = 0
    while True:
        due = find_due(when, "s", since, now)
        assert due.missed is None
        seen += due.instants
        since, looks = due.since, looks + 1
        assert due.next_at is not None
        if due.next_at > now:
            break
        assert len(due.instants) == BATCH
    assert seen == between(BEGIN + MINUTE, BEGIN + DAY)
    assert looks == 3


def test_however_long_it_slept_the_count_ends_and_nothing_is_due_twice():
    now = BEGIN + 400 * DAY + 30 * SECOND
    due = find_due(every(1), "s", BEGIN, now, counted=100)
    assert due.missed is not None
    assert (due.missed.count, due.missed.more) == (100, True)
    # 61 that are on time by now; the newest missed is not among them
    assert due.instants == between(now - GRACE, now, SECOND)
    assert due.missed.last == now - GRACE - SECOND


def test_what_is_replayed_starts_whatever_the_policy():
    now = BEGIN + 10 * MINUTE
    due = find_due(every(catchup="none"), "s", BEGIN, now, until=now)
    assert (due.instants, due.missed) == (between(BEGIN + MINUTE, now), None)


def test_beyond_what_is_replayed_the_policy_holds_again():
    now = BEGIN + 10 * MINUTE
    due = find_due(every(catchup="none"), "s", BEGIN, now, until=BEGIN + 3 * MINUTE)
    assert due.instants == [*between(BEGIN + MINUTE, BEGIN + 3 * MINUTE), now - MINUTE, now]
    assert due.missed is not None
    assert due.missed.count == 5


def test_with_its_clock_set_back_nothing_is_due_until_it_has_come_round():
    due = find_due(every(), "s", BEGIN + HOUR, BEGIN)
    assert (due.instants, due.since, due.next_at) == ([], BEGIN + HOUR, BEGIN + HOUR + MINUTE)


def test_one_that_will_not_fire_again_has_no_next():
    from datetime import UTC, datetime

    when = At([datetime.fromtimestamp(BEGIN // SECOND + 60, UTC)])
    assert find_due(when, "s", BEGIN, BEGIN + MINUTE).next_at is None
    assert find_due(when, "s", BEGIN + MINUTE, BEGIN + DAY).instants == []


def test_jitter_holds_an_instant_back_and_does_not_make_it_missed():
    when = every(3600, jitter=1800, catchup="none")
    instant = BEGIN - BEGIN % HOUR + HOUR
    delay = delay_of(when, "s", instant)
    assert 0 < delay <= 1800 * SECOND
    assert find_due(when, "s", instant - 1, instant + delay - 1).next_at == instant + delay
    assert find_due(when, "s", instant - 1, instant + delay + GRACE).instants == [instant]
    assert find_due(when, "s", instant - 1, instant + delay + GRACE + 1).instants == []


@settings(max_examples=150, deadline=None)
@given(
    seconds=st.sampled_from([7, 60, 90, 3600]),
    jitter=st.sampled_from([0, 30, 400]),
    catchup=st.sampled_from(["last", "all", "none"]),
    looks=st.lists(st.integers(min_value=1, max_value=5000), min_size=1, max_size=8),
    back=st.integers(min_value=0, max_value=4000),
    cron=st.booleans(),
)
def test_whenever_it_is_looked_at_each_instant_is_decided_once_and_in_order(
    seconds: int, jitter: int, catchup: str, looks: Sequence[int], back: int, *, cron: bool
):
    when: Any = (
        Cron("*/2 * * * *", jitter=jitter, catchup=catchup) if cron else every(seconds, jitter=jitter, catchup=catchup)
    )
    since, now, started, left = BEGIN, BEGIN, list[int](), 0
    for place, gap in enumerate(looks):
        now += gap * SECOND
        if place == len(looks) // 2:
            now -= back * SECOND
        while True:
            due = find_due(when, "s", since, now, counted=10**6)
            assert all(instant <= now for instant in due.instants)
            _check_look(due, since, catchup)
            started += due.instants
            left += due.missed.count if due.missed else 0
            since = due.since
            if due.next_at is None or due.next_at > now:
                break
    assert started == sorted(set(started))
    decided = list(instants(when, BEGIN, since))
    assert set(started) <= set(decided)
    assert len(started) + left == len(decided)
    following = next_after(when, since)
    assert following is not None
    assert due.next_at is not None
    assert due.next_at >= following + delay_of(when, "s", following)


def _check_look(due: Due, since: int, catchup: str) -> None:
    assert len(due.instants) <= BATCH + 1
    if catchup == "all":
        assert due.missed is None
    if due.missed is not None:
        assert since < due.missed.first <= due.missed.last <= due.since
        assert due.missed.last not in due.instants


@pytest.mark.parametrize("catchup", ["last", "all", "none"])
def test_a_clock_that_jumps_an_hour_ahead_is_like_an_hour_asleep(catchup: str):
    due = find_due(every(600, catchup=catchup), "s", BEGIN, BEGIN + HOUR + 5 * MINUTE)
    ten = 10 * MINUTE
    first = BEGIN - BEGIN % ten + ten
    newest = list(instants(every(600), BEGIN, BEGIN + HOUR + 5 * MINUTE))
    assert first == newest[0]
    expected = {"all": newest, "last": newest[-1:], "none": []}[catchup]
    assert due.instants == expected
