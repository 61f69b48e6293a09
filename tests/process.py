"""Real processes for the tests: started, waited for by what they write, killed, stopped, continued.

Nothing here sleeps for a time that stands for something else: `until` looks again and again, up to a deadline.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SOURCE = Path(__file__).parent.parent / "src"
WAIT = 30.0


def until(condition: Callable[[], Any], what: str | Callable[[], str] = "", seconds: float = WAIT) -> Any:
    """Wait until a condition holds, and return what it gave; `what` says for what it was, told or made then."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            waited_for = what() if callable(what) else what or condition
            raise AssertionError(f"waited {seconds} s in vain for {waited_for}")
        time.sleep(0.001)
    return found


class Ledger:
    """Effects outside of any store: a line each, appended in one write, safe between processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def lines(self, after: int = 0) -> list[str]:
        return [line for line in self.path.read_text().splitlines() if line][after:]

    def __len__(self) -> int:
        return self.path.read_bytes().count(b"\n")


def write_line(path: str | Path, line: str) -> None:
    """Append a line to a ledger."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(fd, f"{line}\n".encode())
    finally:
        os.close(fd)


def environment(home: Path, **more: str) -> dict[str, str]:
    """The environment of a script whose home is a temporary one."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OSTINATO_")}
    return (
        kept
        | {
            "PYTHONPATH": os.pathsep.join([str(SOURCE), str(SOURCE.parent)]),
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "OSTINATO_HOME": str(home),
            "OSTINATO_DISPLAY": "plain",
        }
        | more
    )


class Script:
    """A Python script that runs."""

    def __init__(self, path: Path, *args: str, env: Mapping[str, str], **options: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(path), *args],
            env=dict(env),
            cwd=path.parent,
            text=True,
            errors="replace",
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )
        self.out = self.err = ""

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> bool:
        """Kill it with SIGKILL, its children too; tell whether it was still running."""
        alive = self.process.poll() is None
        if alive:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.wait()
        return alive

    def wait(self, seconds: float = WAIT) -> int:
        """Wait for its end; return its exit code."""
        try:
            self.out, self.err = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGCONT)
            os.killpg(self.process.pid, signal.SIGKILL)
            self.out, self.err = self.process.communicate()
            raise AssertionError(f"did not end within {seconds} s\n{self.out}\n{self.err}") from None
        return self.process.returncode

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def __del__(self) -> None:
        """End with the test that left it: else the next one would be blamed for its process and its pipes."""
        process = getattr(self, "process", None)
        if process is not None and process.returncode is None:
            self.kill()


def run_script(path: Path, *args: str, env: Mapping[str, str], seconds: float = WAIT) -> Script:
    """Run a script to its end."""
    script = Script(path, *args, env=env)
    script.wait(seconds)
    return script
