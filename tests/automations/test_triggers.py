"""Each trigger is met when it should be, and forgets when it should."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from tests.automations.conftest import START, Player, a_run, an_event

from ostinato.automations import (
    Absent,
    AllOf,
    AnyOf,
    Automation,
    Count,
    During,
    Emit,
    Happened,
    InOrder,
    Late,
    Longer,
    Notify,
    Rate,
    RunFailed,
    RunIs,
    RunSucceeded,
    TaskFailed,
    Weekly,
)
from ostinato.clock import SECOND
from ostinato.engine.seen import values_of

A, B, C = Happened("a"), Happened("b"), Happened("c")


def player(when, **options):
    return Player(Automation(when=when, then=Notify("ops"), **options))


# --- one event


def test_a_failed_run_is_told_once_with_what_is_known_of_it():
    played = player(RunFailed())
    run = a_run(
        error='{"type": "ValueError", "module": "builtins", "message": "no rows", "traceback": ""}', tags=["core"]
    )
    (verdict,) = played.see(an_event("run.failed", 12, run=run, data={"reason": "timed_out"}))
    assert verdict.key == "etl"
    assert verdict.values["state"] == "failed"
    assert verdict.values["reason"] == "timed_out"
    assert verdict.values["error"] == "ValueError: no rows"
    assert verdict.values["duration"] == "12 s"
    assert verdict.values["summary"] == "etl (run r1) failed (timed_out): ValueError: no rows."


@pytest.mark.parametrize(
    ("when", "event", "is_met"),
    [
        (RunFailed(), an_event("run.failed"), True),
        (RunFailed(), an_event("run.crashed"), True),
        (RunFailed(), an_event("run.succeeded"), False),
        (RunFailed(), an_event("task_run.failed"), False),
        (RunFailed(reason="lost"), an_event("run.crashed", data={"reason": "lost"}), True),
        (RunFailed(reason="lost"), an_event("run.crashed", data={"reason": "poisonous"}), False),
        (RunFailed(flow="etl"), an_event("run.failed"), True),
        (RunFailed(flow=["other", "e*"]), an_event("run.failed"), True),
        (RunFailed(flow="other"), an_event("run.failed"), False),
        (RunFailed(flow="etl/night"), an_event("run.failed", run=a_run(deployment="etl/night")), True),
        (RunFailed(tags="core"), an_event("run.failed", run=a_run(tags=["core", "x"])), True),
        (RunFailed(tags=["core", "y"]), an_event("run.failed", run=a_run(tags=["core", "x"])), False),
        (RunFailed(), an_event("run.failed", run=a_run(parent_run_id="r0")), False),
        (RunFailed(flow="etl"), an_event("run.failed", run=a_run(parent_run_id="r0")), True),
        (RunFailed(), an_event("run.failed", run=a_run(kind="task")), False),
        (RunFailed(), an_event("run.failed", run=a_run(kind="sensor")), False),
        (RunSucceeded(), an_event("run.succeeded"), True),
        (RunIs("cancelled", "skipped"), an_event("run.skipped"), True),
        (RunIs("running"), an_event("run.started"), True),
        (RunIs("waiting"), an_event("run.suspended"), True),
        (RunIs("cancelled"), an_event("run.failed"), False),
        (TaskFailed(), an_event("task_run.failed", data={"task": "f.load"}), True),
        (TaskFailed("load"), an_event("task_run.failed", data={"task": "f.load"}), True),
        (TaskFailed("f.*"), an_event("task_run.failed", data={"task": "f.load"}), True),
        (TaskFailed("save"), an_event("task_run.failed", data={"task": "f.load"}), False),
        (TaskFailed("load", flow="other"), an_event("task_run.failed", data={"task": "f.load"}), False),
        (Late(), an_event("run.late", data={"kind": "end"}), True),
        (Late("start"), an_event("run.late", data={"kind": "end"}), False),
        (Happened("orders.landed"), an_event("orders.landed"), True),
        (Happened("orders.*"), an_event("orders.landed"), True),
        (Happened("orders.*"), an_event("order.landed"), False),
        (Happened("orders.landed", key="7"), an_event("orders.landed", key="7"), True),
        (Happened("orders.landed", key="7"), an_event("orders.landed", key="8"), False),
        (Happened("o", where={"n": (">", 3)}), an_event("o", data={"n": 4}), True),
        (Happened("o", where={"n": (">", 3)}), an_event("o", data={"n": 3}), False),
        (Happened("o", where={"n": (">", 3)}), an_event("o", data={"n": "many"}), False),
        (Happened("o", where={"n": (">", 3)}), an_event("o", data={}), False),
        (Happened("o", where={"a.b": "x"}), an_event("o", data={"a": {"b": "x"}}), True),
        (Happened("o", where={"a": ("in", ["x", "y"])}), an_event("o", data={"a": "y"}), True),
        (Happened("o", where={"a": ("contains", "x")}), an_event("o", data={"a": ["x"]}), True),
        (Happened("o", where={"a": ("!=", None)}), an_event("o", data={"a": 1}), True),
        (AnyOf(A, B), an_event("b"), True),
        (AnyOf(A, B), an_event("c"), False),
    ],
)
def test_one_event_meets_what_it_should(when, event, is_met):
    assert bool(player(when).see(event)) is is_met


def test_one_event_that_meets_two_of_any_fires_once():
    assert len(player(AnyOf(A, Happened("a"), RunFailed())).see(an_event("a"))) == 1


# --- filters of the whole


def test_an_automation_sees_only_what_concerns_its_flow_tags_and_owner():
    assert player(RunFailed(), flow="e*").see(an_event("run.failed"))
    assert not player(RunFailed(), flow="other").see(an_event("run.failed"))
    assert player(RunFailed(), flow="etl").see(an_event("run.failed", run=a_run(parent_run_id="r0")))
    assert not player(RunFailed(), tags="core").see(an_event("run.failed"))
    assert player(RunFailed(), owner="ada").see(an_event("run.failed", owners=("ada", "team-x")))
    assert not player(RunFailed(), owner="bob").see(an_event("run.failed", owners=("ada",)))
    assert not player(A, flow="etl").see(an_event("a"))
    assert player(Happened("schedule.*"), flow="etl").see(an_event("schedule.failed", data={"deployment": "etl"}))


def test_an_automation_does_not_see_its_own_doings():
    played = Player(Automation(when=AnyOf(RunFailed(), A), then=Emit("a")), name="mine")
    assert not played.see(an_event("run.failed", run=a_run(created_by="automation:mine")))
    assert not played.see(an_event("a", data={"automation": "mine"}))
    assert played.see(an_event("a", data={"automation": "other"}))


# --- counts and rates, against the plainest reference


def test_count_agrees_with_a_plain_reference():
    for seed in range(40):
        chance = random.Random(seed)
        n, within = chance.randint(2, 5), chance.choice([5, 20, 60])
        times = sorted(chance.uniform(0, 200) for _ in range(60))
        played = player(Count(A, n, within=within))
        played.see(*(an_event("a", at) for at in times))
        expected, window = [], []
        for at in [round(at * SECOND) for at in times]:
            window.append(at)
            if len(window) >= n and at - window[-n] <= within * SECOND:
                expected.append(at)
                window = []
        assert [verdict.at - START for verdict in played.verdicts] == expected
        assert all(verdict.values["count"] == n for verdict in played.verdicts)


def test_count_keeps_apart_what_by_names():
    played = player(Count(RunFailed(), 2, by="flow"))
    assert not played.see(an_event("run.failed", 1, flow="x"), an_event("run.failed", 2, flow="y"))
    assert [verdict.key for verdict in played.see(an_event("run.failed", 3, flow="x"))] == ["x"]
    other = player(Count(A, 2, by="data.shop"))
    assert not other.see(an_event("a", data={"shop": 1}), an_event("a", data={"shop": 2}))
    assert other.see(an_event("a", data={"shop": 2}))


def test_rate_agrees_with_a_plain_reference():
    for seed in range(40):
        chance = random.Random(seed)
        last, least = chance.choice([None, 4, 10]), chance.choice([None, 3])
        within = chance.choice([30, 100]) if last is None else chance.choice([None, 50])
        above = chance.choice([0.0, 0.2, 0.5])
        ends = [(at, chance.random() < 0.35) for at in sorted(chance.uniform(0, 300) for _ in range(80))]
        played = player(Rate(above, last=last, within=within, least=least))
        played.see(*(an_event("run.failed" if bad else "run.succeeded", at) for at, bad in ends))
        expected, was_above = [], False
        for index, (at, _) in enumerate(ends):
            known = ends[: index + 1]
            if within is not None:
                known = [each for each in known if each[0] > at - within]
            if last is not None:
                known = known[-last:]
            if len(known) >= (least or last or 5):
                is_above = sum(bad for _, bad in known) / len(known) > above
                if is_above and not was_above:
                    expected.append(round(at * SECOND))
                was_above = is_above
        assert [verdict.at - START for verdict in played.verdicts] == expected


def test_rate_says_how_many_of_how_many():
    played = player(Rate(0.2, last=4))
    played.see(*(an_event(kind, at) for at, kind in enumerate(["run.succeeded"] * 3 + ["run.failed"])))
    assert played.verdicts[0].values["rate"] == 25
    assert "25 % of the last 4 runs failed" in played.verdicts[0].values["summary"]


# --- several together


def test_in_order_agrees_with_a_plain_reference():
    for seed in range(60):
        chance = random.Random(seed)
        within = chance.choice([None, 10, 40])
        events = [(at, chance.choice("abc")) for at in sorted(chance.uniform(0, 200) for _ in range(50))]
        played = player(InOrder(A, B, C, within=within))
        played.see(*(an_event(kind, at) for at, kind in events))
        assert played.at == pytest.approx(_orders(events, within), abs=1e-5)


def _orders(events, within):
    """Try all triples that begin after the last one that was found."""
    found, begin = [], 0
    for last in range(len(events)):
        for first in range(begin, last):
            for middle in range(first + 1, last):
                if "".join(events[index][1] for index in (first, middle, last)) != "abc" or last < begin:
                    continue
                if within is None or events[last][0] - events[first][0] <= within:
                    found.append(events[last][0])
                    begin = last + 1
                    break
            if begin > last:
                break
    return found


def test_all_of_agrees_with_a_plain_reference():
    for seed in range(60):
        chance = random.Random(seed)
        within = chance.choice([None, 8, 30])
        events = [(at, chance.choice("abc")) for at in sorted(chance.uniform(0, 200) for _ in range(50))]
        played = player(AllOf(A, B, C, within=within))
        played.see(*(an_event(kind, at) for at, kind in events))
        expected, begin = [], 0
        for index, (at, _) in enumerate(events):
            near = [each for each in events[begin : index + 1] if within is None or at - each[0] <= within]
            if {kind for _, kind in near} == {"a", "b", "c"}:
                expected.append(at)
                begin = index + 1
        assert played.at == pytest.approx(expected, abs=1e-5)


def test_a_sequence_is_watched_apart_for_each_key():
    played = player(InOrder(A, B, by="key"))
    assert not played.see(an_event("a", 1, key="x"), an_event("b", 2, key="y"))
    assert [verdict.key for verdict in played.see(an_event("b", 3, key="x"))] == ["x"]


def test_one_event_does_not_stand_in_two_places_of_a_sequence():
    played = player(InOrder(A, Happened("a")))
    assert not played.see(an_event("a", 1))
    assert played.see(an_event("a", 2))


# --- time


def test_absence_is_told_once_and_again_after_it_came():
    played = player(Absent("heart.beat", within=60))
    played.see(an_event("heart.beat", 50), an_event("other", 300))
    assert played.at == [110]
    played.see(an_event("heart.beat", 400), an_event("other", 500))
    assert played.at == [110, 460]
    assert played.verdicts[0].values["summary"].startswith("Event heart.beat has not come since 2023-11-14T22:14:10")


def test_absence_is_the_same_for_one_who_reads_late():
    """The reader slept for a day: what was missing then is told, though it has come since."""
    played = player(Absent("heart.beat", within=60))
    assert [verdict.state for verdict in played.see(an_event("heart.beat", 90_000))] == ["pending"]
    assert played.at == [60]


def test_absence_after_something_is_watched_apart_for_each_key():
    played = player(Absent(Happened("order.paid"), within=100, after=Happened("order.placed"), by="key"))
    played.see(an_event("order.placed", 0, key="x"), an_event("order.placed", 10, key="y"))
    played.see(an_event("order.paid", 50, key="x"), an_event("other", 1000))
    assert played.at == [110]
    assert played.verdicts[0].values["key"] == "y"


def test_absence_agrees_with_a_plain_reference():
    for seed in range(40):
        chance = random.Random(seed)
        within = chance.choice([5, 15, 40])
        times = sorted(chance.uniform(0, 300) for _ in range(20))
        played = player(Absent(A, within=within))
        played.see(*(an_event("a", at) for at in times), an_event("other", 400))
        expected = [
            before + within
            for before, after in zip([0, *times], [*times, 400], strict=True)
            if after - before >= within
        ]
        assert played.at == pytest.approx(expected, abs=1e-5)


def test_a_run_that_takes_too_long_is_told_while_it_runs_and_only_once():
    played = player(Longer(60))
    played.see(an_event("run.started", 0), an_event("run.started", 100), an_event("run.succeeded", 200))
    assert played.at == [60]
    assert played.verdicts[0].values["summary"] == "etl (run r1) takes longer than 1 min."
    quick = player(Longer(60))
    quick.see(an_event("run.started", 0), an_event("run.failed", 59), an_event("other", 300))
    assert quick.at == []


def test_what_is_too_long_can_be_learned():
    played = player(Longer(times=3))
    played.see(an_event("run.started", 0, past=(10, 10, 10, 10, 100)), an_event("other", 300))
    assert played.at == [30]
    highest = player(Longer(times=3, quantile=1.0))
    highest.see(an_event("run.started", 0, past=(10, 10, 10, 10, 100)), an_event("other", 400))
    assert highest.at == [300]
    unknown = player(Longer(times=3))
    unknown.see(an_event("run.started", 0, past=(10, 10)), an_event("other", 9000))
    assert unknown.at == []


# --- de-duplication and silence


def test_the_same_again_within_the_window_is_a_duplicate():
    played = player(RunFailed(), once_per=timedelta(minutes=10))
    for at, flow in ((0, "x"), (60, "x"), (61, "y"), (599, "x"), (600, "x"), (700, "x")):
        played.see(an_event("run.failed", at, flow=flow))
    states = [(verdict.key, verdict.state) for verdict in played.verdicts]
    assert states == [
        *(("x", "pending"), ("x", "duplicate"), ("y", "pending")),
        *(("x", "duplicate"), ("x", "pending"), ("x", "duplicate")),
    ]


def test_silence_keeps_back_and_does_not_count_as_told():
    played = player(A, once_per=3600, silence=Weekly("tue", "22:00", "22:30"))  # it begins at 22:13:20 on a Tuesday
    states = [played.see(an_event("a", at))[0].state for at in (0, 900, 1100, 1200)]
    assert states == ["silenced", "silenced", "pending", "duplicate"]


def test_somebody_may_silence_it_for_a_while():
    played = player(A)
    played.silenced_until = START + 100 * SECOND
    assert [played.see(an_event("a", at))[0].state for at in (99, 100)] == ["silenced", "pending"]


@pytest.mark.parametrize(
    ("silence", "hours"),
    [
        (Weekly("tue"), [0, 1]),
        (Weekly("wed"), [2, 3, 7, 10, 24, 25]),
        (Weekly("mon-wed", "22:00", "06:00"), [0, 1, 2, 3, 7, 24, 25]),
        (Weekly("tue", "23:00", "01:00", timezone="Europe/Oslo"), [0, 1]),
        (Weekly("sat,sun"), []),
    ],
)
def test_weekly_silences_know_nights_and_timezones(silence, hours):
    """Hours after Tuesday, 22:13:20 in UTC, 23:13:20 in Oslo."""
    assert [hour for hour in (0, 1, 2, 3, 7, 10, 24, 25) if silence.covers(START + hour * 3600 * SECOND)] == hours


def test_values_never_fail_for_what_is_not_known():
    values = values_of(an_event("x.y", data={"a": 1}))
    assert values["summary"] == "x.y happened."
    assert "flow" not in values


def test_a_silence_during_a_cron_lasts_from_its_instants():
    silence = During("0 22 * * *", timedelta(hours=1))
    assert silence.covers(START)
    assert not silence.covers(START + 3600 * SECOND)
    assert silence.covers(START + 24 * 3600 * SECOND)


def test_absence_after_a_cron_is_told_for_each_instant():
    played = player(Absent(A, within=600, after="0 * * * *"))  # 23:00 is 2,800 s after the beginning
    played.see(an_event("a", 2900), an_event("other", 6000), an_event("a", 7200), an_event("other", 20_000))
    assert played.at == [2800 + 3600 + 600, 2800 + 2 * 3600 + 600, 2800 + 3 * 3600 + 600, 2800 + 4 * 3600 + 600]
