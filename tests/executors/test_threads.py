"""What threads promise beyond the conformance suite: blocking, abandoning, few threads, speed of idling."""

from __future__ import annotations

import gc
import logging
import subprocess
import sys
import threading
import time
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING

import pytest
from tests.executors.works import WAIT, Inbox, Signal, run, submit

from ostinato.executors.threads import ThreadExecutor

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def one() -> Iterator[ThreadExecutor]:
    """One slot, and little patience."""
    made = ThreadExecutor(1, grace=0.2)
    yield made
    made.close()


def count_threads(executor: ThreadExecutor) -> int:
    return len(executor._threads)


def test_nested_work_does_not_deadlock_in_one_slot(one: ThreadExecutor) -> None:
    def nest(depth: int) -> int:
        if depth == 0:
            return 0
        _, inbox = submit(one, lambda: nest(depth - 1))
        with one.blocked():
            return 1 + inbox.get().value

    assert run(one, lambda: nest(30)).value == 30
    assert run(one, lambda: nest(3)).value == 3


def test_blocked_gives_one_slot_and_takes_it_back(one: ThreadExecutor) -> None:
    at_once = 0
    most = 0
    lock = threading.Lock()

    def busy() -> None:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.002)
        with lock:
            at_once -= 1

    def parent() -> None:
        children = [submit(one, busy)[1] for _ in range(10)]
        with one.blocked(), one.blocked():
            for child in children:
                child.get()

    parents = [submit(one, parent)[1] for _ in range(5)]
    for inbox in parents:
        assert inbox.get().error is None
    most = 0
    for inbox in [submit(one, busy)[1] for _ in range(50)]:
        inbox.get()
    assert most == 1
    assert one._blocked == 0
    assert count_threads(one) == 1


def test_threads_are_started_when_needed_and_no_more_than_slots() -> None:
    executor = ThreadExecutor(4)
    assert count_threads(executor) == 0
    run(executor, int)
    assert count_threads(executor) == 1
    barrier = threading.Barrier(5)
    inboxes = [submit(executor, barrier.wait)[1] for _ in range(4)]
    barrier.wait(WAIT)
    for inbox in inboxes:
        inbox.get()
    for inbox in [submit(executor, int)[1] for _ in range(500)]:
        inbox.get()
    assert count_threads(executor) == 4
    executor.close()
    assert count_threads(executor) == 0


def test_work_stuck_in_c_is_abandoned_and_its_slot_is_free(
    one: ThreadExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    running, release = threading.Event(), threading.Event()

    def stuck() -> str:
        running.set()
        release.wait(WAIT)
        return "too late"

    handle, inbox = submit(one, stuck)
    assert running.wait(WAIT)
    signal = Signal("stop", code=1)
    with caplog.at_level(logging.WARNING):
        handle.stop(signal)
        assert inbox.get().error is signal
    assert "work" in caplog.text
    assert "processes" in caplog.text
    assert run(one, lambda: 1).value == 1
    assert count_threads(one) == 1
    abandoned = [thread for thread in threading.enumerate() if getattr(thread, "abandoned", False)]
    release.set()
    for thread in abandoned:
        thread.join(WAIT)
    assert abandoned
    assert inbox.is_empty
    assert run(one, lambda: 2).value == 2


def test_a_signal_that_was_swallowed_is_raised_again(one: ThreadExecutor) -> None:
    running = threading.Event()

    def swallow_once() -> None:
        running.set()
        try:
            sum(range(10))
            while True:
                sum(range(10))
        except BaseException:
            pass
        sum(range(10))
        while True:
            sum(range(10))

    handle, inbox = submit(one, swallow_once)
    running.wait(WAIT)
    signal = Signal("stop", code=1)
    handle.stop(signal)
    assert inbox.get().error is signal
    assert not any(getattr(thread, "abandoned", False) for thread in threading.enumerate())


def test_work_that_swallows_every_signal_is_abandoned(one: ThreadExecutor) -> None:
    running, released = threading.Event(), []

    def deaf() -> None:
        running.set()
        while not released:
            try:  # noqa: SIM105
                sum(range(10))
            except BaseException:
                pass

    handle, inbox = submit(one, deaf)
    running.wait(WAIT)
    signal = Signal("stop", code=1)
    handle.stop(signal)
    assert inbox.get().error is signal
    assert run(one, lambda: 1).value == 1
    released.append(True)


def test_a_thread_too_many_leaves_when_the_blocked_one_goes_on(one: ThreadExecutor) -> None:
    def parent() -> bool:
        _, child = submit(one, threading.current_thread)
        with one.blocked():
            other = child.get().value
            while one._on_hand > 1:
                sum(range(10))
        other.join(WAIT)
        return bool(other.is_alive())

    assert run(one, parent).value is False


def test_late_stops_never_hit_other_work() -> None:
    executor = ThreadExecutor(2, grace=5)
    count, hits, innocent = 4000, 0, Inbox()
    guilty = Inbox()
    for number in range(count):
        handle, _ = submit(executor, lambda: sum(range(50)), guilty)
        submit(executor, lambda: sum(range(50)), innocent)
        if number % 3:
            sum(range(number % 97))
        handle.stop(Signal("race", code=number))
    for _ in range(count):
        guilty.get()
        ended = innocent.get()
        hits += ended.error is not None
    assert hits == 0
    assert innocent.is_empty
    assert guilty.is_empty
    assert run(executor, lambda: 1).value == 1
    executor.close()


def test_work_sees_the_submitters_context_and_leaves_none_of_its_own(one: ThreadExecutor) -> None:
    variable: ContextVar[str] = ContextVar("variable", default="none")
    token = variable.set("submitter's")
    assert run(one, lambda: (variable.get(), variable.set("work's"))[0]).value == "submitter's"
    variable.reset(token)
    assert run(one, variable.get).value == "none"


def test_an_idle_pool_keeps_no_result_alive(one: ThreadExecutor) -> None:
    class Large:
        pass

    handle, inbox = submit(one, Large)
    seen = weakref.ref(inbox.get().value)
    run(one, int)
    gc.collect()
    assert seen() is None
    del handle


def test_work_may_close_its_own_executor() -> None:
    executor = ThreadExecutor(2)
    inbox = Inbox()
    submit(executor, executor.close, inbox)
    inbox.get()
    for thread in threading.enumerate():
        if thread.name.startswith("ostinato"):
            thread.join(WAIT)


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_an_interpreter_exits_with_an_executor_left_open(kind: str) -> None:
    code = f"""
import time
from ostinato.executors import make_executor
executor = make_executor({kind!r}, 2)
for _ in range(4):
    executor.submit(lambda: time.sleep(600), print)
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=WAIT, check=False).returncode == 0
