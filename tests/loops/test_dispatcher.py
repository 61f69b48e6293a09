"""The dispatcher: who gets what, when, and what becomes of a claim that nobody hears."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from tests.loops.conftest import play, queued, seen, worker

from ostinato.errors import StaleEpochError
from ostinato.states import State
from ostinato.work import Offer


def _offer(slots=1, pools=("default",), **resources):
    return Offer(pools=list(pools), slots=slots, resources=resources)


def test_a_run_that_waits_is_given_at_once(house, store):
    async def body():
        worker(store)
        (run,) = queued(store)
        (claim,) = await house.dispatcher.claim("w1", _offer(), 5)
        assert (claim.run.id, claim.run.state, claim.run.worker_id) == (run.id, State.RUNNING, "w1")

    play(body)


def test_a_poll_without_patience_is_answered_with_nothing(house, store):
    async def body():
        worker(store)
        assert await house.dispatcher.claim("w1", _offer(), 0) == []
        assert await house.dispatcher.claim("w1", _offer(), 0.01) == []
        assert house.dispatcher.waiting == 0

    play(body)


def test_a_hint_from_another_thread_answers_the_poll_that_waits(house, store):
    async def body():
        worker(store)
        poll = asyncio.create_task(house.dispatcher.claim("w1", _offer(), 20))
        await seen(lambda: house.dispatcher.waiting)
        await asyncio.sleep(0)

        def other():
            queued(store)
            house.dispatcher.hint()

        threading.Thread(target=other).start()
        assert len(await poll) == 1

    play(body)


def test_a_hint_before_the_first_look_is_done_is_not_lost(house, store):
    """The race that costs a lost wake-up 2.5 s: queued after the claim looked, hinted before the poll waits again."""
    real, looked, go = store.claim, threading.Event(), threading.Event()

    def slow(*args):
        found = real(*args)
        if not go.is_set():
            looked.set()
            go.wait(10)
        return found

    house.dispatcher._store = type("Slow", (), {"claim": staticmethod(slow), "give_back": store.give_back})()

    async def body():
        worker(store)
        poll = asyncio.create_task(house.dispatcher.claim("w1", _offer(), 20))
        await seen(looked.is_set)
        await asyncio.to_thread(queued, store)
        house.dispatcher.hint()
        go.set()
        assert len(await poll) == 1

    play(body)


def test_runs_are_shared_between_workers_that_wait(house, store):
    async def body():
        polls = []
        for name in ("w1", "w2", "w3"):
            worker(store, name)
            polls.append(asyncio.create_task(house.dispatcher.claim(name, _offer(6), 20)))
        await seen(lambda: house.dispatcher.waiting == 3)
        await asyncio.sleep(0.05)
        queued(store, 12)
        house.dispatcher.hint()
        got = [len(claims) for claims in await asyncio.gather(*polls)]
        assert sum(got) <= 12
        assert min(got) >= 2

    play(body)


def test_a_worker_that_can_take_less_does_not_keep_others_from_their_runs(house, store):
    async def body():
        worker(store, "small", resources='{"cpu": 1}')
        worker(store, "large", resources='{"cpu": 8}')
        worker(store, "other", pools=["gpu"])
        small = asyncio.create_task(house.dispatcher.claim("small", _offer(4, cpu=1), 0.5))
        other = asyncio.create_task(house.dispatcher.claim("other", _offer(4, ["gpu"]), 20))
        large = asyncio.create_task(house.dispatcher.claim("large", _offer(4, cpu=8), 20))
        await seen(lambda: house.dispatcher.waiting == 3)
        (big,), (gpu,) = queued(store, resources='{"cpu": 4}'), queued(store, pool="gpu")
        house.dispatcher.hint()
        assert [claim.run.id for claim in await large] == [big.id]
        assert [claim.run.id for claim in await other] == [gpu.id]
        assert await small == []

    play(body)


def test_a_poll_that_ends_while_runs_are_claimed_for_it_gives_them_back(house, store):
    real, claimed, go = store.claim, threading.Event(), threading.Event()

    def slow(*args):
        found = real(*args)
        claimed.set()
        go.wait(10)
        return found

    house.dispatcher._store = type("Slow", (), {"claim": staticmethod(slow), "give_back": store.give_back})()

    async def body():
        worker(store)
        (run,) = queued(store)
        poll = asyncio.create_task(house.dispatcher.claim("w1", _offer(), 20))
        await seen(claimed.is_set)
        poll.cancel()
        await asyncio.wait([poll])
        go.set()
        await seen(lambda: store.get_run(run.id).state is State.QUEUED)
        assert store.get_run(run.id).recoveries == 0
        assert store.find_ticket(run.id) is not None

    play(body)


def test_a_poll_that_was_answered_and_then_cancelled_gives_its_runs_back(house, store):
    async def body():
        worker(store)
        (run,) = queued(store)
        poll = asyncio.create_task(house.dispatcher.claim("w1", _offer(), 20))
        await asyncio.sleep(0)  # one turn of the loop: it waits, and cannot have been answered yet
        answer = house.dispatcher._polls[0].answer
        answer.add_done_callback(lambda _: poll.cancel())  # the same turn: the result is there, and nobody has read it
        await asyncio.wait([poll])
        if poll.cancelled():
            await seen(lambda: store.get_run(run.id).state is State.QUEUED)
        else:
            assert len(poll.result()) == 1

    play(body)


def test_a_new_poll_of_a_worker_sends_the_old_one_away(house, store):
    async def body():
        worker(store)
        old = asyncio.create_task(house.dispatcher.claim("w1", _offer(), 20))
        await seen(lambda: house.dispatcher.waiting)
        new = asyncio.create_task(house.dispatcher.claim("w1", _offer(), 20))
        assert await old == []
        queued(store)
        house.dispatcher.hint()
        assert len(await new) == 1

    play(body)


def test_a_worker_that_has_lost_its_lease_is_told_and_harms_no_other(house, store):
    async def body():
        worker(store, "w2")
        stale = asyncio.create_task(house.dispatcher.claim("gone", _offer(), 20))
        good = asyncio.create_task(house.dispatcher.claim("w2", _offer(), 20))
        with pytest.raises(StaleEpochError):
            await stale
        queued(store)
        house.dispatcher.hint()
        assert len(await good) == 1

    play(body)


def test_closing_answers_all_that_wait_and_loses_no_run(house, store):
    async def body():
        worker(store)
        poll = asyncio.create_task(house.dispatcher.claim("w1", _offer(), 20))
        await seen(lambda: house.dispatcher.waiting)
        await house.dispatcher.close()
        assert await poll == []
        assert await house.dispatcher.claim("w1", _offer(), 20) == []

    play(body)


def test_nothing_is_asked_of_the_store_while_nobody_hints(house, store):
    asked = []
    real = store.claim

    def counted(*args):
        asked.append(args)
        return real(*args)

    house.dispatcher._store = type("Counted", (), {"claim": staticmethod(counted)})()

    async def body():
        worker(store)
        await house.dispatcher.claim("w1", _offer(), 0.3)
        assert len(asked) == 1
        house.dispatcher.hint()
        await asyncio.sleep(0.01)
        assert len(asked) == 1

    play(body)


def test_twenty_workers_share_three_hundred_runs_each_given_once(house, store):
    async def body():
        names = [worker(store, f"w{n}") for n in range(20)]
        runs = {run.id for run in queued(store, 300)}
        given = []

        async def serve(name):
            while claims := await house.dispatcher.claim(name, _offer(3), 0.2):
                given.extend(claim.run.id for claim in claims)

        await asyncio.gather(*(serve(name) for name in names))
        assert len(given) == 300
        assert set(given) == runs

    play(body)


def test_the_way_from_a_hint_to_the_answer_costs_less_than_a_millisecond_besides_the_store(house, store):
    real = store.claim
    spent = []

    def timed(*args):
        began = time.perf_counter()
        found = real(*args)
        spent.append(time.perf_counter() - began)
        return found

    house.dispatcher._store = type("Timed", (), {"claim": staticmethod(timed)})()

    async def body():
        worker(store)
        took = []
        for _ in range(50):
            poll = asyncio.create_task(house.dispatcher.claim("w1", _offer(), 20))
            await seen(lambda: house.dispatcher.waiting and house.dispatcher._round is None)
            queued(store)
            before, began = sum(spent), time.perf_counter()
            house.dispatcher.hint()
            await poll
            took.append(time.perf_counter() - began - (sum(spent) - before))
        assert sorted(took)[len(took) // 2] < 0.001

    play(body)
