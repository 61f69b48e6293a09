"""``ostinato dev``: server, worker and project in one command, reloaded on save.

```
main thread    watches the files: deploys what was saved, has the worker import it anew; hears Ctrl-C
server thread  the server, as `ostinato server` runs it
worker thread  a worker of that server, for the pools of the project; runs have processes of their own
```

One process for the three saves an interpreter's memory, and dies whole: run processes end when their worker does, and
the next `ostinato dev` goes on with their runs.
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Parameter

from ostinato.authoring.project import find_project
from ostinato.authoring.scan import Scanner
from ostinato.authoring.watching import Watcher
from ostinato.cli.deploy import problems
from ostinato.cli.lines import speak
from ostinato.errors import OstinatoError, UsageError
from ostinato.runtime.deploying import Report
from ostinato.runtime.deploying import deploy as deploy_project
from ostinato.runtime.timetable import next_of
from ostinato.runtime.worker import Worker, WorkerPlan
from ostinato.server.accounts import PREFIX
from ostinato.server.serving import HOST, PORT, Serving
from ostinato.settings import Settings, load_settings
from ostinato.timing import ScheduleFilter

if TYPE_CHECKING:
    from collections.abc import Callable

    from ostinato.authoring.project import ProjectFolder

Path = Annotated[
    str | None, Parameter(name="PATH", help="The project's folder, or a file; by default the nearest project.")
]
OnPort = Annotated[int, Parameter(name="--port", help="The port, 4600 by default; 0 for any that is free.")]
Slots = Annotated[int, Parameter(name="--slots", help="How many runs at once; by default two to a processor.")]
Pools = Annotated[
    list[str] | None,
    Parameter(
        name="--pool", negative=(), help="A work pool to serve; repeatable. By default those that flows and tasks name."
    ),
]
_SHOWN = 5
"""So many runs that schedules will start are told."""
_GRACE = 2.0
"""Seconds that runs have to end at Ctrl-C; those that have not go on with the next start."""


def dev(path: Path = None, /, *, port: OnPort = PORT, slots: Slots = 0, pool: Pools = None) -> int:
    """Run a server, a worker and a project in one command; what is saved is loaded at once. Ctrl-C ends all.

    Runs that are under way then, or when it is killed, go on when it is started again.
    """
    settings = load_settings()
    if settings.api:
        raise UsageError(
            "`ostinato dev` runs its own server, but OSTINATO_API names another. Unset it, or use `ostinato worker`."
        )
    speak(settings)
    with closing(Scanner()) as scanner:
        scanner.prepare()
        folder = find_project(path)
        return Dev(settings, folder, path or folder.root, scanner, port=port).run(slots=slots, pools=pool)


class Dev:
    """The server, the worker and the project, from start to end."""

    def __init__(self, settings: Settings, folder: ProjectFolder, path: str, scanner: Scanner, *, port: int) -> None:
        self._settings, self._folder, self._path, self._scanner = settings, folder, path, scanner
        self._serving = Serving(settings, host=HOST, port=port)
        # its worker shows a token from the start: the first user that is made closes the server
        self._serving.served.own_token = PREFIX + secrets.token_urlsafe(32)
        self._watcher = Watcher(folder.root)
        self._worker: Worker | None = None
        self._failure: BaseException | None = None
        self._ending = False
        self._told = dict[str, str]()

    def run(self, *, slots: int, pools: list[str] | None) -> int:
        """Run until Ctrl-C."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._end())
        answering = threading.Event()
        server = self._thread("server", lambda: self._serving.run(lambda _: answering.set()))
        while not answering.wait(0.05) and server.is_alive():
            pass
        try:
            if not self._ending:
                self._say(f"Ostinato on {self._serving.url}. Ctrl-C ends it.")
                report = self._deploy()
                worker = self._start_worker(slots, pools or _pools_of(self._folder, report))
                self._watch(report)
                self._stop_worker(worker)
        finally:
            self._serving.stop()
            server.join()
        if self._failure is not None:
            raise self._failure
        self._say("Ended in order.")
        return 0

    def _end(self) -> None:
        if self._ending and self._worker is not None:
            self._worker.stop()  # a second Ctrl-C does not wait for runs
        self._ending = True
        self._watcher.stop()

    def _thread(self, name: str, work: Callable[[], None]) -> threading.Thread:
        """Run a part of it; one that fails ends the others."""

        def carry() -> None:
            try:
                work()
            except BaseException as error:  # the main thread raises it
                self._failure = error
            self._ending = True
            self._watcher.stop()

        thread = threading.Thread(target=carry, name=f"ostinato-{name}")
        thread.start()
        return thread

    # --- the project

    def _deploy(self) -> Report | None:
        """Store what the project holds now, and tell what is new."""
        served = self._serving.served
        try:
            report = deploy_project(served.store, served.results, self._path, bundle=False, scanner=self._scanner)
        except OstinatoError as error:
            self._say(f"✗ {error}")
            return None
        served.changed()
        self._scanner.prepare()
        if report.errors != self._told:
            for line in problems(report, self._told):
                self._say(line)
            for file in self._told.keys() - report.errors.keys():
                self._say(f"✓ {os.path.relpath(file, self._folder.root)} can be imported again.")
        self._told = dict(report.errors)
        return report

    def _watch(self, report: Report | None) -> None:
        """Tell what there is, then wait for saves until the end."""
        if report is not None:
            self._introduce(report)
        while not self._ending:
            changed = self._watcher.wait()
            if not changed or self._ending:
                continue
            began = time.monotonic()
            if self._worker is not None:
                self._worker.reload()
            found = self._deploy()
            if found is not None:
                self._tell_reload(changed, found, time.monotonic() - began)

    def _introduce(self, report: Report) -> None:
        flows = [deployed for deployed in report.deployed if deployed.kind == "flow"]
        names = [deployed.name for deployed in flows]
        count = "no flow yet" if not names else "1 flow" if len(names) == 1 else f"{len(names)} flows"
        self._say(f"Project {report.project.name} in {report.project.root}: {count}.")
        for deployed in flows:
            target = os.path.relpath(deployed.target, report.project.root)
            self._say(f"  {deployed.name:<24} pool {deployed.pool:<12} {target}")
        sensors = [deployed.name for deployed in report.deployed if deployed.kind == "sensor"]
        if sensors:
            self._say(f"Sensors: {', '.join(sensors)}.")
        for line in self._next_runs():
            self._say(line)
        if names:
            self._say(f"Start one: ostinato start {names[0]}")

    def _next_runs(self) -> list[str]:
        """Tell what the project's schedules will start first."""
        store, now = self._serving.store, self._serving.store.now()
        rows = store.list_schedules(ScheduleFilter(kinds=["time"], project=self._folder.name))
        coming = [item for row in rows if not row.paused and (item := next_of(row, now)) is not None]
        coming.sort(key=lambda item: item[1].starts_at)
        left = len(coming) - _SHOWN
        more = [f"  … and {left} more: ostinato schedules list"] if left > 0 else []
        return [*(f"  {item.local:<26} {name} (by its schedule)" for name, item in coming[:_SHOWN]), *more]

    def _tell_reload(self, changed: set[str], report: Report, seconds: float) -> None:
        files = ", ".join(sorted({os.path.relpath(file, self._folder.root) for file in changed} - set(report.errors)))
        news = [
            f"{verb} {', '.join(names)}"
            for verb, names in (("new:", report.added), ("changed:", report.changed), ("gone:", report.removed))
            if names
        ]
        if files:  # of those that cannot be loaded it is said what is wrong
            self._say(f"{files} saved, loaded in {seconds:.1f} s{'; ' + '; '.join(news) if news else ''}.")
        if self._worker is not None:
            unserved = set(_pools_of(self._folder, report)) - set(self._worker.plan.pools)
            for pool in sorted(unserved):
                self._say(f"Pool {pool} is not served: start this again, or `ostinato worker --pool {pool}`.")

    def _say(self, line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    # --- the worker

    def _start_worker(self, slots: int, pools: list[str]) -> threading.Thread:
        serving = self._serving
        settings = msgspec.structs.replace(self._settings, api=serving.url, token=serving.served.own_token)
        plan = WorkerPlan(
            settings=settings, pools=pools, slots=slots, roots=[self._path], grace=_GRACE, tells_broken=False
        )
        self._worker = Worker(plan)
        return self._thread("worker", self._worker.run)

    def _stop_worker(self, thread: threading.Thread) -> None:
        assert self._worker is not None
        if thread.is_alive():
            if self._worker.capacity.count:
                self._say(f"Waiting {_GRACE:.0f} s for what runs; what has not ended then goes on with the next start.")
            self._worker.stop()
        thread.join()


def _pools_of(folder: ProjectFolder, report: Report | None) -> list[str]:
    """Return the pools that the project's flows and tasks name, its own first."""
    named = [] if report is None else [*(deployed.pool for deployed in report.deployed), *report.pools]
    return list(dict.fromkeys([folder.pool, *named]))
