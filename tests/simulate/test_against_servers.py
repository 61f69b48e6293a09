"""The simulation against the real thing: one load, through a real server in real seconds and through the simulation.

The server is whole: its scheduler, its store with limits and overlap, its claims. Only the work itself is left out: the
worker of this test holds a run as long as it is said to take, and ends it. Nothing in this load happens within 0.3 s of
something else that matters, so that a slow machine does not change who is first.
"""

from __future__ import annotations

import heapq
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
from tests.serving import running
from tests.simulate.scenes import deployed, of, row, scene
from tests.store.builders import a_worker

from ostinato.clock import SECOND, to_datetime
from ostinato.limits import Limit, Overlap
from ostinato.records import Commit, RunEnd, RunFilter
from ostinato.schedules import Every
from ostinato.settings import Settings
from ostinato.simulate.play import play
from ostinato.simulate.scene import Crew, Span
from ostinato.states import State
from ostinato.timing import Timing
from ostinato.work import Offer, Project

if TYPE_CHECKING:
    from pathlib import Path

    from ostinato.simulate.outlook import Outlook
    from ostinato.simulate.scene import Scene
    from ostinato.store.store import Store

SCALE = 1.5
HORIZON = 10.0
SLOTS = 2
DB = [Limit("db", 1)]
LOAD = {
    "a": (3, 1.45, 2.8, (), None),
    "b": (2, 0.25, 3.1, (), Overlap("skip")),
    "c": (4, 3.15, 1.9, DB, None),
    "d": (4, 1.85, 2.9, DB, None),
    "e": (3, 0.65, 1.4, (), Overlap("queue")),
}
"""By deployment: every how many seconds, from when on, for how long, its limits, its overlap; before scaling."""


def load(begin: datetime) -> Scene:
    things = []
    for name, (every, offset, _, limits, overlap) in LOAD.items():
        start = begin + timedelta(seconds=offset * SCALE)
        things.append(deployed(name, limits=limits, overlap=overlap))
        things.append(row(name, Every(seconds=every * SCALE, start=start)))
    return scene(*things, seconds={name: took * SCALE for name, (_, _, took, _, _) in LOAD.items()})


class Hands(threading.Thread):
    """A worker that does nothing with its runs but hold them for as long as they take."""

    def __init__(self, store: Store, until: float) -> None:
        super().__init__(daemon=True)
        self.store, self.until = store, until
        self.started: list[tuple[float, str]] = []
        self.most_late = 0.0
        a_worker(store, "hands", pools=["default"], slots=SLOTS)

    def run(self) -> None:
        held: list[tuple[float, str, int]] = []
        beat_at = 0.0
        while time.time() < self.until:
            if time.time() > beat_at:
                self.store.beat("hands")
                beat_at = time.time() + 1
            while held and held[0][0] <= time.time():
                due, run_id, epoch = heapq.heappop(held)
                end = RunEnd(state=State.SUCCEEDED, finished_at=self.store.now())
                self.store.commit(run_id, epoch, Commit(end=end, leaves=[-1]))
                self.most_late = max(self.most_late, time.time() - due)
            if len(held) < SLOTS:
                for claim in self.store.claim("hands", Offer(pools=["default"], slots=SLOTS - len(held))):
                    took = LOAD[claim.run.deployment or ""][2] * SCALE
                    heapq.heappush(held, (time.time() + took, claim.run.id, claim.run.epoch))
                    self.started.append((time.time(), claim.run.deployment or ""))
            time.sleep(0.005)


def for_real(folder: Path, seconds: float) -> tuple[Hands, Store, datetime, dict[str, int]]:
    settings = Settings(home=str(folder), durability="crash-safe", display="none")
    begin = to_datetime(int(time.time() + 3) * SECOND)
    made = load(begin)
    with running(settings) as server:
        project = Project(name="p", root="/p", host="h")
        server.store.put_project(project, made.deployed, Timing(schedules=made.schedules))
        hands = Hands(server.store, begin.timestamp() + seconds)
        hands.start()
        hands.join(60)
        skipped = {
            name: sum(tick.outcome == "skipped" and tick.reason == "overlap" for tick in server.store.list_ticks(name))
            + len(server.store.list_runs(RunFilter(deployment=name, states=[State.SKIPPED])))
            for name in LOAD
        }
    return hands, server.store, begin, skipped


def simulated(begin: datetime, seconds: float) -> Outlook:
    first = round(begin.timestamp() * SECOND)
    return play(load(begin), Span(begin=first, end=first + round(seconds * SECOND)), [Crew(slots=SLOTS)])


def test_a_server_and_the_simulation_start_the_same_runs_in_the_same_order(tmp_path: Path) -> None:
    seconds = HORIZON * SCALE
    for attempt in range(3):
        hands, _, begin, skipped = for_real(tmp_path / str(attempt), seconds)
        if hands.most_late < 0.15 * SCALE:  # else the machine stood still, and who was first is chance
            break
    outlook = simulated(begin, seconds)
    begun = [(each.started_at, each.deployment) for each in outlook.played if each.started_at is not None]
    foreseen = sorted(begun, key=lambda each: each[0])  # of two at one instant the one that was due first comes first
    assert [name for _, name in hands.started] == [name for _, name in foreseen]
    assert len(foreseen) == 9
    assert skipped == {name: of(outlook, name).skipped.get("overlap", 0) for name in LOAD}
    assert sum(skipped.values()) >= 1
    base = begin.timestamp()
    drift = [
        real - base - (at - base * SECOND) / SECOND for (real, _), (at, _) in zip(hands.started, foreseen, strict=True)
    ]
    assert -0.05 < min(drift) <= max(drift) < 0.3 * SCALE
    assert {binding.name for binding in outlook.bindings} >= {"workers", "limit db"}


def test_this_load_is_one_in_which_everything_binds() -> None:
    outlook = simulated(datetime(2026, 1, 1, tzinfo=UTC), HORIZON * SCALE)
    assert {binding.name for binding in outlook.bindings} == {"workers", "limit db", "overlap e"}
    assert msgspec.structs.asdict(of(outlook, "b"))["skipped"] == {"overlap": 3}
