"""Questions to people: asked once, answered by as many as are needed, closed when nobody needs the answer."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.store.builders import claim, end, kinds, queued

from ostinato.errors import UnknownNameError, UsageError
from ostinato.records import Commit, Suspension, Wait
from ostinato.states import State
from ostinato.timing import ANSWERED, Ask, event_key

if TYPE_CHECKING:
    from tests.store.conftest import Opener

    from ostinato.clock import ManualClock
    from ostinato.records import Run
    from ostinato.store.store import Store


def held(store: Store) -> Run:
    queued(store)
    (run,) = claim(store)
    return run


def an_ask(store: Store, run: Run, **fields: Any) -> Ask:
    values: dict[str, Any] = {"id": f"ask-{run.id}", "flow": run.flow, "title": "Ship it?", "created_at": store.now()}
    values |= {"schema": '{"additionalProperties": true}'}
    return Ask(run_id=run.id, **(values | fields))


def wait_for(store: Store, run: Run, ask: Ask) -> None:
    wait = Wait(
        run_id=run.id, n=0, kind="event", key=event_key(ANSWERED, ask.id), due_at=ask.expires_at, created_at=store.now()
    )
    store.commit(run.id, run.epoch, Commit(suspend=Suspension(state=State.WAITING, waits=[wait])))


def test_a_question_is_put_once_and_says_so(store: Store) -> None:
    run = held(store)
    ask = an_ask(store, run, schema='{"type":"object"}', whom="ada", description="All of it.")
    assert store.put_ask(ask) == ask
    assert store.put_ask(an_ask(store, run, title="Another?")) == ask
    assert store.get_ask(ask.id) == ask
    assert store.list_asks() == store.list_asks(run_id=run.id) == [ask]
    assert kinds(store, run).count("ask.opened") == 1


def test_the_answer_wakes_the_run_and_closes_the_question(store: Store) -> None:
    run = held(store)
    ask = store.put_ask(an_ask(store, run))
    wait_for(store, run, ask)
    assert store.get_run(run.id).state is State.WAITING
    answered = store.answer(ask.id, "user:ada", '{"ok": true}')
    assert answered.state == "answered"
    (given,) = json.loads(answered.answers)
    assert (given["by"], given["values"]) == ("user:ada", {"ok": True})
    assert given["at"] == store.now()
    assert store.get_run(run.id).state is State.QUEUED
    assert store.list_asks() == []
    assert store.list_asks(is_open=False) == [answered]
    with pytest.raises(UsageError, match="answered already"):
        store.answer(ask.id, "user:bob", "{}")


def test_so_many_different_people_must_answer(store: Store) -> None:
    run = held(store)
    ask = store.put_ask(an_ask(store, run, needed=2))
    wait_for(store, run, ask)
    store.answer(ask.id, "user:ada", '{"ok": true}')
    changed = store.answer(ask.id, "user:ada", '{"ok": false}')
    assert (changed.state, len(json.loads(changed.answers))) == ("open", 1)
    assert store.get_run(run.id).state is State.WAITING
    done = store.answer(ask.id, "user:bob", '{"ok": true}')
    assert [(each["by"], each["values"]["ok"]) for each in json.loads(done.answers)] == [
        ("user:ada", False),
        ("user:bob", True),
    ]
    assert store.get_run(run.id).state is State.QUEUED
    told = [kind for kind in kinds(store, run) if kind.startswith("ask.")]
    assert told == ["ask.opened", "ask.progressed", "ask.progressed", "ask.answered"]


def test_people_who_answer_at_once_are_all_counted(store: Store, opener: Opener, clock: ManualClock) -> None:
    stores = [opener(clock=clock) for _ in range(3)]
    for _ in range(5):
        run = held(store)
        ask = store.put_ask(an_ask(store, run, needed=3))
        wait_for(store, run, ask)
        threads = [
            threading.Thread(target=each.answer, args=(ask.id, f"user:{n}", "{}")) for n, each in enumerate(stores)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        found = store.get_ask(ask.id)
        assert (found.state, len(json.loads(found.answers))) == ("answered", 3)
        assert store.get_run(run.id).state is State.QUEUED
        for again in claim(store, slots=9):
            end(store, again)


def test_an_answer_comes_too_late_when_the_time_is_over(store: Store, clock: ManualClock) -> None:
    run = held(store)
    ask = store.put_ask(an_ask(store, run, expires_at=clock.now() + 1_000_000))
    clock.move(1)
    with pytest.raises(UsageError, match="expired"):
        store.answer(ask.id, "user:ada", "{}")


def test_questions_whose_time_is_over_expire_and_say_so(store: Store, clock: ManualClock) -> None:
    run = held(store)
    late = store.put_ask(an_ask(store, run, expires_at=clock.now() + 1_000_000))
    later = store.put_ask(an_ask(store, run, id="later", expires_at=clock.now() + 9_000_000))
    never = store.put_ask(an_ask(store, run, id="never"))
    assert store.expire_asks() == 0
    clock.move(2)
    assert store.expire_asks() == 1
    assert store.expire_asks() == 0
    assert [store.get_ask(each.id).state for each in (late, later, never)] == ["expired", "open", "open"]
    assert kinds(store, run).count("ask.expired") == 1


@pytest.mark.parametrize("how", ["end", "cancel", "lost"])
def test_questions_of_a_run_that_ends_are_withdrawn(store: Store, clock: ManualClock, how: str) -> None:
    run = held(store)
    ask = store.put_ask(an_ask(store, run))
    if how == "end":
        end(store, run, State.FAILED)
    elif how == "cancel":
        wait_for(store, run, ask)
        store.request_cancel(run.id)
    else:
        for _ in range(4):  # a poisonous one
            store.sweep(["w1"])
            claim(store)
        store.sweep(["w1"])
        assert store.get_run(run.id).state is State.CRASHED
    assert store.get_ask(ask.id).state == "withdrawn"
    with pytest.raises(UsageError, match="its run has ended"):
        store.answer(ask.id, "user:ada", "{}")


def test_a_question_is_kept_while_its_run_is_only_recovered(store: Store) -> None:
    run = held(store)
    ask = store.put_ask(an_ask(store, run))
    store.sweep(["w1"])
    assert store.get_run(run.id).state is State.QUEUED
    assert store.get_ask(ask.id).state == "open"


def test_a_run_that_is_taken_up_again_opens_its_question_again(store: Store, clock: ManualClock) -> None:
    run = held(store)
    ask = store.put_ask(an_ask(store, run, needed=2, expires_at=clock.now() + 1_000_000))
    store.answer(ask.id, "user:ada", "{}")
    end(store, run, State.FAILED)
    assert store.put_ask(ask).state == "withdrawn", "its run has ended"
    store.reopen(run.id, None)
    (run,) = claim(store)
    again = store.put_ask(ask)
    assert (again.state, len(json.loads(again.answers))) == ("open", 1)
    clock.move(2)
    store.expire_asks()
    assert store.put_ask(ask).state == "expired", "there is no time left"
    longer = an_ask(store, run, expires_at=clock.now() + 5)
    assert store.put_ask(longer).expires_at == longer.expires_at


def test_nobody_is_asked_for_a_run_that_has_ended(store: Store) -> None:
    run = held(store)
    end(store, run)
    assert store.put_ask(an_ask(store, run)).state == "withdrawn"
    assert store.list_asks(is_open=False) == []


def test_questions_are_closed_by_hand(store: Store) -> None:
    run = held(store)
    ask = store.put_ask(an_ask(store, run))
    store.close_asks([ask.id, "unknown"], "withdrawn")
    assert store.get_ask(ask.id).state == "withdrawn"
    store.close_asks([ask.id], "expired")
    assert store.get_ask(ask.id).state == "withdrawn"


def test_an_unknown_question_is_an_error(store: Store) -> None:
    with pytest.raises(UnknownNameError, match="no question 'nope'"):
        store.get_ask("nope")
