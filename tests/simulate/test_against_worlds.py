"""The simulation against the real engine in virtual time: the same deployments, months of them, run by run.

A flow that sleeps stands for work of that length: it keeps its slots of limits, and its overlap, while it does.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from ostinato import flow
from ostinato.clock import SECOND, instant_of
from ostinato.limits import Limit, Overlap
from ostinato.schedules import Cron, Every, On
from ostinato.simulate.gather import from_store, with_durations
from ostinato.simulate.play import play
from ostinato.simulate.scene import Crew, Span
from ostinato.testing import virtual_time
from ostinato.waiting import sleep

if TYPE_CHECKING:
    from ostinato.testing import World

BEGIN = datetime(2026, 3, 20, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return BEGIN + timedelta(minutes=minutes)


def flows(policy: str) -> tuple[list[Any], dict[str, float]]:
    """Flows that get in each other's way, and how many seconds each of them takes."""

    @flow(schedule=Cron("11 2 * * *", timezone="Europe/Oslo"), limits=Limit("db", 1))
    def nightly() -> None:
        sleep(3 * 3600 + 7)

    @flow(schedule=Every(hours=5, start=at(3)), limits=[Limit("db", 1), Limit("api", rate="1/20m")])
    def load() -> None:
        sleep(2 * 3600 + 11)

    @flow(schedule=Every(minutes=97, start=at(5)), overlap=Overlap(policy), limits=Limit("api", rate="1/20m"))
    def sync() -> None:
        sleep(150 * 60 + 13)

    @flow(schedule=On(load))
    def report() -> None:
        sleep(61)

    seconds = {"nightly": 3 * 3600 + 7.0, "load": 2 * 3600 + 11.0, "sync": 150 * 60 + 13.0, "report": 61.0}
    return [nightly, load, sync, report], seconds


def starts_for_real(world: World, days: float) -> list[tuple[datetime, str]]:
    world.run_for(timedelta(days=days) - timedelta(microseconds=1))
    found = [(run.started_at, run.flow) for run in world.runs() if run.started_at is not None]
    return sorted(found)


@pytest.mark.parametrize("policy", ["allow", "queue", "skip", "cancel_new", "cancel_running"])
def test_the_engine_and_the_simulation_start_the_same_runs_at_the_same_instants(policy: str) -> None:
    days = 9
    with virtual_time(BEGIN) as world:
        made, seconds = flows(policy)
        world.deploy(*made)
        begin = instant_of(BEGIN) + 1
        span = Span(begin=begin, end=begin - 1 + days * 86_400 * SECOND)
        scene = with_durations(from_store(world.store, world._results, span), seconds)
        outlook = play(scene, span, [Crew(slots=1000)])
        real = starts_for_real(world, days)
        ends = dict.fromkeys(seconds, 0)
        for run in world.runs():
            ends[run.flow] += run.state in {"succeeded", "cancelled"} and run.started_at is not None
    foreseen = sorted(
        (BEGIN + timedelta(microseconds=each.started_at - begin + 1), each.deployment)
        for each in outlook.played
        if each.started_at is not None
    )
    assert [name for _, name in real] == [name for _, name in foreseen]
    for (moment, name), (expected, _) in zip(real, foreseen, strict=True):
        assert abs(moment - expected) < timedelta(seconds=1), f"{name}: {moment}, foreseen for {expected}"
    assert len(real) > 60
    assert {each.deployment: sum(each.ended.values()) for each in outlook.deployments} == ends
