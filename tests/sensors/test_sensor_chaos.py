"""Sensors and consumers while the server, the worker and the processes of looks are killed at random moments."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from tests.chaos.system import Program, free_port
from tests.process import environment, until

from ostinato.records import Event, RunFilter
from ostinato.schedules import On, kind_of, to_spec
from ostinato.states import State
from ostinato.timing import Schedule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.sensors.conftest import System

_SECONDS = 12.0


@pytest.fixture
def programs(either_system: System) -> Iterator[list[Program]]:
    """Two servers and a worker of the first, each a process."""
    bench = either_system.bench
    database = either_system.direct.database
    env = environment(bench.folder / "home", LEDGER=str(bench.ledger), OSTINATO_DISPLAY="none", OSTINATO_LEASE="2")
    env |= {"OSTINATO_DATABASE": database} if database else {}
    ports = [free_port(), free_port()]
    servers = [
        Program(f"server{n}", ["server", "--port", str(port)], env, bench.folder) for n, port in enumerate(ports)
    ]
    reached = env | {
        "OSTINATO_API": f"http://127.0.0.1:{ports[0]}",
        "OSTINATO_RESULTS": str(bench.folder / "home/results"),
    }
    reached.pop("OSTINATO_DATABASE", None)
    worker = Program("worker", ["worker", "--slots", "3", "--project", str(bench.project)], reached, bench.folder)
    made = [*servers, worker]
    for program in made:
        program.start()
    try:
        yield made
    finally:
        for program in reversed(made):
            program.kill()


@pytest.mark.parametrize("seed", [1, 2])
def test_each_is_requested_once_and_the_cursor_is_never_ahead(
    either_system: System, programs: list[Program], seed: int
) -> None:
    system, chance = either_system, random.Random(seed)
    when = On("landed", policy="each")
    system.deploy("counts", "counts_without_keys")
    system.store.put_schedule(Schedule(name="landed", deployment="load", kind=kind_of(when), spec=to_spec(when)))
    newest, emitted, kills = 0, 0, Counter[str]()
    ends = time.monotonic() + _SECONDS
    kill_at = time.monotonic() + 2
    while time.monotonic() < ends:
        newest += chance.randint(1, 3)
        system.say("numbers", "".join(f"{n}\n" for n in range(1, newest + 1)))
        at = system.store.now()
        system.store.emit([Event(at=at, kind="landed", run_id="", data="{}", key="")])
        emitted += 1
        _check(system)
        if time.monotonic() > kill_at:
            victim = chance.choice([*programs, None])
            if victim is None:
                for process in programs[2].children():
                    process.kill()
            else:
                victim.restart()
            kills[victim.name if victim else "looks"] += 1
            kill_at = time.monotonic() + chance.uniform(0.3, 1.5)
        time.sleep(0.05)  # the pace of what is new, nothing that is waited for
    for program in programs:
        assert program.process is not None
        if program.process.poll() is not None:
            program.start()
    for name in ("counts", "counts_without_keys"):
        until(
            lambda name=name: system.schedule(name).cursor == str(newest),  # type: ignore[misc]
            lambda name=name: f"{newest} by {system.schedule(name)} {kills} {_told(system, programs)}",  # type: ignore[misc]
            60,
        )
    until(lambda: len(_of(system, "landed")) >= emitted, lambda: f"{emitted} runs; {_told(system, programs)}", 60)
    assert len(_of(system, "landed")) == emitted
    for name in ("counts", "counts_without_keys"):
        assert sorted(_of(system, name)) == list(range(1, newest + 1)), kills


def _told(system: System, programs: list[Program]) -> str:
    """What is known of a system that does not come to rest."""
    runs = system.store.list_runs(RunFilter(looks=True, states=[State.QUEUED, State.RUNNING], limit=10))
    logs = "\n".join(f"{program.name}:\n{program.tail(8)}" for program in programs)
    return f"{runs}\n{system.store.list_workers()}\n{logs}"


def _of(system: System, schedule: str) -> list[int]:
    """The numbers that a schedule has started runs for."""
    runs = [run for run in system.runs("load") if system.trigger(run).get("schedule") == schedule]
    return [system.parameters(run).get("n", 0) for run in runs]


def _check(system: System) -> None:
    """The cursor is read first: what it has passed over must have its run by then."""
    for name in ("counts", "counts_without_keys"):
        cursor = json.loads(system.schedule(name).cursor or "0")
        started = Counter(_of(system, name))
        assert set(range(1, cursor + 1)) <= set(started), (name, cursor)
        assert max(started.values(), default=1) == 1, (name, started)


def test_a_process_that_stops_and_comes_back_late_reports_nothing(system: System) -> None:
    """A look that was stopped past its lease is looked at again elsewhere; what it says then is refused."""
    import os
    import signal

    from ostinato.launchers.tree import marked

    system.direct = type(system.direct)(**{**_fields(system.direct), "lease": 1.0})
    system.deploy("waits_to_be_let_go")
    system.serve()
    first = system.bench.work_apart()
    system.bench.begun("looks None")
    ours = [pid for pid in marked(str(system.bench.ledger), variable="LEDGER") if pid != os.getpid()]
    for pid in ours:
        os.kill(pid, signal.SIGSTOP)
    try:
        system.bench.work()
        system.bench.begun("looks None", 2)
        (run,) = system.runs("waits_to_be_let_go")
        assert run.epoch >= 2
        system.say("go", "")
        until(lambda: system.schedule("waits_to_be_let_go").cursor, "the second's report")
    finally:
        for pid in ours:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                continue
    until(lambda: len(system.runs("load")) >= 2, "looks that go on")
    looks = [system.trigger(run)["look"] for run in system.runs("load")]
    assert len(looks) == len(set(looks)), "no look has started two runs"
    assert first.poll() is None or first.returncode is not None


def _fields(settings: object) -> dict[str, object]:
    return {name: getattr(settings, name) for name in settings.__struct_fields__}  # type: ignore[attr-defined]
