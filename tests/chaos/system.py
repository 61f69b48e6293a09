"""A whole deployment in real processes: a server or two, workers behind a proxy each, a database; and what hurts it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import psutil
from tests.network import Proxy
from tests.process import environment, until

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE = Path(__file__).parent


def free_port() -> int:
    """Find a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Program:
    """One ``ostinato`` command that is started again under the same name after it was killed."""

    def __init__(self, name: str, args: list[str], env: Mapping[str, str], folder: Path) -> None:
        self.name, self.args, self.env, self.folder = name, args, env, folder
        self.process: subprocess.Popen[bytes] | None = None
        self.log = folder / f"{name}.log"
        self.starts = 0

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ostinato", *self.args],
                cwd=self.folder,
                env=dict(self.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.starts += 1

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        """End it as hard as can be, it alone: what it started must see to itself."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
                self.process.kill()
            self.process.wait(30)

    def end(self, seconds: float = 60) -> int:
        """End it in order."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not end within {seconds} s:\n{self.tail()}") from None

    def restart(self) -> None:
        """Kill it and start it again."""
        self.kill()
        self.start()

    def children(self) -> list[psutil.Process]:
        """Return the processes that carry out runs for a worker."""
        with contextlib.suppress(psutil.Error):
            return [
                child
                for child in psutil.Process(self.pid).children(recursive=True)
                if any("ostinato.runtime.host" in word for word in _words(child))
            ]
        return []

    def tail(self, lines: int = 30) -> str:
        """Return the last lines it wrote."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


class System:
    """Servers, workers, and the way between them."""

    def __init__(
        self, folder: Path, database: str, *, servers: int = 1, workers: int = 2, slots: int = 4, pace: float = 0.1
    ) -> None:
        self.folder = folder
        self.ledger = folder / "ledger"
        self.ledger.touch()
        project = folder / "project"
        project.mkdir()
        (project / "flows.py").write_text((HERE / "flows.py").read_text())
        home = folder / "home"
        env = environment(home, OSTINATO_DATABASE=database, CHAOS_LEDGER=str(self.ledger), OSTINATO_SUSPEND_AFTER="0.3")
        env |= {"OSTINATO_DISPLAY": "none", "CHAOS_PACE": str(pace)}
        self.env = env
        self.ports = [free_port() for _ in range(servers)]
        self.servers = [
            Program(f"server{n}", ["server", "--port", str(port)], env, folder) for n, port in enumerate(self.ports)
        ]
        self.proxies = [Proxy(self.ports[n % servers]) for n in range(workers)]
        self.workers = [
            Program(
                f"worker{n}",
                ["worker", "--slots", str(slots), "--project", str(project)],
                env | {"OSTINATO_API": proxy.url, "OSTINATO_RESULTS": str(home / "results")},
                folder,
            )
            for n, proxy in enumerate(self.proxies)
        ]

    def __enter__(self) -> Self:
        self.servers[0].start()
        self.until_ready(0)
        self.cli("deploy", str(self.folder / "project"))
        for program in (*self.servers[1:], *self.workers):
            program.start()
        return self

    def __exit__(self, *_: object) -> None:
        children = [child for worker in self.workers if worker.process for child in worker.children()]
        for program in (*self.workers, *self.servers):
            if program.process is not None:
                program.kill()
        for child in children:
            with contextlib.suppress(psutil.Error):
                child.kill()
        for proxy in self.proxies:
            proxy.__exit__()

    def until_ready(self, number: int, seconds: float = 30) -> None:
        """Wait until a server answers."""
        until(lambda: self.ask("GET", "/api/ready", server=number) is not None, "a server that is ready", seconds)

    def ask(self, method: str, path: str, body: Any = None, *, server: int = 0) -> Any:
        """Ask a server; None if it is away or not well."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.ports[server]}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as reply:
                return json.loads(reply.read() or b"{}")
        except urllib.error.HTTPError as error:
            if error.code >= 500:
                return None
            raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()}") from error
        except (OSError, ValueError):
            return None

    def start(self, deployment: str, key: str, **parameters: Any) -> str:
        """Start a run, with whichever server answers first; the key makes it one run however often it is asked."""
        body = {"deployment": deployment, "parameters": parameters, "key": key}
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            for number in range(len(self.servers)):
                found = self.ask("POST", "/api/runs", body, server=number)
                if found is not None:
                    return str(found["id"])
            time.sleep(0.05)
        raise AssertionError(f"no server took a run for 90 s\n{self.servers[0].tail()}")

    def cli(self, *args: str) -> str:
        """Run a command against the first server."""
        done = subprocess.run(
            [sys.executable, "-m", "ostinato", *args],
            env=self.env | {"OSTINATO_API": f"http://127.0.0.1:{self.ports[0]}"},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"ostinato {' '.join(args)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def logs(self) -> str:
        """Return the last that everybody wrote."""
        return "\n".join(f"--- {each.name}\n{each.tail()}" for each in (*self.servers, *self.workers))


def stop_for(program: Program, seconds: float) -> None:
    """Stop a process, and let it go on after so long."""
    os.kill(program.pid, signal.SIGSTOP)
    time.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.kill(program.pid, signal.SIGCONT)
