"""A simulation: what runs when, what waits for what, and for how long."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from tests.simulate.scenes import BEGIN, HOUR, deployed, of, played, row, scene, starts

from ostinato.clock import SECOND
from ostinato.deadlines import Due
from ostinato.errors import UsageError
from ostinato.limits import Limit, Overlap
from ostinato.schedules import At, Cron, Every, On
from ostinato.simulate.past import Draw, Past
from ostinato.simulate.scene import Crew, Request, Span, Told
from ostinato.states import State
from ostinato.timing import LimitRow, Schedule
from ostinato.work import Pool, Queue

HOURLY = Cron("0 * * * *")


# --- what runs when


def test_a_year_of_an_hourly_schedule_is_played_run_by_run() -> None:
    outlook = played(scene(deployed("load"), row("load", HOURLY)), hours=365 * 24)
    found = of(outlook, "load")
    assert (found.runs, found.ended, found.unfinished) == (8760, {"succeeded": 8760}, 0)
    assert found.first_at == BEGIN
    assert found.last_at == BEGIN + (8760 - 1) * HOUR
    assert found.late.max == 0
    assert outlook.used == pytest.approx(60 / 3600 / 4, rel=1e-3)
    assert outlook.took < 30


def test_clocks_that_change_are_heeded() -> None:
    daily = row("load", Cron("30 2 * * *", timezone="Europe/Oslo"))
    outlook = played(scene(deployed("load"), daily), hours=24 * 120)
    at = [datetime.fromtimestamp(each.scheduled_at / SECOND, UTC) for each in outlook.played]
    assert {(each.hour, each.minute) for each in at} == {(1, 30), (0, 30), (1, 0)}  # 02:30 is 01:00 UTC where it is not
    assert len(at) == 120


def test_jitter_is_the_same_as_on_a_server_and_counts_as_late() -> None:
    outlook = played(scene(deployed("load"), row("load", Cron("0 * * * *", jitter=600))), hours=48)
    again = played(scene(deployed("load"), row("load", Cron("0 * * * *", jitter=600))), hours=48, seed=7)
    late = [(each.started_at or 0) - each.scheduled_at for each in outlook.played]
    assert 0 <= min(late) < max(late) <= 600 * SECOND
    assert late == [(each.started_at or 0) - each.scheduled_at for each in again.played]
    assert all(each.waited == {} for each in outlook.played)


def test_what_is_paused_does_nothing_and_its_runs_are_kept() -> None:
    outlook = played(
        scene(
            deployed("load"),
            row("load", Cron("0 * * * *", paused=True)),
            deployed("kept", paused=True),
            row("kept", HOURLY),
        )
    )
    assert of(outlook, "load").runs == 0
    assert (of(outlook, "kept").runs, of(outlook, "kept").unfinished) == (24, 24)


def test_parameters_that_are_refused_start_nothing() -> None:
    outlook = played(scene(deployed("load"), row("load", HOURLY, parameters={"tenent": "x"})))
    assert (of(outlook, "load").runs, of(outlook, "load").skipped) == (0, {"refused": 24})
    assert "tenent" in outlook.notes[-1]


# --- events


def test_the_end_of_a_run_starts_another() -> None:
    report = row("report", On("flow:load"))
    made = scene(deployed("load"), row("load", HOURLY), deployed("report"), report, seconds={"load": 600})
    outlook = played(made)
    assert starts(outlook, "report") == [60 * hour + 10 for hour in range(24)]


def test_only_ends_of_the_wanted_state_count() -> None:
    made = scene(deployed("load"), row("load", HOURLY), deployed("fix"), row("fix", On("flow:load", states=["failed"])))
    made.pasts["load"] = Past(draws=[Draw(60, State.FAILED), Draw(60)], source="2 past runs")
    outlook = played(made, hours=24 * 20)
    failed = of(outlook, "load").ended["failed"]
    assert 150 < failed < 330
    assert of(outlook, "fix").runs == failed


def test_events_of_users_start_runs_and_conditions_wait_for_both() -> None:
    made = scene(
        deployed("load"),
        row("load", On("landed")),
        deployed("both"),
        row("both", On("landed") & Every(hours=6, start=datetime(2026, 1, 1, tzinfo=UTC))),
        events=[Told(at=BEGIN + round(hour * HOUR), kind="landed", key="") for hour in (1, 2, 13)],
    )
    outlook = played(made)
    assert starts(outlook, "load") == [60, 120, 780]
    assert starts(outlook, "both") == [60, 360, 780]  # 0 and 1 o'clock, 2 and 6, 12 and 13


def test_what_sensors_asked_for_is_asked_for_again() -> None:
    sensor = Schedule(name="arrivals", deployment="arrivals", kind="sensor", spec='{"every": 30}')
    made = scene(
        deployed("load"),
        deployed("arrivals", kind="sensor"),
        sensor,
        requests=[
            Request(at=BEGIN + HOUR, schedule="arrivals", key="f1", deployment="load", parameters={"tenant": "x"}),
            Request(at=BEGIN + 2 * HOUR, schedule="arrivals", key="f2", deployment="load", parameters={"wrong": "x"}),
        ],
    )
    outlook = played(made)
    assert starts(outlook, "load") == [60]
    assert of(outlook, "load").skipped == {"refused": 1}


# --- workers and pools


def test_runs_wait_for_a_free_slot_and_the_wait_is_told() -> None:
    things = [thing for n in range(4) for thing in (deployed(f"d{n}"), row(f"d{n}", HOURLY))]
    made = scene(*things, seconds={f"d{n}": 600 for n in range(4)})
    outlook = played(made, slots=2, hours=1)
    assert sorted(start for n in range(4) for start in starts(outlook, f"d{n}")) == [0, 0, 10, 10]
    binding = outlook.bindings[0]
    assert (binding.name, binding.runs, binding.waited, binding.bound) == ("workers", 2, 1200, 600)
    assert outlook.used == pytest.approx(4 * 600 / (2 * 3600))
    assert max(each.most_queued for each in outlook.stretches) == 2
    assert max(each.most_running for each in outlook.stretches) == 2


def test_a_full_pool_binds_though_workers_are_free() -> None:
    things = [thing for n in range(3) for thing in (deployed(f"d{n}", pool="gpu"), row(f"d{n}", HOURLY))]
    made = scene(*things, seconds={f"d{n}": 600 for n in range(3)}, pools=[Pool(name="gpu", slots=1)])
    outlook = played(made, slots=8, hours=1)
    assert sorted(start for n in range(3) for start in starts(outlook, f"d{n}")) == [0, 10, 20]
    assert [(each.name, each.waited, each.bound) for each in outlook.bindings] == [("pool gpu", 1800, 1200)]


def test_nobody_serves_a_pool_and_paused_pools_keep_their_runs() -> None:
    made = scene(
        deployed("a", pool="gpu"),
        row("a", HOURLY),
        deployed("b", pool="night"),
        row("b", HOURLY),
        pools=[Pool(name="night", paused=True)],
    )
    outlook = played(made, hours=2, pools=("default", "night"))
    assert {each.name for each in outlook.bindings} == {"nobody serves gpu", "pool night is paused"}
    assert (of(outlook, "a").unfinished, of(outlook, "b").unfinished) == (2, 2)


def test_queues_and_priorities_say_who_is_first() -> None:
    made = scene(
        deployed("first"),
        row("first", At([datetime(2026, 1, 1, 0, 0, tzinfo=UTC)])),
        deployed("low", priority=-5),
        row("low", At([datetime(2026, 1, 1, 0, 1, tzinfo=UTC)])),
        deployed("high", priority=5),
        row("high", At([datetime(2026, 1, 1, 0, 2, tzinfo=UTC)])),
        deployed("slow", queue="slow", priority=400),
        row("slow", At([datetime(2026, 1, 1, 0, 1, tzinfo=UTC)])),
        queues=[Queue(pool="default", name="slow", priority=-10)],
        seconds=dict.fromkeys(("first", "low", "high", "slow"), 600),
    )
    outlook = played(made, slots=1)
    order = sorted((each.started_at or 0, each.deployment) for each in outlook.played)
    assert [name for _, name in order] == ["first", "high", "low", "slow"]


def test_resources_keep_runs_from_running_side_by_side() -> None:
    wanted = '{"memory": 6e9}'
    made = scene(
        deployed("a", resources=wanted),
        row("a", HOURLY),
        deployed("b", resources=wanted),
        row("b", HOURLY),
        deployed("c"),
        row("c", HOURLY),
        seconds={"a": 600, "b": 600, "c": 600},
    )
    outlook = played(made, hours=1, slots=8, resources={"memory": 8e9})
    assert sorted([*starts(outlook, "a"), *starts(outlook, "b")]) == [0, 10]
    assert starts(outlook, "c") == [0]
    assert [each.name for each in outlook.bindings] == ["resources"]


# --- limits and overlap


def test_a_limit_lets_one_after_the_other_in_and_says_so() -> None:
    limit = Limit("db", 1)
    made = scene(
        deployed("a", limits=[limit]),
        row("a", HOURLY),
        deployed("b", limits=[limit]),
        row("b", HOURLY),
        seconds={"a": 600, "b": 600},
    )
    outlook = played(made, hours=1)
    assert sorted([*starts(outlook, "a"), *starts(outlook, "b")]) == [0, 10]
    assert [(each.name, each.runs, each.waited, each.bound) for each in outlook.bindings] == [("limit db", 1, 600, 600)]
    wider = played(
        scene(*made.deployed, *made.schedules, seconds={"a": 600, "b": 600}, limits=[LimitRow(name="db", slots=2)]),
        hours=1,
    )
    assert (starts(wider, "a"), starts(wider, "b"), wider.bindings) == ([0], [0], [])


def test_a_limit_by_key_counts_each_key_by_itself() -> None:
    limit = Limit("db", 1, key="tenant")
    things = []
    for n, tenant in enumerate(["x", "x", "y"]):
        things += [deployed(f"d{n}", limits=[limit]), row(f"d{n}", HOURLY, parameters={"tenant": tenant})]
    outlook = played(scene(*things, seconds={f"d{n}": 600 for n in range(3)}), hours=1)
    assert sorted([*starts(outlook, "d0"), *starts(outlook, "d1")]) == [0, 10]
    assert starts(outlook, "d2") == [0]
    assert [each.name for each in outlook.bindings] == ["limit db[x]"]


def test_a_rate_spreads_the_starts() -> None:
    things = [
        thing
        for n in range(5)
        for thing in (deployed(f"d{n}", limits=[Limit("api", rate="1/m")]), row(f"d{n}", HOURLY))
    ]
    outlook = played(scene(*things, seconds={f"d{n}": 7200 for n in range(5)}), hours=1, slots=8)
    assert sorted(start for n in range(5) for start in starts(outlook, f"d{n}")) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("policy", "begun", "skipped", "ended"),
    [
        ("allow", [0, 10, 20, 30, 40, 50], {}, {"succeeded": 4}),
        ("queue", [0, 25, 50], {}, {"succeeded": 2}),
        ("skip", [0, 30], {"overlap": 4}, {"succeeded": 2}),
        ("cancel_new", [0, 30], {"cancelled by overlap": 4}, {"succeeded": 2}),
        ("cancel_running", [0, 10, 20, 30, 40, 50], {}, {"cancelled": 5}),
    ],
)
def test_overlap_policies(policy: str, begun: list[float], skipped: dict[str, int], ended: dict[str, int]) -> None:
    made = scene(
        deployed("sync", overlap=Overlap(policy)), row("sync", Every(minutes=10, start=datetime(2026, 1, 1, tzinfo=UTC))),
        seconds={"sync": 25 * 60},
    )  # fmt: skip
    outlook = played(made, hours=1, slots=8)
    assert starts(outlook, "sync") == begun
    assert of(outlook, "sync").skipped == skipped
    assert of(outlook, "sync").ended == ended


def test_a_run_that_is_cancelled_while_it_waits_gives_its_places_back() -> None:
    made = scene(
        deployed("sync", overlap=Overlap("cancel_running"), limits=[Limit("db", 1)]),
        row("sync", Every(minutes=10, start=datetime(2026, 1, 1, tzinfo=UTC))),
        deployed("other", limits=[Limit("db", 1)]),
        row("other", At([datetime(2026, 1, 1, tzinfo=UTC)])),
        seconds={"sync": 300, "other": 35 * 60},
    )
    outlook = played(made, hours=1)
    found = of(outlook, "sync")
    assert found.runs == 6
    assert found.runs == sum(found.ended.values()) + found.unfinished
    assert outlook.stretches[-1].queued == 0


# --- by lot


def test_durations_failures_and_attempts_are_drawn_from_the_past() -> None:
    made = scene(deployed("load"), row("load", HOURLY))
    made.pasts["load"] = Past(draws=[Draw(10), Draw(30), Draw(50, State.FAILED, 3)], source="3 past runs")
    outlook = played(made, hours=24 * 40)
    found = of(outlook, "load")
    assert set(found.ended) == {"succeeded", "failed"}
    assert 250 < found.ended["failed"] < 390
    assert found.retried == found.ended["failed"]
    assert 27 < found.seconds < 33
    assert found.source == "3 past runs"
    again = played(made, hours=24 * 40)
    assert msgspec.structs.replace(again, took=0.0) == msgspec.structs.replace(outlook, took=0.0)
    assert of(played(made, hours=24 * 40, seed=1), "load").ended != found.ended


# --- deadlines


def test_deadlines_that_are_missed_are_counted() -> None:
    made = scene(
        deployed("a", deadline=Due(end=timedelta(minutes=5))),
        row("a", HOURLY),
        deployed("b", deadline=Due(start=timedelta(minutes=5))),
        row("b", HOURLY),
        seconds={"a": 600, "b": 60},
    )
    outlook = played(made, slots=1)
    assert of(outlook, "a").deadlines_missed == 24
    assert of(outlook, "b").deadlines_missed == 24
    assert outlook.deadlines_missed == 48
    roomy = played(made, slots=2)
    assert (of(roomy, "a").deadlines_missed, of(roomy, "b").deadlines_missed) == (24, 0)


# --- what is refused


def test_a_span_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(UsageError, match="--to is not after --from"):
        Span(begin=BEGIN, end=BEGIN)
    with pytest.raises(UsageError, match="1 or more, not 0 and 1"):
        Crew(workers=0)
