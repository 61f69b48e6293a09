"""The moment of a suspension, crossed with everything else that may happen at it: nothing is lost, nothing runs twice."""

from __future__ import annotations

import contextlib
import threading

import pytest
from tests.inside import Faulty, Home
from tests.process import until
from tests.runtime.fleet import Fleet
from tests.runtime.test_suspending import SEEN, child, note, one, starting, train

from ostinato import flow, task
from ostinato.io.results import ResultStore
from ostinato.runtime.claimed import ClaimedRun
from ostinato.runtime.session import Session


@pytest.fixture(autouse=True)
def _fresh():
    SEEN.clear()


@pytest.fixture
def home(waiting_home: Home) -> Home:
    return waiting_home


def is_suspension(entries):
    return entries.suspend is not None


class AtSuspension:
    """A store that has something done right before, or right after, a suspension is written."""

    def __init__(self, store, before=lambda: None, after=lambda: None):
        self.store, self.before, self.after = store, before, after

    def __getattr__(self, name):
        return getattr(self.store, name)

    def commit(self, run_id, epoch, entries, **more):
        if not is_suspension(entries):
            return self.store.commit(run_id, epoch, entries, **more)
        self.before()
        answer = self.store.commit(run_id, epoch, entries, **more)
        self.after()
        return answer


def finish(home, fleet, run):
    """Carry out whatever is queued until the run has ended; return what it gave."""
    for _ in range(6):
        if fleet.store.get_run(run.id).state.is_terminal:
            break
        pool = "gpu" if fleet.store.find_ticket(run.id) is None else "default"
        fleet.carry_out(pool)
    ended = fleet.store.get_run(run.id)
    assert ended.state == "succeeded", ended
    return ResultStore(home.settings.results_url).load(ended.result)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_child_run_that_ends_at_the_moment_of_the_suspension_wakes_its_parent(home, moment):
    fleet = Fleet(home, one, train)
    run = fleet.order(one)
    store = AtSuspension(fleet.store, **{moment: lambda: fleet.carry_out("gpu")})
    _, ending = fleet.carry_out(store=store)
    assert ending.how == "suspended"
    assert fleet.store.get_run(run.id).state == "queued"
    assert finish(home, fleet, run) == 41
    assert SEEN == ["before", ("train", 4), "after"]


@pytest.mark.parametrize("how", ["before", "after", "middle"])
def test_a_store_that_fails_at_the_suspension_loses_nothing(home, how):
    if how == "middle" and home.settings.database:
        pytest.skip("only SQLite can be made to fail inside a transaction")
    fleet = Fleet(home, one, train)
    run = fleet.order(one)
    faulty = Faulty(fleet.store, lambda _, entries: how if is_suspension(entries) else None)
    worker = fleet.register("default")
    _, ending = fleet.carry_out(store=faulty, worker=worker)
    assert ending.how == "lost"
    fleet.store.sweep([worker])
    assert fleet.store.get_run(run.id).state == ("waiting" if how == "after" else "queued")
    assert finish(home, fleet, run) == 41
    assert SEEN == ["before", ("train", 4), "after"]


@pytest.mark.parametrize("how", ["before", "after"])
@pytest.mark.parametrize("n", range(8))
def test_a_process_that_dies_at_any_commit_around_a_wait_loses_nothing(home, n, how):
    fleet = Fleet(home, one, train)
    run = fleet.order(one)
    faulty = Faulty(fleet.store, lambda at, _: how if at == n else None)
    worker = fleet.register("default")
    with contextlib.ExitStack() as stack:
        if n > 3:
            stack.enter_context(fleet.serving("gpu", threads=1))
        fleet.carry_out(store=faulty, worker=worker)
    fleet.store.sweep([worker])
    assert finish(home, fleet, run) == 41
    assert SEEN.count(("train", 4)) == 1
    assert len(home.runs(top_level=False, parent_run_id=run.id)) == 1


def test_a_run_does_not_give_up_its_process_while_a_task_or_a_thread_of_its_own_works(home):
    gate, far = threading.Event(), threading.Event()

    @task
    def works() -> int:
        far.set()
        assert gate.wait(20)
        return 1

    @flow
    def busy() -> int:
        there = train.submit(1)
        return works.submit().result() + there.result()

    @flow
    def threaded() -> int:
        thread = threading.Thread(target=gate.wait, args=(20,), name="of the body")
        thread.start()
        far.set()
        found = train(2)
        thread.join()
        return found

    for waits in (busy, threaded):
        gate.clear(), far.clear()
        fleet = Fleet(home, waits, train)
        run = fleet.order(waits)
        worker = fleet.register("default")
        claimed = until(lambda fleet=fleet, worker=worker: fleet.claim(worker))
        with Session(home.settings, store=fleet.store, guest=worker) as session:
            endings = []
            thread = threading.Thread(
                target=lambda c=claimed, w=waits, s=session, e=endings: e.append(ClaimedRun(s, c).carry_out(w))
            )
            thread.start()
            assert far.wait(10)
            runner = until(lambda s=session, r=run: s.runners.get(r.id))
            looks = []
            look = runner.still.look
            runner.still.look = lambda after, look=look, looks=looks: (look(after), looks.append(1))
            until(lambda looks=looks: len(looks) > 3)
            assert endings == []
            gate.set()
            thread.join(20)
            assert endings[0].how == "suspended"


def test_code_that_has_changed_while_its_run_waited_goes_on_with_what_it_still_calls(home):
    @flow(name="changing")
    def old() -> int:
        note("old")
        return train(1)

    @flow(name="changing")
    def new() -> int:
        note("new")
        return train(2)

    fleet = Fleet(home, old, train)
    run = fleet.order(old)
    assert fleet.carry_out()[1].how == "suspended"
    assert fleet.carry_out("gpu")[0].state == "succeeded"
    fleet.known["changing"] = new
    assert finish(home, fleet, run) == 20
    states = home.states(run.id)
    assert states["train"] == ["cancelled", "succeeded"]
    assert [row.orphaned for row in home.task_runs(run.id)] == [True, True, False, False]


@pytest.mark.parametrize("how", ["before", "after"])
@pytest.mark.parametrize("n", range(4))
def test_a_run_is_started_once_wherever_its_starter_dies(home, n, how):
    fleet = Fleet(home, starting, child)
    run = fleet.order(starting)
    worker = fleet.register("default")
    fleet.carry_out(store=Faulty(fleet.store, lambda at, _: how if at == n else None), worker=worker)
    fleet.store.sweep([worker])
    for _ in range(6):
        if fleet.store.get_run(run.id).state.is_terminal:
            break
        fleet.carry_out()
    assert fleet.store.get_run(run.id).state == "succeeded"
    assert len(home.runs(top_level=False, parent_run_id=run.id)) == 1
