"""What the first line costs: imports, ``ostinato --help``, ``python file.py`` until its first task runs.

Whole processes are timed from outside, byte-compiled (a round before the first is not counted); an import's own time,
the modules loaded and the peak of memory are told by the process. The floor is the interpreter doing nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from bench.figure import Figure, Target
from bench.ground import columns

if TYPE_CHECKING:
    from pathlib import Path

    from bench.ground import Database, Ground

TITLE = "(f) Start"
_ROUNDS = 11
_TELL = """
import sys, time
begun = time.perf_counter()
{body}
took, modules = time.perf_counter() - begun, len(sys.modules)
import json
peak = next((int(l.split()[1]) * 1024 / 1e6 for l in open("/proc/self/status") if l.startswith("VmHWM:")), 0)
sys.stderr.write(json.dumps({{"took": took * 1e3, "modules": modules, "peak": peak}}))
"""
_HELP = """
sys.argv = ["ostinato", "--help"]
from ostinato.cli import main
try:
    main()
except SystemExit:
    pass
"""
_FLOW = """
from ostinato import flow, task

@task
def first() -> None:
    import time
    print("first line", time.time())

@flow
def main() -> None:
    first()

if __name__ == "__main__":
    main()
"""


def measure(ground: Ground) -> list[Figure]:
    """Return the figures of this chapter."""
    database, place = ground.sqlite(), ground.place()
    file = place / "file.py"
    file.write_text(_FLOW, encoding="utf-8")
    for _ in range(2):  # makes the bytecode and the database
        _round(ground, database, file)
    got = columns([_round(ground, database, file) for _ in range(ground.rounds(_ROUNDS))])

    def figure(name: str, unit: str, key: str, bound: float | None = None, floor: str = "") -> Figure:
        target = None if bound is None else Target(bound)
        beside = got[floor] if floor else ()
        return Figure(name, unit, got[key], "durable" if key == "first" else "", beside, "python doing nothing", target)

    return [
        figure("`from ostinato import flow, task`, the import itself", "ms", "import", 150),
        figure("the same, whole process", "ms", "import_all", None, "nothing"),
        figure("modules loaded then", "", "import_modules", 300, "nothing_modules"),
        figure("peak memory then", "MB", "import_peak", 40, "nothing_peak"),
        figure("`ostinato --help`, whole process", "ms", "help", 250, "nothing"),
        figure("modules loaded then", "", "help_modules", None, "nothing_modules"),
        figure("peak memory then", "MB", "help_peak", None, "nothing_peak"),
        figure("`python file.py` to the first line of the first task", "ms", "first", 300, "nothing"),
        figure("`python file.py`, whole process", "ms", "first_all", None, "nothing"),
    ]


def _round(ground: Ground, database: Database, file: Path) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, body in (("nothing", "pass"), ("import", "from ostinato import flow, task"), ("help", _HELP)):
        process, _ = _run(ground, database, "-c", _TELL.format(body=body))
        told = json.loads(process.stderr.rpartition("{")[1] + process.stderr.rpartition("{")[2])
        found |= {f"{name}_modules": told["modules"], f"{name}_peak": told["peak"]}
        if name == "import":
            found["import"] = told["took"]
    found["nothing"] = _run(ground, database, "-c", "pass")[1]
    found["import_all"] = _run(ground, database, "-c", "from ostinato import flow, task")[1]
    found["help"] = _run(ground, database, "-m", "ostinato", "--help")[1]
    begun = time.time()
    process, found["first_all"] = _run(ground, database, str(file))
    said = next(line for line in process.stdout.splitlines() if line.startswith("first line"))
    found["first"] = (float(said.split()[-1]) - begun) * 1e3
    return found


def _run(ground: Ground, database: Database, *args: str) -> tuple[subprocess.CompletedProcess[str], float]:
    begun = time.perf_counter()
    process = subprocess.run(
        [sys.executable, *args], check=True, capture_output=True, text=True, cwd=ground.folder,
        env=ground.environment(database),
    )  # fmt: skip
    return process, (time.perf_counter() - begun) * 1e3
