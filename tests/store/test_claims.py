"""Claims: who gets which run, in which order, and what is left."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from tests.process import environment
from tests.store.builders import (
    a_deployed,
    a_project,
    a_run,
    a_task_run,
    a_worker,
    an_event,
    claim,
    end,
    kinds,
    new_run,
    queued,
)

from ostinato.errors import RunStateError, StaleEpochError
from ostinato.records import Commit, RunEnd
from ostinato.states import State
from ostinato.store.open import open_store
from ostinato.work import Held, Offer, Pool, Queue

if TYPE_CHECKING:
    from pathlib import Path

    from tests.store.conftest import Opener

    from ostinato.clock import ManualClock
    from ostinato.records import Run
    from ostinato.store.store import Store


def ids(runs: list[Run]) -> list[str]:
    return [run.id for run in runs]


def test_queued_run_in_a_pool_has_a_ticket_and_one_without_has_none(store: Store) -> None:
    run, own = queued(store, priority=3, resources='{"cpu":1}', deployment="d"), a_run(store, None)
    (ticket,) = store.list_tickets()
    assert (ticket.run_id, ticket.pool, ticket.queue, ticket.priority) == (run.id, "default", "default", 3)
    assert (ticket.deployment, ticket.resources, ticket.paused, ticket.why) == ("d", '{"cpu":1}', False, None)
    assert store.find_ticket(run.id) == ticket
    assert store.find_ticket(own.id) is None
    assert kinds(store, run) == ["run.queued"]


def test_claimed_run_is_running_and_leased_and_its_ticket_is_gone(store: Store, clock: ManualClock) -> None:
    run = queued(store)
    clock.move(1)
    (claimed,) = claim(store)
    assert (claimed.id, claimed.state, claimed.worker_id, claimed.epoch) == (run.id, State.RUNNING, "w1", 1)
    assert (claimed.started_at, claimed.commits, claimed.reason) == (clock.now(), 0, None)
    assert store.get_run(run.id) == claimed
    assert store.find_ticket(run.id) is None
    assert kinds(store, run) == ["run.queued", "run.claimed"]
    assert claim(store) == []
    end(store, claimed)


def test_runs_are_claimed_by_priority_then_in_order(store: Store) -> None:
    store.put_queue(Queue(pool="default", name="urgent", priority=2))
    runs = [
        queued(store, id="a"),
        queued(store, id="b", priority=5),
        queued(store, id="c", queue="urgent", priority=-9),
    ]
    runs += [queued(store, id="d"), queued(store, id="e", priority=5), queued(store, id="f", priority=-1)]
    assert ids(claim(store, slots=2)) == ["c", "b"]
    assert ids(claim(store, slots=10)) == ["e", "a", "d", "f"]


def test_pools_of_one_offer_are_claimed_from_in_one_order(store: Store) -> None:
    for name, pool in (("a", "one"), ("b", "two"), ("c", "one"), ("d", "two"), ("e", "other")):
        queued(store, id=name, pool=pool)
    assert ids(claim(store, slots=3, pools=("two", "one"))) == ["a", "b", "c"]
    assert ids(claim(store, slots=3, pools=("two", "one"))) == ["d"]


def test_claim_of_a_worker_without_a_lease_is_refused(store: Store, clock: ManualClock) -> None:
    run = queued(store)
    with pytest.raises(StaleEpochError, match="not registered"):
        store.claim("nobody", Offer(pools=["default"], slots=1))
    a_worker(store)
    clock.move(8)
    with pytest.raises(StaleEpochError, match="lost its lease"):
        store.claim("w1", Offer(pools=["default"], slots=1))
    assert store.get_run(run.id) == run


def test_worker_that_drains_gets_nothing(store: Store) -> None:
    queued(store)
    a_worker(store)
    store.drain("w1")
    assert store.list_workers()[0].draining
    assert claim(store) == []
    assert len(claim(store, "w2")) == 1


def test_paused_pool_queue_and_deployment_keep_their_runs(store: Store) -> None:
    store.put_project(a_project(), [a_deployed("d")])
    store.pause_deployed("d", paused=True)
    store.put_queue(Queue(pool="default", name="slow", paused=True))
    store.put_pool(Pool(name="still", paused=True))
    queued(store, id="by-deployment", deployment="d")
    queued(store, id="by-queue", queue="slow")
    queued(store, id="by-pool", pool="still")
    every = ("default", "still")
    assert claim(store, slots=9, pools=every) == []
    assert store.survey().tickets == 1, "of the pool's pause a ticket knows nothing"
    assert store.pause_deployed("d", paused=False).paused is False
    assert ids(claim(store, slots=9, pools=every)) == ["by-deployment"]
    store.put_queue(Queue(pool="default", name="slow", priority=1))
    assert ids(claim(store, slots=9, pools=every)) == ["by-queue"]
    store.put_pool(Pool(name="still"))
    assert ids(claim(store, slots=9, pools=every)) == ["by-pool"]


def test_pause_and_priority_reach_the_runs_that_wait_already(store: Store) -> None:
    store.put_project(a_project(), [a_deployed("d")])
    one, two = queued(store, deployment="d"), queued(store, queue="q", priority=4)
    store.pause_deployed("d", paused=True)
    store.put_queue(Queue(pool="default", name="q", priority=-3))
    assert {t.run_id: (t.paused, t.priority) for t in store.list_tickets()} == {
        one.id: (True, 0),
        two.id: (False, -2996),
    }
    store.put_project(a_project(), [])
    assert not any(ticket.paused for ticket in store.list_tickets()), "what paused them is gone"
    assert ids(claim(store, slots=2)) == [one.id, two.id]


def test_pool_slots_hold_over_all_workers(store: Store) -> None:
    store.put_pool(Pool(name="default", slots=3))
    for _ in range(6):
        queued(store)
    first = claim(store, slots=2)
    assert len(first) == 2
    assert len(claim(store, "w2", slots=5)) == 1
    assert claim(store, "w3", slots=5) == []
    end(store, first[0])
    assert len(claim(store, "w3", slots=5)) == 1
    store.put_pool(Pool(name="default", slots=None))
    assert len(claim(store, "w3", slots=5)) == 2


def test_resources_are_packed(store: Store) -> None:
    queued(store, id="a", resources='{"cpu":2,"memory":100}')
    queued(store, id="b", resources='{"cpu":3}')
    queued(store, id="c", resources='{"cpu":1,"gpu":1}')
    queued(store, id="d", resources='{"cpu":1}')
    queued(store, id="e")
    assert ids(claim(store, slots=9, cpu=4, memory=100)) == ["a", "d", "e"]
    assert ids(claim(store, slots=9, cpu=4, gpu=1)) == ["b", "c"]


def test_large_run_is_not_overtaken_for_ever(store: Store, clock: ManualClock) -> None:
    a_worker(store, resources='{"cpu":4,"gpu":1}')
    queued(store, id="large", resources='{"cpu":4}')
    queued(store, id="impossible", resources='{"cpu":5}')
    queued(store, id="small", resources='{"cpu":1}')
    assert ids(claim(store, slots=9, cpu=3)) == ["small"]
    for _ in range(10):
        clock.move(3)
        store.beat("w1")
    queued(store, id="later", resources='{"cpu":1}')
    queued(store, id="none")
    queued(store, id="other", resources='{"gpu":1}')
    assert ids(claim(store, slots=9, cpu=3, gpu=1)) == ["none", "other"]
    assert ids(claim(store, slots=9, cpu=4)) == ["large"]
    assert ids(claim(store, slots=9, cpu=1)) == ["later"]


def test_small_run_behind_many_large_ones_is_found(store: Store) -> None:
    for number in range(30):
        queued(store, id=f"l{number:02}", resources='{"cpu":9}')
    queued(store, id="small", resources='{"cpu":1}')
    assert ids(claim(store, slots=8, cpu=1)) == ["small"]


def test_claim_comes_with_the_newest_bundle_unless_it_is_pinned(store: Store) -> None:
    options = '{"cold":true}'
    store.put_project(a_project(), [a_deployed("d", bundle="new", options=options)])
    store.put_project(a_project("q"), [a_deployed("pin", project="q", bundle="new", code_policy="pinned")])
    for name, deployment, bundle in (("a", "d", "old"), ("b", "pin", "old"), ("c", "pin", None), ("e", "gone", "old")):
        queued(store, id=name, deployment=deployment, bundle=bundle)
    a_worker(store)
    claims = store.claim("w1", Offer(pools=["default"], slots=9))
    assert [(c.run.id, c.run.bundle, c.options) for c in claims] == [
        ("a", "new", options),
        ("b", "old", "{}"),
        ("c", "new", "{}"),
        ("e", "old", "{}"),
    ]


def test_tickets_are_listed_in_the_order_of_claiming(store: Store) -> None:
    for name, priority in (("a", 0), ("b", 7), ("c", 0)):
        queued(store, id=name, priority=priority)
    queued(store, id="d", pool="other")
    assert [t.run_id for t in store.list_tickets("default")] == ["b", "a", "c"]
    assert [t.run_id for t in store.list_tickets("default", after=1, limit=1)] == ["a"]
    every = store.list_tickets()
    assert [t.run_id for t in every] == ["a", "b", "c", "d"]
    assert store.list_tickets(after=every[1].id) == every[2:]
    lengths = [(q.pool, q.queue, q.waiting, q.oldest_at) for q in store.list_queue_lengths()]
    assert lengths == [("default", "default", 3, store.now()), ("other", "default", 1, store.now())]


def test_held_runs_are_listed_by_worker_and_pool(store: Store) -> None:
    queued(store, id="a")
    queued(store, id="b", pool="other")
    claim(store)
    claim(store, "w2", pools=("other",))
    assert ids(store.list_held_runs()) == ["a", "b"]
    assert ids(store.list_held_runs("w2")) == ["b"]
    assert ids(store.list_held_runs(pool="default")) == ["a"]
    assert ids(store.list_held_runs("w2", pool="default")) == []


def test_claimed_run_that_is_created_again_is_returned_and_not_queued(store: Store) -> None:
    run = new_run(store, pool="default")
    store.create(run)
    (claimed,) = claim(store)
    assert store.create(run) == claimed
    assert store.list_tickets() == []
    assert [stored.event.kind for stored in store.list_events(run.id)].count("run.queued") == 1


def test_cancelled_run_in_the_queue_is_not_claimed(store: Store) -> None:
    run = queued(store)
    assert store.request_cancel(run.id).state is State.CANCELLED
    assert store.list_tickets() == []
    assert claim(store) == []


def test_reopened_run_has_a_ticket_again_and_taken_over_loses_it(store: Store) -> None:
    run = queued(store)
    (claimed,) = claim(store)
    end(store, claimed, State.FAILED)
    again = store.reopen(run.id, None)
    assert (again.state, again.epoch) == (State.QUEUED, 2)
    assert store.find_ticket(run.id) is not None
    store.reopen(run.id, "w1")
    assert store.find_ticket(run.id) is None
    assert claim(store) == []


def test_repetition_of_a_reopening_is_recognised(store: Store, clock: ManualClock) -> None:
    for worker in (None, a_worker(store)):
        run = queued(store)
        first = store.reopen(run.id, worker, epoch=0)
        assert store.reopen(run.id, worker, epoch=0) == first
        assert first.epoch == 1
    clock.move(9)
    lost = a_run(store, a_worker(store, "w2"))
    clock.move(9)
    taken = store.reopen(lost.id, a_worker(store, "w3"), epoch=lost.epoch)
    assert store.reopen(lost.id, "w3", epoch=lost.epoch) == taken


def test_reopening_of_another_epoch_is_refused(store: Store) -> None:
    run = queued(store)
    store.reopen(run.id, a_worker(store), epoch=0)
    for epoch, worker in ((0, "w2"), (1, "w2"), (5, "w1")):
        with pytest.raises(RunStateError):
            store.reopen(run.id, worker, epoch=epoch)


def test_many_claimers_never_get_the_same_run(store: Store, opener: Opener, clock: ManualClock) -> None:
    count, workers = 120, 4
    for _ in range(count):
        queued(store)
    got: Counter[str] = Counter()
    stores = [store, opener(clock=clock)]
    for number in range(workers):
        a_worker(store, f"w{number}")

    def take(number: int) -> None:
        while sum(got.values()) < count:
            for run in claim(stores[number % 2], f"w{number}", slots=3):
                got[run.id] += 1

    threads = [threading.Thread(target=take, args=(number,)) for number in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(got) == count
    assert set(got.values()) == {1}
    assert store.list_tickets() == []


def test_why_a_run_is_held_is_recorded_once(store: Store, clock: ManualClock) -> None:
    run = queued(store)
    since = clock.now()
    store.hold([Held(run_id=run.id, reason="no_worker", data='{"pool":"default"}'), Held(run_id="gone", reason="x")])
    clock.move(3)
    store.hold([Held(run_id=run.id, reason="no_worker", data='{"pool":"default"}')])
    ticket = store.find_ticket(run.id)
    assert ticket is not None
    assert json.loads(ticket.why or "") == {"reason": "no_worker", "since": since, "pool": "default"}
    store.hold([Held(run_id=run.id, reason="no_slot")])
    assert kinds(store, run) == ["run.queued", "run.held", "run.held"]


def test_survey_tells_what_there_is_to_do(store: Store, clock: ManualClock) -> None:
    found = store.survey()
    assert (found.now, found.dead, found.next_due_at, found.tickets) == (clock.now(), [], None, 0)
    queued(store)
    store.create(new_run(store, pool="default", state=State.SCHEDULED, scheduled_at=clock.now() + 5))
    a_run(store, "w9")
    clock.move(1)
    assert store.survey().next_expiry_at == clock.now() + 7_000_000
    clock.move(8)
    found = store.survey()
    assert found.next_expiry_at is None
    assert (found.dead, found.tickets) == (["w9"], 1)
    assert found.next_due_at == clock.now() - 9_000_000 + 5


def test_numbered_commit_is_written_once(store: Store) -> None:
    run = a_run(store)
    first, second = Commit(events=[an_event(run)]), Commit(events=[an_event(run)], task_runs=[a_task_run(run)])
    for number, entries in ((1, first), (1, first), (2, second), (1, first), (2, second)):
        assert store.commit(run.id, 1, entries, number=number) is False
    assert store.get_run(run.id).commits == 2
    assert len(store.list_events(run.id)) == 2
    store.request_cancel(run.id)
    assert store.commit(run.id, 1, second, number=2) is True


def test_numbered_end_is_answered_again_and_another_epoch_refused(store: Store) -> None:
    run = a_run(store)
    last = Commit(end=RunEnd(state=State.SUCCEEDED, finished_at=store.now(), result=b"x"))
    assert store.commit(run.id, 1, last, number=1) is False
    assert store.commit(run.id, 1, last, number=1) is False
    for epoch, number in ((1, 2), (2, 1), (0, 1)):
        with pytest.raises(StaleEpochError):
            store.commit(run.id, epoch, last, number=number)
    assert store.reopen(run.id, "w1").commits == 0


CLAIMER = """
import sys
from ostinato.store.open import open_store
from ostinato.work import Offer
store = open_store(sys.argv[1], durability="crash-safe", lease=600)
print("ready", flush=True)
sys.stdin.readline()
while claims := store.claim(sys.argv[2], Offer(pools=["default"], slots=2)):
    for claim in claims:
        print(claim.run.id, flush=True)
store.close()
"""


def test_claimers_in_several_processes_never_get_the_same_run(url: str, tmp_path: Path) -> None:
    store = open_store(url, lease=600)
    script = tmp_path / "claimer.py"
    script.write_text(CLAIMER)
    runs = {queued(store).id for _ in range(60)}
    processes = []
    for number in range(3):
        a_worker(store, f"w{number}")
        process = subprocess.Popen(
            [sys.executable, str(script), url, f"w{number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(tmp_path),
        )
        processes.append(process)
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    claimed = [line for process in processes for line in process.communicate(timeout=60)[0].splitlines()]
    assert sorted(claimed) == sorted(runs)
    held = {run.id: run.worker_id for run in store.list_held_runs()}
    assert held.keys() == runs
    store.close()


@pytest.mark.usefixtures("not_over_http")
@pytest.mark.usefixtures("not_over_http")
def test_watcher_hears_what_another_store_has_queued(url: str, opener: Opener) -> None:
    here, there = opener(), open_store(url)
    heard = threading.Event()
    end_watching = here.watch(heard.set)
    deadline = time.monotonic() + 30
    while not heard.wait(0.2) and time.monotonic() < deadline:
        queued(there)
    end_watching()
    there.close()
    assert heard.is_set()


def test_a_low_priority_that_has_waited_long_goes_before_a_higher_one(store: Store, clock: ManualClock) -> None:
    low = [queued(store, priority=0) for _ in range(2)]
    clock.move(5 * 60 + 1)
    high = [queued(store, priority=5) for _ in range(3)]
    claimed = [run for _ in range(5) for run in claim(store)]
    assert ids(claimed) == ids([*low, *high])


def test_a_load_of_high_priority_starves_nobody(store: Store, clock: ManualClock) -> None:
    low = queued(store, priority=0)
    for minute in range(30):
        queued(store, priority=10)
        if low.id in ids(claim(store, f"w{minute}")):
            assert 9 <= minute <= 12
            return
        clock.move(60)
    raise AssertionError("it was never claimed")
