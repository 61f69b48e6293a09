"""Taking up a run with 100,000 finished task runs: how long until a task that is new runs its first line.

The run is made once and its process killed (SIGKILL); every round takes up a copy of the database. Timed from
`ostinato.runtime.operations.resume` to the first line inside one process, and from the start of
``python -m ostinato runs resume ID`` to the first line. The floor is the store's bare `load` of the rows.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.figure import Figure, Target
from bench.ground import Database, answer

from ostinato import flow, task

if TYPE_CHECKING:
    from bench.ground import Ground

TITLE = "(e) Resume of a run with 100,000 finished task runs"
_DIES, _MARK = "BENCH_DIES", "BENCH_MARK"


@task
def nothing(number: int) -> int:
    """Do nothing."""
    return number


@task
def first_line() -> None:
    """Write down when this began."""
    Path(os.environ[_MARK]).write_text(str(time.time()), encoding="utf-8")


def go_on() -> None:
    """Be killed, or run the new task, whichever pass this is."""
    if os.environ.get(_DIES):
        os.kill(os.getpid(), signal.SIGKILL)
    first_line()


@flow
def after_map(count: int) -> None:
    """Map, then run what is new."""
    nothing.map(range(count)).wait()
    go_on()


@flow
def after_loop(count: int) -> None:
    """Call one by one, then run what is new."""
    for number in range(count):
        nothing(number)
    go_on()


def measure(ground: Ground) -> list[Figure]:
    """Return the figures of this chapter."""
    count = ground.size(100_000, 10_000)
    figures = []
    for name, title in (("after_map", "finished by a map"), ("after_loop", "finished by calls one by one")):
        made = ground.sqlite("crash-safe")  # only to make it sooner
        _fill(ground, made, name, count)
        figures += _taken_up(ground, f"SQLite: {count:,} {title}", lambda made=made: _copy_sqlite(ground, made))
    made_there = ground.postgres()
    if made_there is not None:
        _fill(ground, made_there, "after_map", count)
        template = made_there.url.partition("?")[0].rpartition("/")[2]

        def copy() -> Database:
            found = ground.postgres(template)
            assert found is not None
            return found

        figures += _taken_up(ground, f"PostgreSQL: {count:,} finished by a map", copy)
    return figures


def _fill(ground: Ground, database: Database, name: str, count: int) -> None:
    process = ground.spawn("resume", "fill", name, count, database=database, **{_DIES: "1"})
    process.communicate()
    if process.returncode != -signal.SIGKILL:
        raise RuntimeError(f"The run that was to be interrupted ended with {process.returncode}.")


def _copy_sqlite(ground: Ground, made: Database) -> Database:
    place = ground.place()
    for file in Path(made.url.removeprefix("sqlite:///")).parent.iterdir():
        shutil.copy(file, place)
    return Database("SQLite", f"sqlite:///{place / 'bench.db'}", "durable")


def _taken_up(ground: Ground, name: str, copy: object) -> list[Figure]:
    assert callable(copy)
    inside, outside, loads = [], [], []
    for _ in range(ground.rounds(3)):
        mark = ground.place() / "mark"
        got = ground.child("resume", "inside", database=copy(), **{_MARK: str(mark)})
        inside.append(float(mark.read_text(encoding="utf-8")) - got["begun"])
        loads.append(got["load"])
        mark.unlink()
        begun = time.time()
        subprocess.run(
            [sys.executable, "-m", "ostinato", "runs", "resume", "latest", "--quiet"],
            env=ground.environment(copy(), **{_MARK: str(mark)}, PYTHONPATH=_path()), cwd=ground.folder, check=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        outside.append(float(mark.read_text(encoding="utf-8")) - begun)
    return [
        Figure(f"{name}, to new work", "s", tuple(inside), "durable", tuple(loads), "load of its rows", Target(2)),
        Figure(f"{name}, `ostinato runs resume` to new work", "s", tuple(outside), "durable"),
    ]


def _path() -> str:
    root = str(Path(__file__).resolve().parent.parent)
    return os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))


def take_up() -> None:
    """Take up the newest run, in a child process, and say when that began."""
    from ostinato.records import RunFilter
    from ostinato.runtime import operations
    from ostinato.settings import load_settings
    from ostinato.store.open import open_store

    settings = load_settings()
    store = open_store(settings.database_url)
    run = store.list_runs(RunFilter(limit=1))[0]
    before = time.perf_counter()
    for _ in store.load(run.id):
        pass
    load = time.perf_counter() - before
    store.close()
    begun = time.time()
    operations.resume(run.id, settings)
    answer({"begun": begun, "load": load})


if __name__ == "__main__":
    if sys.argv[1] == "fill":
        {"after_map": after_map, "after_loop": after_loop}[sys.argv[2]](int(sys.argv[3]))
    else:
        take_up()
