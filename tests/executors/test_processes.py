"""What processes promise beyond the conformance suite: killing, dying, pickling, talking."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import traceback
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from tests.executors.works import WAIT, Inbox, Signal, run, submit

from ostinato.context import Ended, Note
from ostinato.errors import ResultError, TaskFailedError, UsageError
from ostinato.executors import child
from ostinato.executors.processes import ProcessExecutor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def one() -> Iterator[ProcessExecutor]:
    made = ProcessExecutor(1)
    yield made
    made.close()


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """A pipe whose reader sees the end when every process that holds it is gone."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


def test_processes_are_kept_warm(one: ProcessExecutor) -> None:
    ids = {run(one, os.getpid).value for _ in range(20)}
    assert len(ids) == 1
    assert os.getpid() not in ids


def test_no_process_is_started_before_work_comes(one: ProcessExecutor) -> None:
    assert not one._processes


def test_a_stopped_process_is_killed_and_replaced(one: ProcessExecutor, fifo: Path) -> None:
    def deaf() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
        with fifo.open("w") as line:
            line.write(str(os.getpid()))
            line.flush()
            while True:
                try:  # noqa: SIM105
                    signal.pause()
                except BaseException:
                    pass

    handle, inbox = submit(one, deaf)
    with fifo.open() as line:
        first = line.read(1)
        stop = Signal("stop", code=1)
        handle.stop(stop)
        assert inbox.get().error is stop
        killed = int(first + line.read())
    assert run(one, os.getpid).value != killed


def test_grandchildren_are_killed_too(one: ProcessExecutor, fifo: Path) -> None:
    def spawn() -> None:
        with fifo.open("w") as line:
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], pass_fds=[line.fileno()])
            line.write("x")
            line.flush()
            threading.Event().wait()

    handle, inbox = submit(one, spawn)
    with fifo.open() as line:
        line.read(1)
        handle.stop(Signal("stop", code=1))
        inbox.get()
        assert line.read() == ""


def test_a_process_that_exits_is_reported_as_lost(one: ProcessExecutor) -> None:
    ended = run(one, lambda: os._exit(3))
    assert ended.error is None
    assert ended.lost is not None
    assert "exit code 3" in ended.lost
    assert run(one, lambda: 1).value == 1


@pytest.mark.parametrize(
    ("number", "said"), [(signal.SIGKILL, "SIGKILL (out of memory?)"), (signal.SIGSEGV, "SIGSEGV")]
)
def test_a_process_that_is_killed_is_reported_with_its_signal(
    one: ProcessExecutor, number: signal.Signals, said: str
) -> None:
    ended = run(one, lambda: os.kill(os.getpid(), number))
    assert ended.lost is not None
    assert said in ended.lost
    assert run(one, lambda: 1).value == 1


def test_what_a_dead_process_leaves_behind_is_killed(one: ProcessExecutor, fifo: Path) -> None:
    def spawn() -> None:
        line = fifo.open("w")
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], pass_fds=[line.fileno()])
        os._exit(5)

    _, inbox = submit(one, spawn)
    with fifo.open() as line:
        assert line.read() == ""
    assert "exit code 5" in (inbox.get().lost or "")


def test_a_process_that_dies_with_a_fork_alive_is_noticed(one: ProcessExecutor) -> None:
    def fork() -> None:
        if os.fork() == 0:
            os.setsid()
            signal.alarm(5)
            while True:
                signal.pause()
        os._exit(4)

    ended = run(one, fork)
    assert ended.lost is not None
    assert "exit code 4" in ended.lost


def test_a_process_that_dies_idle_is_replaced(one: ProcessExecutor) -> None:
    first = run(one, os.getpid).value
    (process,) = one._processes
    os.kill(first, signal.SIGKILL)
    assert process.wait(WAIT)
    assert run(one, os.getpid).value != first


def test_children_die_with_a_parent_that_is_killed(fifo: Path) -> None:
    code = f"""
import os, pathlib, signal, subprocess, sys, threading
from ostinato.executors.processes import ProcessExecutor
def work():
    line = open({str(fifo)!r}, "w")
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], pass_fds=[line.fileno()])
    line.write("x"); line.flush()
    while True: sum(range(1000))
ProcessExecutor(1).submit(work, print)
threading.Event().wait()
"""
    parent = subprocess.Popen([sys.executable, "-c", code])
    with fifo.open() as line:
        assert line.read(1) == "x"
        parent.kill()
        parent.wait()
        assert line.read() == ""


def test_ctrl_c_in_the_terminal_does_not_reach_the_children(one: ProcessExecutor) -> None:
    assert run(one, os.getsid(0).__class__).value == 0
    assert run(one, lambda: os.getpgrp() == os.getpid() == os.getsid(0)).value is True


def test_close_ends_every_process(one: ProcessExecutor) -> None:
    process_id = run(one, os.getpid).value
    one.close()
    assert not one._processes
    with pytest.raises(ProcessLookupError):
        os.kill(process_id, 0)


def test_an_argument_that_cannot_be_pickled_is_named(one: ProcessExecutor) -> None:

    def work(_: int, lock: Any) -> Ended:
        return Ended(value=lock, started_at=0, finished_at=0)

    inbox = Inbox()
    one.submit(partial(work, 1, lock=threading.Lock()), inbox)
    error = inbox.get().error
    assert isinstance(error, UsageError)
    assert "argument 'lock'" in str(error)
    assert "executor='threads'" in str(error)


def test_a_result_that_cannot_be_pickled_is_named(one: ProcessExecutor) -> None:
    ended = run(one, threading.Lock)
    assert isinstance(ended.error, ResultError)
    assert "lock" in str(ended.error)
    assert "executor='threads'" in str(ended.error)
    assert (ended.started_at, ended.finished_at) == (1, 2)


def test_a_result_that_cannot_be_rebuilt_is_told(one: ProcessExecutor) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return int, ("not a number",)

    ended = run(one, Trap)
    assert isinstance(ended.error, ResultError)
    assert "not a number" in str(ended.error)
    assert run(one, lambda: 1).value == 1


def test_work_whose_module_is_missing_there_is_told(one: ProcessExecutor) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return __import__, ("no_such_module",)

    trap = Trap()
    ended = run(one, lambda: trap)
    assert isinstance(ended.error, UsageError)
    assert "no_such_module" in str(ended.error)


def test_an_exception_that_cannot_be_pickled_is_told(one: ProcessExecutor) -> None:
    def fail() -> None:
        error = ValueError("with a lock")
        error.lock = threading.Lock()  # type: ignore[attr-defined]
        raise error

    error = run(one, fail).error
    assert isinstance(error, TaskFailedError)
    assert "ValueError: with a lock" in str(error)


def test_an_exception_brings_its_traceback(one: ProcessExecutor) -> None:
    def a_telling_name() -> None:
        raise ValueError

    error = run(one, a_telling_name).error
    assert error is not None
    assert "a_telling_name" in "".join(traceback.format_exception(error))


def test_classes_of_the_main_module_come_back_as_themselves() -> None:
    code = """
import threading
from ostinato.context import Ended
from ostinato.executors.processes import ProcessExecutor
class Point: pass
class Wrong(Exception): pass
def ok(): return Ended(value=Point(), started_at=0, finished_at=0)
def bad(): return Ended(error=Wrong("x"), started_at=0, finished_at=0)
executor, ended, told = ProcessExecutor(1), [], threading.Semaphore(0)
for work in (ok, bad):
    executor.submit(work, lambda e: (ended.append(e), told.release()))
told.acquire(); told.acquire()
executor.close()
print(type(ended[0].value) is Point, type(ended[1].error) is Wrong)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=WAIT, check=True)
    assert out.stdout == "True True\n"


def test_notes_arrive_before_the_end_and_in_order(one: ProcessExecutor) -> None:
    def talk() -> bool:
        return all(child.send_note(Note(kind="state", body=("n", n))) for n in range(100)) and child.in_child()

    inbox = Inbox()
    submit(one, talk, inbox)
    assert inbox.get().value is True
    assert [note.body[1] for note in inbox.notes] == list(range(100))
    assert not child.in_child()
    assert not child.send_note(Note(kind="log", body=()))


def test_a_note_that_cannot_be_pickled_fails_the_work(one: ProcessExecutor) -> None:
    error = run(one, lambda: child.send_note(Note(kind="state", body=("x", threading.Lock())))).error
    assert isinstance(error, ResultError)
    assert "state" in str(error)


def test_what_work_prints_does_not_disturb_the_talk(one: ProcessExecutor, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(one, lambda: (print("to stdout"), os.write(1, b"raw\n"))).value == (None, 4)
    assert "to stdout" in capfd.readouterr().out


def test_large_values_pass_both_ways(one: ProcessExecutor) -> None:
    large = os.urandom(20_000_000)
    assert run(one, lambda: large[::-1]).value == large[::-1]
    for size in range(65_400, 65_600, 7):
        assert len(run(one, lambda size=size: b"x" * size).value) == size


def test_a_child_has_the_parents_path_directory_and_environment(
    one: ProcessExecutor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OSTINATO_TEST_VALUE", "here")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["flow.py", "--fast"])
    here = list(sys.path), str(tmp_path), "here", ["flow.py", "--fast"]
    assert run(one, lambda: (sys.path, os.getcwd(), os.environ["OSTINATO_TEST_VALUE"], sys.argv)).value == here  # noqa: PTH109
