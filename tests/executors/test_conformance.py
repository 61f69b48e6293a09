"""What every executor promises. A new one (Dask, Ray) is added to the fixture and passes all of this."""

from __future__ import annotations

import os
import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest
from tests.executors.works import WAIT, Inbox, Signal, returns, run, submit

from ostinato.context import Ended
from ostinato.errors import SettingError, UsageError
from ostinato.executors import make_executor
from ostinato.executors.stopping import ClosedSignal

if TYPE_CHECKING:
    from pathlib import Path

    from ostinato.context import Executor


def hold(path: Path) -> bytes:
    """Say that we run by opening a named pipe, and wait until something is written to it."""
    return path.read_bytes()


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


def test_an_executor_returns_what_work_returns(executor: Executor) -> None:
    ended = run(executor, lambda: {"rows": [1, 2, 3]})
    assert (ended.value, ended.error, ended.lost) == ({"rows": [1, 2, 3]}, None, None)
    assert (ended.started_at, ended.finished_at) == (1, 2)


def test_an_executor_returns_the_error_of_work(executor: Executor) -> None:
    ended = run(executor, lambda: [][1])  # noqa: PLE0643
    assert isinstance(ended.error, IndexError)
    assert "list index out of range" in str(ended.error)


def test_an_executor_reports_an_exception_that_escapes_work(executor: Executor) -> None:
    def work() -> Ended:
        raise SystemExit(3)

    inbox = Inbox()
    executor.submit(work, inbox)
    error = inbox.get().error
    assert isinstance(error, SystemExit)
    assert error.code == 3


def test_an_executor_brings_back_exceptions_with_odd_constructors(executor: Executor) -> None:
    class OddError(Exception):
        def __init__(self, a: int, *, b: int) -> None:
            super().__init__(f"{a} and {b}")

    def fail() -> None:
        raise OddError(1, b=2)

    error = run(executor, fail).error
    assert error is not None
    assert "1 and 2" in str(error)
    assert "OddError" in type(error).__name__ + str(error)


def test_an_executor_ends_ten_thousand_works_exactly_once(executor: Executor) -> None:
    count = 10_000
    told: list[int] = []
    all_told = threading.Event()

    def done(ended: Ended) -> None:
        told.append(ended.value)
        if len(told) == count:
            all_told.set()

    for number in range(count):
        executor.submit(partial(Ended, value=number, started_at=0, finished_at=0), done)
    assert all_told.wait(WAIT * 3)
    assert sorted(told) == list(range(count))


def test_an_executor_survives_a_done_that_raises(pool: Executor) -> None:
    def done(_: Ended) -> None:
        raise ValueError

    pool.submit(returns(int), done)
    assert run(pool, lambda: 7).value == 7


def test_an_executor_runs_as_many_at_once_as_it_has_slots(tmp_path: Path) -> None:
    for name in ("threads", "processes"):
        executor = make_executor(name, 2)
        there, back = tmp_path / f"{name}-there", tmp_path / f"{name}-back"
        os.mkfifo(there)
        os.mkfifo(back)
        first = submit(executor, lambda there=there, back=back: (there.write_bytes(b"a"), back.read_bytes()))[1]
        second = submit(executor, lambda there=there, back=back: (there.read_bytes(), back.write_bytes(b"b")))[1]
        assert first.get().value == (1, b"b")
        assert second.get().value == (b"a", 1)
        executor.close()


def test_work_that_waits_is_dropped_when_stopped(pool: Executor, fifo: Path) -> None:
    _, running = submit(pool, partial(hold, fifo))
    with fifo.open("wb") as line:
        handle, waiting = submit(pool, partial(os.mkdir, fifo.with_name("made")))
        signal = Signal("stop", code=1)
        handle.stop(signal)
        assert waiting.get().error is signal
        line.write(b"go")
    assert running.get().value == b"go"
    assert run(pool, lambda: 1).value == 1
    assert not fifo.with_name("made").exists()
    assert waiting.is_empty


def test_work_that_loops_is_stopped(pool: Executor, fifo: Path) -> None:
    def loop() -> None:
        fifo.write_bytes(b"running")
        while True:
            try:  # noqa: SIM105
                sum(range(10))
            except Exception:
                pass

    handle, inbox = submit(pool, loop)
    assert fifo.read_bytes() == b"running"
    signal = Signal("stop", code=1)
    handle.stop(signal)
    assert inbox.get().error is signal
    assert run(pool, lambda: 5).value == 5


def test_a_second_stop_changes_nothing(pool: Executor, fifo: Path) -> None:
    handle, inbox = submit(pool, lambda: (fifo.write_bytes(b"running"), [0 for _ in iter(int, 1)]))
    fifo.read_bytes()
    first = Signal("first", code=1)
    handle.stop(first)
    handle.stop(Signal("second", code=2))
    assert inbox.get().error is first
    handle.stop(Signal("third", code=3))
    assert run(pool, lambda: 5).value == 5
    assert inbox.is_empty


def test_a_stop_after_the_end_changes_nothing(executor: Executor) -> None:
    handle, inbox = submit(executor, lambda: 1)
    assert inbox.get().value == 1
    handle.stop(Signal("late", code=1))
    assert run(executor, lambda: 2).value == 2
    assert inbox.is_empty


def test_close_ends_what_runs_and_what_waits(pool: Executor, fifo: Path) -> None:
    _, running = submit(pool, lambda: (fifo.write_bytes(b"running"), [0 for _ in iter(int, 1)]))
    _, waiting = submit(pool, lambda: 1)
    fifo.read_bytes()
    pool.close()
    assert isinstance(running.get().error, ClosedSignal)
    assert isinstance(waiting.get().error, ClosedSignal)


def test_close_may_be_called_again(executor: Executor) -> None:
    run(executor, lambda: 1)
    executor.close()
    executor.close()


def test_a_closed_executor_refuses_work(executor: Executor) -> None:
    executor.close()
    with pytest.raises(UsageError, match="closed"):
        executor.submit(returns(int), Inbox())


def test_blocked_does_nothing_in_a_foreign_thread(executor: Executor) -> None:
    with executor.blocked():
        assert run(executor, lambda: 1).value == 1


def test_make_executor_makes_what_it_is_asked_for() -> None:
    made = [make_executor(name) for name in ("inline", "threads", "processes", None)]
    assert [executor.name for executor in made] == ["inline", "threads", "processes", "threads"]
    assert [executor.isolated for executor in made] == [False, False, True, False]
    assert make_executor("threads", 3).slots == 3
    assert make_executor(made[0]) is made[0]


def test_make_executor_suggests_the_nearest_name() -> None:
    with pytest.raises(SettingError, match="Did you mean 'threads'"):
        make_executor("thread")
    with pytest.raises(SettingError, match="at least 1 slot"):
        make_executor("threads", 0)
