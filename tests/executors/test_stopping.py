"""What a Stoppable promises to the runtime, which runs work inline with it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.executors.works import WAIT, Signal

from ostinato.executors.stopping import Stage, Stoppable, shield, waking

if TYPE_CHECKING:
    from collections.abc import Callable


def in_thread(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    out: list[Any] = []

    def target() -> None:
        try:
            out.append(work())
        except BaseException as error:
            out.append(error)

    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread, out


def spin(running: threading.Event) -> None:
    running.set()
    while True:
        sum(range(10))


def test_a_stoppable_returns_what_work_returns() -> None:
    work = Stoppable()
    assert work.run(lambda: 3) == 3
    assert work.stage is Stage.ENDED
    assert work.stop(Signal("late", code=1)) is None


def test_a_stoppable_stopped_before_it_began_never_runs() -> None:
    work, signal, ran = Stoppable(), Signal("stop", code=1), []
    assert work.stop(signal) is Stage.DROPPED
    with pytest.raises(Signal) as caught:
        work.run(lambda: ran.append(1))
    assert caught.value is signal
    assert ran == []


def test_a_stop_raises_the_very_signal() -> None:
    work, signal, running = Stoppable(), Signal("stop", code=7), threading.Event()
    thread, out = in_thread(lambda: work.run(lambda: spin(running)))
    running.wait(WAIT)
    assert work.stop(signal) is Stage.RUNNING
    thread.join(WAIT)
    assert out == [signal]


def test_a_stop_raises_the_very_signal_while_another_exception_is_handled() -> None:
    work, signal, running = Stoppable(), Signal("stop", code=7), threading.Event()

    def body() -> None:
        try:
            raise ValueError  # noqa: TRY301
        except ValueError:
            spin(running)

    thread, out = in_thread(lambda: work.run(body))
    running.wait(WAIT)
    work.stop(signal)
    thread.join(WAIT)
    assert out == [signal]


def test_a_shield_holds_a_signal_back_to_its_end() -> None:
    work, signal, seen = Stoppable(), Signal("stop", code=1), []
    inside, go_on = threading.Event(), threading.Event()

    def body() -> None:
        with shield():
            with shield():
                inside.set()
                go_on.wait(WAIT)
                seen.append("inner")
            seen.append("outer")
        seen.append("never")

    thread, out = in_thread(lambda: work.run(body))
    inside.wait(WAIT)
    work.stop(signal)
    go_on.set()
    thread.join(WAIT)
    assert seen == ["inner", "outer"]
    assert out == [signal]


def test_a_signal_in_handling_is_not_raised_again_by_a_shield() -> None:
    work, running, cleaned = Stoppable(), threading.Event(), []

    def body() -> None:
        try:
            spin(running)
        finally:
            with shield():
                cleaned.append("shielded")
            cleaned.append("all")

    thread, _ = in_thread(lambda: work.run(body))
    running.wait(WAIT)
    work.stop(Signal("stop", code=1))
    thread.join(WAIT)
    assert cleaned == ["shielded", "all"]


def test_waking_ends_a_wait_in_c() -> None:
    work, signal, waiting, news = Stoppable(), Signal("stop", code=1), threading.Event(), threading.Event()

    def body() -> None:
        with waking(news.set):
            waiting.set()
            news.wait(WAIT * 10)
            sum(range(10))

    thread, out = in_thread(lambda: work.run(body))
    waiting.wait(WAIT)
    work.stop(signal)
    thread.join(WAIT)
    assert not thread.is_alive()
    assert out == [signal]


def test_a_stop_of_outer_work_reaches_through_inner_work() -> None:
    outer, inner, signal, running = Stoppable(), Stoppable(), Signal("stop", code=1), threading.Event()
    thread, out = in_thread(lambda: outer.run(lambda: inner.run(lambda: spin(running))))
    running.wait(WAIT)
    outer.stop(signal)
    thread.join(WAIT)
    assert out == [signal]
    assert inner.stage is Stage.ENDED


def test_an_inner_end_does_not_swallow_the_outer_signal() -> None:
    for number in range(300):
        outer, inner, running = Stoppable(), Stoppable(), threading.Event()
        signals = Signal("outer", code=1), Signal("inner", code=2)

        def body(inner: Stoppable = inner, running: threading.Event = running) -> None:
            try:
                inner.run(lambda: spin(running))
            except Signal as caught:
                if caught.code == 1:
                    raise
            while True:
                sum(range(10))

        thread, out = in_thread(lambda outer=outer, body=body: outer.run(body))
        running.wait(WAIT)
        order = [(inner, signals[1]), (outer, signals[0])]
        for work, signal in order if number % 2 else reversed(order):
            work.stop(signal)
        thread.join(WAIT)
        assert out == [signals[0]]


def test_no_signal_lands_after_the_end() -> None:
    escaped, rounds = [], 3000
    ready: Any = [None]
    turn, ended = threading.Semaphore(0), threading.Semaphore(0)

    def runner() -> None:
        for _ in range(rounds):
            work = ready[0] = Stoppable()
            turn.release()
            try:  # noqa: SIM105
                work.run(lambda: sum(range(100)))
            except Signal:
                pass
            try:
                sum(range(100))
                [0 for _ in range(30)]
            except Signal as signal:
                escaped.append(signal)
            ended.acquire()

    thread = threading.Thread(target=runner, daemon=True)
    thread.start()
    for number in range(rounds):
        turn.acquire()
        sum(range(number % 211))
        ready[0].stop(Signal("race", code=number))
        ended.release()
    thread.join(WAIT)
    assert not thread.is_alive()
    assert escaped == []
