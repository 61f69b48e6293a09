"""`sleep`, `wait_for`, `ask`, `emit` in runs of this process: journaled, in sync and async bodies, in tasks, and refused."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel, Field
from tests.inside import Faulty
from tests.process import until

from ostinato import Retry, flow, now, task
from ostinato.errors import ParameterError, RunStateError, StoreError, UsageError, WaitTimeout
from ostinato.records import Event
from ostinato.waiting import Answer, Received, ask, emit, sleep, wait_for

if TYPE_CHECKING:
    from tests.inside import Home

    from ostinato.store.store import Store
    from ostinato.timing import Ask

SEEN: list[Any] = []


@pytest.fixture(autouse=True)
def _fresh():
    SEEN.clear()


def tell(home: Home, kind: str, key: str = "", data: str = "null") -> None:
    with contextlib.closing(home.open()) as store:
        store.emit([Event(at=store.now(), kind=kind, run_id="", data=data, key=key)])


@contextlib.contextmanager
def beside(work: Any) -> Any:
    """Do something in another thread meanwhile."""
    thread = threading.Thread(target=work)
    thread.start()
    yield
    thread.join(20)
    assert not thread.is_alive()


def waiting(home: Home, name: str = "wait_for") -> None:
    """Wait until a run has begun to wait."""
    until(lambda: home.runs() and [row for row in home.task_runs() if row.task == name], f"{name} to wait")


def answer_all(home: Home, *values: str) -> None:
    """Answer the open question, as so many people; again, where its run has died meanwhile and asks anew."""
    with contextlib.closing(home.open()) as store:
        for n, each in enumerate(values):
            until(lambda n=n, each=each: _is_answered(store, f"user:{n}", each), "a question")


def _is_answered(store: Store, by: str, values: str) -> bool:
    for found in store.list_asks():
        with contextlib.suppress(RunStateError):
            store.answer(found.id, by, values)
            return True
    return False


@task
def note(x: Any) -> Any:
    SEEN.append(x)
    return x


@flow
def one(kind: str, timeout: float | None = None) -> Any:
    received = wait_for(kind, "k", timeout=timeout)
    assert await_again(received) is received
    note(received.data)
    return [received.kind, received.key, received.data, received.at.tzinfo is not None, received.id > 0]


def await_again(received: Received) -> Received:
    """Await what has come already, which costs nothing and waits for nothing."""
    try:
        next(iter(received.__await__()))
    except StopIteration as end:
        return end.value
    raise AssertionError


def test_an_event_is_received(home):
    def later() -> None:
        waiting(home)
        tell(home, "landed", "other", "1")
        tell(home, "landed", "k", '{"rows": 7}')

    with beside(later):
        assert home.run(one, "landed") == ["landed", "k", {"rows": 7}, True, True]
    assert home.states()["wait_for"] == ["succeeded"]


def test_an_event_from_before_the_run_is_not_its_unless_it_says_since(home):
    tell(home, "landed", "k", "1")
    started = datetime.now(UTC)

    @flow
    def since() -> Any:
        try:
            wait_for("landed", "k", timeout=0.05)
        except WaitTimeout:
            return wait_for("landed", "k", since=started - timedelta(minutes=1)).data
        return "it had been there before"

    assert home.run(since) == 1


def test_a_body_that_is_run_again_takes_the_same_events_and_the_same_timeouts(home):
    @flow
    def takes() -> Any:
        first, second = wait_for("landed", "k").data, wait_for("landed", "k").data
        try:
            third = wait_for("landed", "k", timeout=0.05).data
        except WaitTimeout as error:
            third = str(error)
        return [note(first), note(second), note(third), now().year > 2000]

    for n in range(12):
        SEEN.clear()

        def events() -> None:
            waiting(home)
            for data in ("1", "2"):
                tell(home, "landed", "k", data)

        faulty = Faulty(home.open(), lambda at, _, n=n: "after" if at == n else None)
        before = len(home.runs())
        thread = threading.Thread(target=lambda b=before: (until(lambda: len(home.runs()) > b), events()))
        thread.start()
        with contextlib.suppress(StoreError):
            home.run(takes, store=faulty)
        thread.join(20)
        if home.last().state != "succeeded":
            time.sleep(0.06)
            home.resume(takes)
        assert [row.state for row in home.task_runs() if row.task == "wait_for"] == ["succeeded", "succeeded", "failed"]
        assert [str(each) for each in SEEN[-3:]] == ["1", "2", "No event landed with the key 'k' came in time."]


def test_a_retry_waits_again_where_it_came_too_late(home):
    with pytest.raises(WaitTimeout, match="No event landed with the key 'k' came in time"):
        home.run(one, "landed", timeout=0.05)
    tell(home, "landed", "k", "5")
    assert home.resume(one, retry=True)[2] == 5


def test_the_deadline_of_a_sleep_is_fixed_when_it_is_first_reached(home):
    @flow
    def naps(seconds: float) -> None:
        sleep(seconds)
        note("woke")

    def fails(at: int, entries: Any) -> str | None:
        return "after" if any(row.task == "sleep" and row.state == "waiting" for row in entries.task_runs) else None

    with pytest.raises(StoreError):
        home.run(naps, 1.5, store=Faulty(home.open(), fails))
    (row,) = home.task_runs()
    assert row.due_at is not None
    home.resume(naps)
    after = home.task_runs()[0]
    assert SEEN == ["woke"]
    assert 0 <= after.finished_at - row.due_at < 1_000_000
    assert (after.state, after.due_at) == ("succeeded", None)


def test_an_async_body_awaits_several_at_once(home):
    @flow
    async def gathers() -> Any:
        started = time.monotonic()
        a, b, _ = await asyncio.gather(wait_for("landed", "a"), wait_for("landed", "b"), sleep(0.2))
        answer = await ask(bool, title="Go on?")
        async with asyncio.timeout(5):
            c = await wait_for("landed", "c", timeout=timedelta(seconds=4))
        return [a.data, b.data, answer.value, c.data, time.monotonic() - started < 10]

    def later() -> None:
        waiting(home)
        for key in "bac":
            tell(home, "landed", key, f'"{key}"')
        answer_all(home, '{"value": true}')

    with beside(later):
        assert home.run(gathers) == ["a", "b", True, "c", True]


def test_waits_of_one_kind_and_key_share_the_events_among_them(home):
    @flow
    async def shares() -> list[int]:
        return sorted(each.data for each in await asyncio.gather(*(wait_for("landed", "k") for _ in range(20))))

    def later() -> None:
        waiting(home)
        for n in range(20):
            tell(home, "landed", "k", str(n))

    with beside(later):
        assert home.run(shares) == list(range(20))


def test_what_an_async_body_does_not_await_has_not_come(home):
    @flow
    async def forgets() -> str:
        received = wait_for("landed", "k", timeout=0.01)
        with pytest.raises(UsageError, match="`await` it first"):
            _ = received.data
        shown = repr(received)
        with contextlib.suppress(WaitTimeout):
            await received
        return shown

    assert home.run(forgets) == "<Received: not awaited>"


def test_threads_of_a_task_wait_each_for_its_own(home):
    @task
    def waits(key: str) -> Any:
        return wait_for("landed", key).data

    @flow
    def maps() -> list[Any]:
        return list(waits.map(["a", "b", "c"]))

    def later() -> None:
        waiting(home)
        for key in "cba":
            tell(home, "landed", key, f'"{key}"')

    with beside(later):
        assert home.run(maps) == ["a", "b", "c"]


def test_another_attempt_of_a_task_takes_the_same_event_and_emits_once(home):
    @task(retry=Retry(2))
    def flaky() -> Any:
        emit("told", "x", len(SEEN))
        found = wait_for("landed", "k").data
        SEEN.append(found)
        if len(SEEN) < 3:
            raise ConnectionError("again")
        return found

    @flow
    def retries() -> Any:
        return flaky()

    with beside(lambda: (waiting(home), tell(home, "landed", "k", "1"), tell(home, "landed", "k", "2"))):
        assert home.run(retries) == 1
    assert SEEN == [1, 1, 1]
    with contextlib.closing(home.open()) as store:
        told = [found.event.data for found in store.list_events(limit=1000) if found.event.kind == "told"]
    assert told == ["0", "1", "2"], "each attempt told something else"


def test_a_task_in_a_process_of_its_own_emits_but_cannot_wait(home):
    @task(executor="processes")
    def apart() -> str:
        emit("told", "x", {"n": 1})
        try:
            wait_for("landed")
        except UsageError as error:
            return str(error)
        return "it waited"

    @flow
    def sends() -> str:
        return apart()

    assert "another process" in home.run(sends)
    (event,) = [found for found in home.events() if found.kind == "told"]
    assert (event.key, event.data) == ("x", '{"n":1}')


# --- questions


class Approval(BaseModel):
    """May it go out?"""

    ok: bool
    amount: int = Field(default=1, ge=1)


@dataclass
class Plain:
    name: str
    on: datetime | None = None


@pytest.mark.parametrize(
    ("form", "values", "value"),
    [
        (Approval, '{"ok": true, "amount": 3}', Approval(ok=True, amount=3)),
        (Plain, '{"name": "x", "on": "2026-01-01T00:00:00Z"}', Plain("x", datetime(2026, 1, 1, tzinfo=UTC))),
        (bool, '{"value": false}', False),
        (int, '{"value": 7}', 7),
        (list[str], '{"value": ["a"]}', ["a"]),
    ],
)
def test_an_answer_is_a_value_of_its_form(home, form, values, value):
    @flow
    def asks() -> Any:
        answer = ask(form, title="What?")
        return [answer.value, answer.by, answer.at.tzinfo is not None, len(answer.all)]

    with beside(lambda: answer_all(home, values)):
        assert home.run(asks) == [value, "user:0", True, 1]


def test_a_question_says_what_it_asks(home):
    found: list[Ask] = []

    def look() -> None:
        with contextlib.closing(home.open()) as store:
            found.extend(until(store.list_asks, "a question"))
        answer_all(home, '{"ok": true}', '{"ok": false}')

    @flow
    def asks() -> Any:
        answer = ask(Approval, to="finance", title="Pay?", needed=2, timeout=60)
        return [(each.by, each.value.ok) for each in answer.all]

    with beside(look):
        assert home.run(asks) == [("user:0", True), ("user:1", False)]
    (asked,) = found
    assert (asked.title, asked.description, asked.whom, asked.needed) == ("Pay?", "May it go out?", "finance", 2)
    assert '"minimum":1' in asked.schema
    assert asked.expires_at is not None


def test_a_question_is_asked_once_however_often_the_body_is_run(home):
    @flow
    def asks() -> Any:
        return ask(bool).value

    for n in range(4):
        faulty = Faulty(home.open(), lambda at, _, n=n: "after" if at == n else None)
        known = len(home.runs())
        answering = threading.Thread(target=lambda: answer_all(home, '{"value": true}'))
        answering.start()
        with contextlib.suppress(StoreError):
            home.run(asks, store=faulty)
        if home.last().state != "succeeded":
            home.resume(asks)
        answering.join(20)
        assert len(home.runs()) == known + 1
        with contextlib.closing(home.open()) as store:
            assert len(store.list_asks(is_open=False, run_id=home.last().id)) == 1


def test_an_answer_that_no_longer_fits_its_form_is_an_error(home):
    @flow
    def asks() -> Any:
        return ask(Approval).value

    with beside(lambda: answer_all(home, '{"ok": "perhaps"}')), pytest.raises(ParameterError, match="ok: Input should"):
        home.run(asks)


def test_nobody_answers_in_time(home):
    @flow
    def asks() -> Any:
        return ask(bool, title="Well?", timeout=0.1).value

    with pytest.raises(WaitTimeout, match="Nobody has answered the question 'Well\\?' in time"):
        home.run(asks)


# --- outside of runs, and wrongly


def test_emit_and_sleep_work_outside_of_runs_and_the_others_say_where(home):
    emit("told", "x", [1])
    sleep(0.001)
    sleep(until=datetime.now(UTC))
    asyncio.run(_sleeps())
    with contextlib.closing(home.open()) as store:
        (event,) = [found.event for found in store.list_events(limit=10) if found.event.kind == "told"]
    assert (event.key, event.data, event.run_id) == ("x", "[1]", "")
    for verb in (lambda: wait_for("x"), lambda: ask(bool)):
        with pytest.raises(UsageError, match="in a flow"):
            verb()


async def _sleeps() -> None:
    await sleep(0.001)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (sleep, "either seconds or until"),
        (lambda: sleep(1, until=datetime.now(UTC)), "either seconds or until"),
        (lambda: sleep(float("nan")), "number of seconds"),
        (lambda: sleep(until=datetime(2026, 1, 1)), "time zone"),  # noqa: DTZ001
        (lambda: wait_for(""), "is a word"),
        (lambda: wait_for("run.failed"), "made by Ostinato itself"),
        (lambda: wait_for("x", 7), "write str"),  # type: ignore[arg-type]
        (lambda: wait_for("x", since=datetime(2026, 1, 1)), "time zone"),  # noqa: DTZ001
        (lambda: emit("ask.answered"), "asks answer"),
        (lambda: emit("x", data=object()), "what JSON can hold"),
        (lambda: emit("x", data="x" * 300_000), "store it"),
        (lambda: ask(bool, needed=0), "1 or more"),
        (lambda: ask(threading.Lock), "JSON Schema"),
    ],
)
def test_what_cannot_be_waited_for_or_told_is_refused(home, call, says):
    @flow
    def calls() -> str:
        try:
            call()
        except UsageError as error:
            return str(error)
        return "it was not refused"

    assert says in home.run(calls)


def test_what_came_can_be_handed_on_and_pickled(home):
    @task
    def take(received: Received, answer: Answer[bool]) -> Any:
        return [received.data, answer.value]

    @flow
    def hands_on() -> Any:
        received, answer = wait_for("landed", "k"), ask(bool)
        again = pickle.loads(pickle.dumps((received, answer)))
        assert (again[0].id, again[1].by) == (received.id, answer.by)
        return [take(received, answer), received, answer]

    def later() -> None:
        waiting(home)
        tell(home, "landed", "k", "1")
        answer_all(home, '{"value": true}')

    with beside(later):
        values, received, answer = home.run(hands_on)
    assert (values, received.data, answer.value) == ([1, True], 1, True)
