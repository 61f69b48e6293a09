"""What it costs to have it: `ostinato dev` started, doing nothing, and a worker that dies.

The demo's project is served on a fresh database. Memory is the proportional share (PSS) of all its processes, the CPU
theirs over the minute, and queries are counted by PostgreSQL's own log of statements.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.figure import Figure, Target
from bench.system import Program, System, free_port

if TYPE_CHECKING:
    from bench.ground import Database, Ground

TITLE = "(j) Idle, start and recovery"
_OURS = "BEGIN|COMMIT|ROLLBACK|SET|ALTER SYSTEM|SELECT pg_reload"
_STATEMENT = re.compile(rf"LOG:  (?:statement|execute [^:]*): (?!{_OURS})")
_FLIGHTS = Path(__file__).resolve().parent.parent / "examples" / "flights"


def measure(ground: Ground) -> list[Figure]:
    """Return the figures of this chapter."""
    figures = []
    starts = [_start(ground, ground.sqlite()) for _ in range(ground.rounds(5) + 1)][1:]
    figures.append(Figure("`ostinato dev` to its page answering", "ms", tuple(starts), "durable", target=Target(1500)))
    for database in ground.databases():
        figures += _idle(ground, database)
        figures += _recovery(ground, database)
    return figures


def _dev(ground: Ground, database: Database) -> tuple[Program, int]:
    port = free_port()
    home = str(ground.place())
    return Program(
        ground, ground.place(), database, "dev", str(_FLIGHTS), "--port", str(port), OSTINATO_HOME=home
    ), port


def _start(ground: Ground, database: Database) -> float:
    begun = time.perf_counter()
    dev, port = _dev(ground, database)
    try:
        while not _answers(port):
            if time.perf_counter() - begun > 60:
                raise RuntimeError(f"`ostinato dev` does not answer: {dev.log.read_text()}")
            time.sleep(0.005)
        return (time.perf_counter() - begun) * 1e3
    finally:
        dev.end()


def _answers(port: int) -> bool:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(client):
        client.request("GET", "/")
        return client.getresponse().status == 200
    return False


def _idle(ground: Ground, database: Database) -> list[Figure]:
    import psutil  # comes with what is measured

    seconds = ground.size(60, 15)
    dev, port = _dev(ground, database)
    try:
        while not _answers(port):
            time.sleep(0.05)
        time.sleep(5)  # it settles: the project is imported, processes are warm
        tree = [psutil.Process(dev.process.pid), *psutil.Process(dev.process.pid).children(recursive=True)]
        before = sum(sum(each.cpu_times()[:2]) for each in tree)
        queries = _queries(ground) if database.kind == "PostgreSQL" else 0
        time.sleep(seconds)
        used = sum(sum(each.cpu_times()[:2]) for each in tree if each.is_running()) - before
        memory = sum(each.memory_full_info().pss for each in tree if each.is_running())
        asked = _queries(ground) - queries if database.kind == "PostgreSQL" else 0
    finally:
        dev.end()
    name = f"{database.kind}: idle `ostinato dev` with the demo"
    figures = [
        Figure(f"{name}: memory, all {len(tree)} processes", "MB", (memory / 1e6,), "", target=Target(200)),
        Figure(f"{name}: CPU", "%", (used / seconds * 100,), "", target=Target(1)),
    ]
    if database.kind == "PostgreSQL":
        figures.append(Figure(f"{name}: queries a minute", "", (asked * 60 / seconds,), "", target=Target(60)))
    return figures


def _queries(ground: Ground) -> int:
    """Count the statements that PostgreSQL has logged; those that only open and close transactions left out."""
    assert ground.server is not None
    ground.server.execute("ALTER SYSTEM SET log_statement = 'all'")
    ground.server.execute("SELECT pg_reload_conf()")
    time.sleep(0.2)
    text = (ground.server.home / "log").read_text(errors="replace")
    return len(_STATEMENT.findall(text))


def _recovery(ground: Ground, database: Database) -> list[Figure]:
    """Kill a worker whose runs are under way; see after how long they go on with the other one."""
    found = []
    for _ in range(ground.rounds(3)):
        with System(ground, database, workers=2, slots=2) as system:
            run_id = system.start("slow", path=str(system.ledger), count=400, seconds=0.02)
            system.until(lambda system=system: len(system.told()) > 10, "the run to be under way")
            holder = system.ask("GET", f"/api/runs/{run_id}")["worker_id"]
            held = next(worker["pid"] for worker in system.ask("GET", "/api/workers") if worker["id"] == holder)
            victim = next(worker for worker in system.workers if worker.process.pid == held)
            victim.kill()
            killed = time.time()
            system.until(lambda system=system, at=killed: max(system.told().values()) > at + 0.5, "it to go on")
            found.append(min(at for at in system.told().values() if at > killed + 0.1) - killed)
    return [
        Figure(
            f"{database.kind}: a worker killed, its run going on elsewhere",
            "s",
            tuple(found),
            "durable",
            target=Target(10),
        )
    ]
