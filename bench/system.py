"""A server, a worker and a deployed project, in processes of their own, to be measured from outside."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from pathlib import Path

    from bench.ground import Database, Ground

_PATIENCE = 60.0

PROJECT = '''
import os, time
from ostinato import flow, task

def tell(path: str, *words) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, (" ".join(map(str, words)) + "\\n").encode())
    os.close(fd)

@task
def nothing(number: int) -> int:
    return number

@task
def first(path: str, number: int) -> int:
    tell(path, number, time.time())
    return number

@flow
def one(path: str = "", number: int = 0) -> int:
    """One task; says when its first line ran, and when its task did."""
    if path:
        tell(path, number, time.time())
    return nothing(number)

@flow
def chain(count: int) -> float:
    begun = time.perf_counter()
    for number in range(count):
        nothing(number)
    return time.perf_counter() - begun

@task
def fibo(n: int) -> int:
    return n if n < 2 else fibo.fn(n - 1) + fibo.fn(n - 2)

@task
def fibo_after(n: int, number: int, before: int) -> int:
    return fibo.fn(n)

@flow
def fibonacci(path: str, number: int) -> float:
    begun = time.perf_counter()
    value = 0
    for place in range(40):
        value = fibo_after(10, place, value)
    tell(path, number, time.time())
    return time.perf_counter() - begun

@task
def slow_step(path: str, number: int, seconds: float) -> int:
    time.sleep(seconds)
    tell(path, number, time.time())
    return number

@flow
def slow(path: str, count: int = 200, seconds: float = 0.05) -> int:
    for number in range(count):
        slow_step(path, number, seconds)
    return count
'''


class Program:
    """An ``ostinato`` command that runs."""

    def __init__(self, ground: Ground, folder: Path, database: Database | None, *args: str, **more: str) -> None:
        self.log = folder / f"{args[0]}-{time.monotonic_ns()}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ostinato", *args], cwd=folder, env=ground.environment(database, **more),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def end(self) -> None:
        """End it in order; else at once."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
        self.kill()

    def kill(self) -> None:
        """Kill it."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait(20)


class System:
    """One server with its worker, and a client that keeps its connection."""

    def __init__(self, ground: Ground, database: Database, *, slots: int = 4, workers: int = 1, **more: str) -> None:
        self.ground, self.database, self.slots, self.count, self.more = ground, database, slots, workers, more
        self.folder = ground.place()
        self.project = self.folder / "project"
        self.project.mkdir()
        (self.project / "flows.py").write_text(PROJECT, encoding="utf-8")
        self.ledger = self.folder / "ledger"
        self.ledger.touch()
        self.port = free_port()
        self.client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_PATIENCE)
        self.workers: list[Program] = []

    def __enter__(self) -> Self:
        home = {"OSTINATO_HOME": str(self.folder / "home"), **self.more}
        self.server = Program(self.ground, self.folder, self.database, "server", "--port", str(self.port), **home)
        self.until(self.is_ready, "the server to answer")
        remote = home | {
            "OSTINATO_API": f"http://127.0.0.1:{self.port}",
            "OSTINATO_RESULTS": f"{home['OSTINATO_HOME']}/r",
        }
        deploy = Program(self.ground, self.folder, None, "deploy", str(self.project), **remote)
        if deploy.process.wait(60):
            raise RuntimeError(f"The project was not deployed: {deploy.log.read_text()}")
        args = ("worker", "--slots", str(self.slots), "--project", str(self.project))
        self.workers += [Program(self.ground, self.folder, None, *args, **remote) for _ in range(self.count)]
        self.until(lambda: len(self.ask("GET", "/api/workers")) >= self.count, "the workers to register")
        return self

    def __exit__(self, *_: object) -> None:
        for program in (*self.workers, self.server):
            program.end()
        self.client.close()

    def is_ready(self) -> bool:
        """Tell whether the server answers."""
        try:
            self.ask("GET", "/api/ready")
        except (OSError, http.client.HTTPException, RuntimeError):
            self.client.close()
            return False
        return True

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Make a request and return the answer."""
        data = None if body is None else json.dumps(body)
        self.client.request(method, path, data, {"Content-Type": "application/json"} if data else {})
        reply = self.client.getresponse()
        text = reply.read()
        if reply.status >= 400:
            raise RuntimeError(f"{method} {path}: {reply.status} {text[:500]!r}")
        return json.loads(text) if text else None

    def start(self, deployment: str, **parameters: Any) -> str:
        """Ask for a run."""
        return str(self.ask("POST", "/api/runs", {"deployment": deployment, "parameters": parameters})["id"])

    def finish(self, run_id: str) -> Any:
        """Wait for a run's end and return its result."""

        def ended() -> Any:
            found = self.ask("GET", f"/api/runs/{run_id}")
            return found if found["finished_at"] is not None else None

        run = self.until(ended, f"run {run_id} to end")
        if run["state"] != "succeeded":
            raise RuntimeError(f"Run {run_id} is {run['state']}: {run['error']}")
        return run["result"]

    def told(self) -> dict[int, float]:
        """Return what flows told: by number, the first instant."""
        found: dict[int, float] = {}
        for line in self.ledger.read_text().splitlines():
            number, at = line.split()
            found.setdefault(int(number), float(at))
        return found

    def until(self, condition: Any, what: str, seconds: float = _PATIENCE, pause: float = 0.002) -> Any:
        """Wait until a condition holds, looking often: every `pause` seconds."""
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            if time.monotonic() > deadline:
                logs = "\n".join(log.read_text()[-2000:] for log in self.folder.glob("*.log"))
                raise RuntimeError(f"Waited {seconds:.0f} s in vain for {what}.\n{logs}")
            time.sleep(pause)
        return found


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
