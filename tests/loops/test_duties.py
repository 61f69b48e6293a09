"""The background duties: surveyor, waker, rescuer, overseer, pruner, and the helper they are built on."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

import pytest
from tests.loops.conftest import play, queued, seen, worker
from tests.store.builders import a_deployed, a_project, a_run, ended, new_run

from ostinato.clock import SECOND
from ostinato.errors import StoreError, StoreUnavailableError
from ostinato.io.results import ResultStore
from ostinato.loops import pruner
from ostinato.loops.loop import Loop
from ostinato.loops.overseer import Overseer
from ostinato.loops.pruner import Pruner
from ostinato.loops.rescuer import Rescuer, adopt
from ostinato.loops.start import start_loops
from ostinato.loops.surveyor import Surveyor
from ostinato.loops.waker import Waker
from ostinato.records import Commit, RunFilter, Suspension, Wait
from ostinato.runtime.archive import Archive
from ostinato.runtime.process import process_started, this_host
from ostinato.settings import Settings
from ostinato.states import State
from ostinato.work import Offer, Pool, Queue, Survey

NEVER = float("inf")


# --- the helper


def test_a_loop_is_woken_at_once_and_ends_when_it_is_told():
    async def body():
        rounds = []

        async def duty():
            rounds.append(None)

        loop = Loop("duty", duty, every=NEVER, first=NEVER)
        loop.start()
        loop.wake()
        await seen(lambda: len(rounds) == 1)
        loop.wake()
        await seen(lambda: len(rounds) == 2)
        await loop.stop()
        loop.wake()
        await asyncio.sleep(0.01)
        assert len(rounds) == 2

    play(body)


def test_a_loop_waits_longer_after_each_failure_and_says_so_rarely(caplog):
    async def body():
        tries = []

        async def duty():
            tries.append(None)
            if len(tries) < 3:
                raise StoreUnavailableError("the database is away")

        counted = []
        loop = Loop("duty", duty, every=NEVER)
        loop.observed = lambda name, seconds, *, failed: counted.append((name, failed))
        loop.start()
        await seen(lambda: len(tries) == 1)
        loop.wake()  # whoever hints meanwhile does not hurry it
        await asyncio.sleep(0.1)
        assert len(tries) == 1
        await seen(lambda: len(counted) == 3)
        assert counted == [("duty", True), ("duty", True), ("duty", False)]
        assert loop.failures == 0
        await loop.stop()

    play(body)
    said = [record.getMessage() for record in caplog.records]
    assert any("the database is away" in line for line in said)
    assert any("works again, after 2 failures" in line for line in said)


def test_a_loop_outlives_a_defect_in_its_duty(caplog):
    async def body():
        tries = []

        async def duty():
            tries.append(None)
            if len(tries) == 1:
                raise KeyError("a defect")

        loop = Loop("duty", duty, every=NEVER)
        loop.start()
        await seen(lambda: len(tries) == 2)
        await loop.stop()

    play(body)
    assert "KeyError" in caplog.text


# --- the waker


def test_a_timer_wakes_its_run_exactly_when_it_is_due(house, store, clock):
    async def body():
        waker = Waker(house)
        await waker.wake()
        later = store.create(
            new_run(store, state=State.SCHEDULED, pool="default", scheduled_at=store.now() + 10 * SECOND)
        )
        waker.heard(store.survey())
        assert 9 < await waker.wake() <= 10
        assert store.get_run(later.id).state is State.SCHEDULED
        clock.move(10)
        waker.heard(store.survey())
        await waker.wake()
        assert store.get_run(later.id).state is State.QUEUED
        assert house.changes == 1

    if not hasattr(clock, "move"):
        pytest.skip("a clock of its own")
    play(body)


def test_the_waker_asks_the_store_nothing_while_nothing_is_due(house):
    async def body():
        waker = Waker(house)
        await waker.wake()
        asked = []
        house.store = type("Counted", (), {"wake": lambda *_, **__: asked.append(None)})()
        waker.heard(Survey(now=0))
        assert await waker.wake() > 50
        assert asked == []

    play(body)


# --- the surveyor


def test_survey_comes_just_after_a_lease_ends_that_nobody_renews(house, store, clock):
    async def body():
        surveyor = Surveyor(house)
        assert await surveyor.survey() is None
        worker(store)
        assert await surveyor.survey() is None, "eight seconds are left: the usual rhythm does"
        clock.move(7)
        soon = await surveyor.survey()
        assert soon is not None
        assert 1 < soon < 1.1

    play(body)


# --- the rescuer


def test_runs_of_a_worker_whose_lease_has_ended_are_queued_again(house, store, clock):
    async def body():
        worker(store)
        (run,) = queued(store)
        store.claim("w1", Offer(pools=["default"], slots=1))
        clock.move(9)
        survey = store.survey()
        assert survey.dead == ["w1"]
        rescuer = Rescuer(house)
        rescuer.heard(survey)
        await rescuer.rescue()
        found = store.get_run(run.id)
        assert (found.state, found.recoveries) == (State.QUEUED, 1)
        assert house.changes == 1

    play(body)


def test_a_process_of_this_machine_that_is_gone_is_noticed_before_its_lease_ends(house, store):
    process = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])

    async def body():
        worker(store, host=this_host(), pid=process.pid, pid_started=process_started(process.pid))
        (run,) = queued(store)
        store.claim("w1", Offer(pools=["default"], slots=1))
        rescuer = Rescuer(house)
        await rescuer.rescue()
        assert store.get_run(run.id).state is State.RUNNING
        process.kill()
        await asyncio.to_thread(process.wait)
        await rescuer.rescue()
        assert store.get_run(run.id).state is State.QUEUED

    play(body)


def test_the_rescuer_asks_the_store_nothing_while_all_are_there(house, store):
    async def body():
        worker(store)
        rescuer = Rescuer(house)
        await rescuer.rescue()
        house.store = None
        await rescuer.rescue()

    play(body)


def _lost_script(store, clock, **fields):
    worker(store, "script", kind="script", host="box", pools=[])
    values = {"target": "/srv/flights/pipeline.py:flights", "cwd": "/srv/flights"} | fields
    run = a_run(store, "script", **values)
    clock.move(9)
    store.sweep()
    return store.get_run(run.id)


def test_a_script_that_died_is_given_to_a_worker_that_has_its_project(store, clock):
    run = _lost_script(store, clock)
    assert (run.state, run.reason) == (State.CRASHED, "lost")
    worker(store, "near", host="box", roots=["/srv/flights"], pools=["nightly"])
    assert [found.id for found in adopt(store, store.list_workers())] == [run.id]
    (claim,) = store.claim("near", Offer(pools=["nightly"], slots=1))
    assert claim.run.id == run.id
    assert adopt(store, store.list_workers()) == []


@pytest.mark.parametrize(
    "fields",
    [{"host": "elsewhere"}, {"roots": ["/srv/other"]}, {"roots": []}, {"pools": []}, {"draining": True}],
)
def test_a_script_that_died_stays_where_no_worker_has_its_project(store, clock, fields):
    _lost_script(store, clock)
    values = {"host": "box", "roots": ["/srv/flights"], "pools": ["nightly"]} | fields
    worker(store, "near", **values)
    assert adopt(store, store.list_workers()) == []


def test_a_script_that_died_long_ago_is_left_alone(store, clock):
    _lost_script(store, clock)
    clock.move(3600)
    worker(store, "near", host="box", roots=["/srv/flights"])
    assert adopt(store, store.list_workers()) == []


# --- the overseer


def _why(house, store, clock, run):
    clock.move(2)
    asyncio.run(Overseer(house).oversee())
    return json.loads(store.find_ticket(run.id).why)


def test_a_run_whose_pool_nobody_serves_is_told_so(house, store, clock):
    worker(store, pools=["other"])
    (run,) = queued(store)
    why = _why(house, store, clock, run)
    assert (why["reason"], why["pool"], why["served"]) == ("no_worker", "default", ["other"])


def test_a_paused_pool_queue_or_deployment_is_named(house, store, clock):
    worker(store)
    store.put_pool(Pool(name="asleep", paused=True))
    store.put_queue(Queue(pool="default", name="slow", paused=True))
    (one,), (two,) = queued(store, pool="asleep"), queued(store, queue="slow")
    assert _why(house, store, clock, one)["reason"] == "pool_paused"
    assert _why(house, store, clock, two)["reason"] == "queue_paused"


def test_who_holds_the_slots_is_named(house, store, clock):
    worker(store, slots=1)
    first, second = queued(store, 2)
    store.claim("w1", Offer(pools=["default"], slots=1))
    why = _why(house, store, clock, second)
    assert (why["reason"], why["slots"], why["held_by"]) == ("no_slot", 1, [first.id])


def test_the_limit_of_a_pool_is_named(house, store, clock):
    worker(store)
    store.put_pool(Pool(name="default", slots=1))
    first, second = queued(store, 2)
    store.claim("w1", Offer(pools=["default"], slots=8))
    why = _why(house, store, clock, second)
    assert (why["reason"], why["slots"], why["held_by"]) == ("pool_full", 1, [first.id])


def test_the_resource_that_is_lacking_is_named_with_how_much_there_is(house, store, clock):
    worker(store, resources='{"cpu": 8, "gpu": 2}')
    (first,) = queued(store, resources='{"gpu": 2}')
    store.claim("w1", Offer(pools=["default"], slots=8, resources={"cpu": 8, "gpu": 2}))
    (second,), (never,) = queued(store, resources='{"gpu": 1}'), queued(store, resources='{"gpu": 3}')
    why = _why(house, store, clock, second)
    assert (why["reason"], why["resource"], why["wanted"], why["free"]) == ("resources", "gpu", 1, 0)
    assert why["held_by"] == [first.id]
    why = json.loads(store.find_ticket(never.id).why)
    assert (why["possible"], why["most"]) == (False, 2)


def test_a_worker_that_is_shut_down_is_told_of(house, store, clock):
    worker(store)
    (run,) = queued(store)
    store.drain("w1")
    assert _why(house, store, clock, run)["reason"] == "draining"


def test_a_reason_is_recorded_once_for_each_change(house, store, clock):
    (run,) = queued(store)
    overseer = Overseer(house)

    def look():
        clock.move(1)
        asyncio.run(overseer.oversee())
        return [e.event for e in store.list_events(run.id) if e.event.kind == "run.held"]

    clock.move(1)
    assert len(look()) == len(look()) == len(look()) == 1
    store.put_pool(Pool(name="default", paused=True))
    assert len(look()) == len(look()) == 2


def test_what_is_queued_for_less_than_a_second_needs_no_reason(house, store):
    (run,) = queued(store)
    asyncio.run(Overseer(house).oversee())
    assert store.find_ticket(run.id).why is None


def test_only_one_server_oversees(open_house, clock):
    one, two = open_house("one"), open_house("two")
    (run,) = queued(one.store)
    asyncio.run(Overseer(one).oversee())
    clock.move(2)
    asyncio.run(Overseer(two).oversee())
    assert one.store.find_ticket(run.id).why is None
    clock.move(10)
    asyncio.run(Overseer(two).oversee())
    assert one.store.find_ticket(run.id).why is not None


# --- the pruner


def test_old_runs_are_forgotten_by_one_server(open_house, clock):
    one, two = open_house("one"), open_house("two")
    old = ended(one.store)
    clock.move(31 * 86_400)
    new = ended(one.store)
    assert one.store.lead("pruner", "somebody", 5)
    asyncio.run(Pruner(two).prune())
    assert two.store.find_runs(old.id)
    clock.move(10)
    asyncio.run(Pruner(two).prune())
    assert not two.store.find_runs(old.id)
    assert two.store.find_runs(new.id)


def test_a_pruner_that_failed_begins_anew_and_goes_on_where_much_is_left(house, store, clock, tmp_path, monkeypatch):
    monkeypatch.setattr(pruner, "_ROUND", 0.0)  # one moment of work a time
    monkeypatch.setattr(pruner, "_AT_ONCE", 0.0)  # and one step a moment
    house.settings = Settings(home=str(tmp_path), retention_archive=str(tmp_path / "archive"))
    old = [ended(store) for _ in range(120)]
    clock.move(31 * 86_400)
    (tmp_path / "archive").write_text("no folder")
    duty = Pruner(house)

    async def body():
        with pytest.raises(StoreError, match="archive"):
            await forget_all(duty)
        assert len(store.list_runs(RunFilter(limit=500))) == len(old)
        (tmp_path / "archive").unlink()
        assert await forget_all(duty) > 3

    asyncio.run(body())
    assert store.list_runs(RunFilter()) == []
    assert len(list(Archive(str(tmp_path / "archive")).runs())) == len(old)


async def forget_all(duty):
    """Have a pruner work until nothing is left; return how often it did."""
    rounds = 0
    while await duty.prune() is not None:
        rounds += 1
    return rounds


def test_source_of_a_project_that_nothing_needs_is_dropped_from_the_result_store(house, store, clock):
    results = house.results = ResultStore(house.results.url, grace=0)
    old, new = results.put(b"old"), results.put(b"new")
    for bundle in (old, new):
        store.put_project(a_project(bundle=bundle), [a_deployed(bundle=bundle)])
    asyncio.run(Pruner(house).prune())
    assert results.find_age(old) is not None
    clock.move(31 * 86_400)
    asyncio.run(Pruner(house).prune())
    assert results.find_age(old) is None
    assert results.find_age(new) is not None


# --- all together


def test_all_loops_together_give_what_comes_due_to_a_worker_that_waits(house, store):
    async def body():
        stop = start_loops(house)
        worker(store)
        poll = asyncio.create_task(house.dispatcher.claim("w1", Offer(pools=["default"], slots=1), 25))
        await seen(lambda: house.dispatcher.waiting)
        queued(store)  # without a hint: the survey finds it
        assert len(await poll) == 1
        await stop()

    play(body)


def test_a_run_that_waits_for_a_time_goes_on_when_it_comes(house, store):
    async def body():
        stop = start_loops(house)
        worker(store)
        (run,) = queued(store)
        (claim,) = await house.dispatcher.claim("w1", Offer(pools=["default"], slots=1), 25)
        timer = Wait(run_id=run.id, n=0, kind="timer", due_at=store.now(), created_at=store.now())
        entries = Commit(suspend=Suspension(state=State.WAITING, waits=[timer]))
        await house.call(lambda: store.commit(run.id, claim.run.epoch, entries))
        house.changed()
        again = await house.dispatcher.claim("w1", Offer(pools=["default"], slots=1), 25)
        assert [claim.run.id for claim in again] == [run.id]
        await stop()

    play(body)


def test_loops_that_are_stopped_leave_no_task_behind(house):
    async def body():
        stop = start_loops(house)
        await asyncio.sleep(0.05)
        await stop()
        left = [task for task in asyncio.all_tasks() if task.get_name().startswith("ostinato")]
        assert left == []

    play(body)
