"""The lease of a process that is alive but does not get to renew it, and of one that is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.process import environment, run_script, until

from ostinato.records import Worker
from ostinato.runtime.process import is_gone, is_stopped, process_started, this_host
from ostinato.runtime.pulse import start_pulse, stop_pulse
from ostinato.settings import Settings
from ostinato.store.open import open_store

if TYPE_CHECKING:
    from pathlib import Path

HOG = """
import ctypes, time
from ostinato import flow, task

holds_the_lock = ctypes.PyDLL(None).sleep   # a PyDLL keeps the interpreter's lock while it calls

@task
def wait() -> int:
    time.sleep(0.6)
    return 1

@task
def hog() -> int:
    holds_the_lock(3)
    return 2

@flow
def main() -> int:
    return wait() + hog() + wait()

print(main())
"""


def test_run_survives_a_task_that_holds_the_interpreter_for_three_leases(tmp_path: Path) -> None:
    script = tmp_path / "hog.py"
    script.write_text(HOG)
    done = run_script(script, env=environment(tmp_path / "home", OSTINATO_LEASE="1"))
    assert (done.process.returncode, done.out.strip()) == (0, "4"), done.err


def _worker(settings: Settings) -> Worker:
    return Worker(id="w", kind="script", host="h", pid=1, pid_started="", version="", started_at=0, expires_at=0)


def test_pulse_renews_until_it_is_ended(tmp_path: Path) -> None:
    settings = Settings(home=str(tmp_path), lease=0.4)
    store = open_store(settings.database_url, lease=settings.lease)
    store.register(_worker(settings))
    first = store.list_workers()[0].expires_at
    pulse = start_pulse(settings, "w")
    assert pulse is not None
    try:
        until(lambda: store.list_workers()[0].expires_at > first + 800_000, "two renewals")
    finally:
        stop_pulse(pulse)
    assert pulse.returncode is not None
    store.close()


def test_pulse_ends_with_the_process_it_speaks_for(tmp_path: Path) -> None:
    code = (
        "import sys, os\n"
        "from ostinato.runtime.pulse import start_pulse\n"
        "from ostinato.settings import Settings\n"
        f"print(start_pulse(Settings(home={str(tmp_path)!r}), 'w').pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    env = environment(tmp_path)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    pid = int(done.stdout)

    def is_gone() -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return False

    until(is_gone, "the pulse to end")


def test_a_stopped_process_is_seen_to_be_stopped() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert not is_stopped(process.pid)
        process.send_signal(signal.SIGSTOP)
        until(lambda: is_stopped(process.pid), "the stop")
        process.send_signal(signal.SIGCONT)
        until(lambda: not is_stopped(process.pid), "the start")
        process.kill()


def test_a_process_that_nobody_has_buried_is_gone() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        worker = Worker(
            id="w", kind="script", host=this_host(), pid=process.pid, pid_started=process_started(process.pid),
            version="", started_at=0, expires_at=0,
        )  # fmt: skip
        assert not is_gone(worker)
        process.kill()
        until(lambda: is_gone(worker), "the end, before it is waited for")
        assert process.returncode is None
