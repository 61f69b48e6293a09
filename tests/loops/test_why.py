"""Why a run is as it is: the sentences, made of what the loops and the store recorded."""

from __future__ import annotations

import asyncio

from tests.loops.conftest import queued, worker
from tests.store.builders import a_run, a_task_run, end, new_run

from ostinato.clock import SECOND
from ostinato.loops.overseer import Overseer
from ostinato.outcomes import failure_of
from ostinato.records import Commit, Event, RunEnd, Suspension, Wait
from ostinato.runtime.why import explain, explain_task_run
from ostinato.states import State
from ostinato.work import Deployed, Offer, Pool, ProcessEnd, Project


def _look(house, clock):
    clock.move(2)
    asyncio.run(Overseer(house).oversee())


def _why(store, run):
    return explain(store, store.get_run(run.id))


def test_a_queued_run_without_a_worker_says_which_command_starts_one(house, store, clock):
    (run,) = queued(store, pool="gpu")
    _look(house, clock)
    why = _why(store, run)
    assert why.because[0] == "No worker serves work pool gpu; none is alive at all."
    assert why.advice == ["Start one: ostinato worker --pool gpu"]
    assert why.facts["recorded"]["reason"] == "no_worker"


def test_a_queued_run_names_who_holds_the_slots_and_how_many_come_first(house, store, clock):
    worker(store, slots=1)
    first, _, third = queued(store, 3)
    store.claim("w1", Offer(pools=["default"], slots=1))
    _look(house, clock)
    why = _why(store, third)
    assert why.because == [
        f"The only slot of the workers of work pool default is taken, by run {first.id}.",
        "1 run of pool default comes before it.",
    ]


def test_what_lacks_a_resource_names_who_has_it_and_how_to_get_more(house, store, clock):
    worker(store, slots=4, resources='{"gpu": 1}')
    first, second = queued(store, 2, resources='{"gpu": 1}')
    store.claim("w1", Offer(pools=["default"], slots=4, resources={"gpu": 1.0}))
    _look(house, clock)
    why = _why(store, second)
    assert why.because[0] == f"It needs 1 of gpu; 0 is free; the rest is taken by run {first.id}."
    assert why.advice == ["Wait, or start another worker that has it: ostinato worker --pool default --resource gpu=1"]


def test_a_paused_pool_is_told_before_anybody_has_looked(store):
    store.put_pool(Pool(name="default", paused=True))
    (run,) = queued(store)
    why = _why(store, run)
    assert why.because[0] == "Work pool default is paused."
    assert why.advice == ["Let it go: ostinato pools resume default"]


def test_a_paused_deployment_is_told(store):
    deployed = Deployed(name="weather", flow="weather", project="p", target="/p/w.py:weather")
    store.put_project(Project(name="p", root="/p", host="box"), [deployed])
    store.pause_deployed("weather", paused=True)
    (run,) = queued(store, deployment="weather")
    assert _why(store, run).because[0] == "Deployment weather is paused."


def test_what_is_to_start_later_says_when(store):
    run = store.create(new_run(store, state=State.SCHEDULED, pool="default", scheduled_at=store.now() + 600 * SECOND))
    why = _why(store, run)
    assert why.because[0].startswith("It is to start in 10 min, at ")


def test_what_waits_names_the_run_and_its_state(store):
    worker(store)
    parent, child = queued(store, 2)
    store.claim("w1", Offer(pools=["default"], slots=1))
    wait = Wait(run_id=parent.id, n=0, kind="run", key=child.id, created_at=store.now())
    store.commit(parent.id, 1, Commit(suspend=Suspension(state=State.WAITING, waits=[wait])))
    why = _why(store, parent)
    assert why.because == [f"It waits for run {child.id} of f, which is queued."]
    assert why.facts["runs"] == [child.id]


def test_what_runs_names_its_worker_and_its_task_runs(store):
    worker(store)
    (run,) = queued(store)
    (claim,) = store.claim("w1", Offer(pools=["default"], slots=1))
    row = a_task_run(claim.run, state=State.RUNNING, map_index=3, task="m.fetch", started_at=store.now())
    store.commit(run.id, 1, Commit(task_runs=[row]))
    why = _why(store, run)
    assert why.because == ["Worker w1, process 42 on box, carries it out.", "Running in it now: fetch[3]."]


def test_a_run_that_was_lost_tells_how_often_and_how(store):
    worker(store)
    (run,) = queued(store)
    (claim,) = store.claim("w1", Offer(pools=["default"], slots=1))
    store.give_back(
        "w1", run.id, claim.run.epoch, ProcessEnd(reason="killed", message="it was killed by signal 9 (SIGKILL)")
    )
    why = _why(store, run)
    assert "Its process was lost once" in " ".join(why.because)
    assert why.because[-1] == "How it ended: it was killed by signal 9 (SIGKILL)."
    assert why.facts["losses"] == 1


def test_a_poisonous_run_says_that_it_was_given_up_and_why(store):
    worker(store)
    (run,) = queued(store)
    for _ in range(4):
        (claim,) = store.claim("w1", Offer(pools=["default"], slots=1))
        store.give_back("w1", run.id, claim.run.epoch, ProcessEnd(reason="exited", message="it exited with code 3"))
    why = _why(store, run)
    assert (why.state, why.reason) == (State.CRASHED, "poisonous")
    assert why.because == [
        "Its process was lost 4 times in a row without progress, so it was given up.",
        "How it ended: it exited with code 3.",
    ]
    assert why.advice[0] == f"Go on from its last finished task: ostinato runs resume {run.id}"


def _failed(store, run):
    error = failure_of(ValueError("no such city\nmore of it")).to_json()
    row = a_task_run(run, state=State.FAILED, task="m.fetch", map_index=1, error=error)
    store.commit(run.id, run.epoch, Commit(task_runs=[row]))
    end(store, run, State.FAILED, error=error)
    return row


def test_a_failure_names_the_task_run_and_the_first_line(store):
    run = a_run(store)
    row = _failed(store, run)
    why = _why(store, run)
    assert why.because == ["fetch[1] failed: ValueError: no such city."]
    assert why.advice == [f"Try what has not succeeded again: ostinato runs retry {run.id}"]
    one = explain_task_run(store, run, row)
    assert (one.task, one.because) == ("fetch[1]", ["ValueError: no such city."])
    assert one.advice == [f"Run it again by itself, with the same inputs: ostinato debug {run.id} fetch[1]"]


def test_a_failure_of_the_body_comes_before_those_of_its_task_runs(store):
    run = a_run(store)
    row = a_task_run(run, state=State.FAILED, task="m.fetch", error=failure_of(ValueError("no such city")).to_json())
    store.commit(run.id, run.epoch, Commit(task_runs=[row]))
    end(store, run, State.FAILED, error=failure_of(AttributeError("result")).to_json())
    assert _why(store, run).because == [
        "Its body raised AttributeError: result.",
        "fetch failed: ValueError: no such city.",
    ]


def test_a_cached_result_says_from_which_run(store):
    run = a_run(store)
    row = a_task_run(run, reason="cached", task="m.fetch")
    event = Event(
        at=1,
        kind="task_run.cached",
        run_id=run.id,
        seq=0,
        data='{"from_run": "r0", "why": "from m.fetch of run r0"}',
    )
    store.commit(run.id, 1, Commit(task_runs=[row], events=[event], end=RunEnd(state=State.SUCCEEDED, finished_at=2)))
    told = explain_task_run(store, run, row)
    assert (told.facts["from_run"], told.because) == ("r0", ["Its result was taken from the cache: made by run r0."])
    assert "1 of its results came from the cache, made by run r0." in _why(store, run).because


def test_who_cancelled_a_run_is_told(store):
    (run,) = queued(store)
    store.emit([Event(at=store.now(), kind="audit.run_cancelled", run_id=run.id, data='{"actor": "user:ada"}')])
    store.request_cancel(run.id)
    assert _why(store, run).because == ["Somebody asked to cancel it before it had started.", "Who asked: user:ada."]
