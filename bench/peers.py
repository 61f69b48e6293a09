"""The same chain and the same fan-out on other orchestrators, in the same run, where they are installed.

``OSTINATO_BENCH_PEERS=prefect,dagster=PYTHON,…``: names, each with the interpreter that has it (this one by default).
There are ``prefect``, ``dagster``, ``airflow`` and ``dbos``; one that cannot be imported is skipped. Each peer's file
in ``bench/peers/`` runs in that interpreter, in a home of its own, with telemetry off, and keeps its rows in SQLite;
a peer that is quicker with its server has one on loopback. Times are taken around the tasks, not the start.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from bench.chain import chain
from bench.fanout import gathered, submitted
from bench.figure import Figure, Target
from bench.ground import ROOT, answer, columns, read_answer

if TYPE_CHECKING:
    from bench.ground import Ground

TITLE = "(h) Peers: a chain of 100, a fan-out of 1,000"
_CHAIN, _FAN = 100, 1_000
_COUNTED = ("prefect", "dagster", "airflow")
"""Those of the target; the others are shown beside them."""
_SILENT = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "ERROR",
    "PREFECT_CLI_COLORS": "false",
    "DAGSTER_DISABLE_TELEMETRY": "1",
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "false",
    "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
    "SCARF_NO_ANALYTICS": "true",
    "DO_NOT_TRACK": "1",
}


def measure(ground: Ground) -> list[Figure]:
    """Return the figures of this chapter; none when no peer is named."""
    named = dict(_named(item) for item in os.environ.get("OSTINATO_BENCH_PEERS", "").split(",") if item.strip())
    found: dict[str, dict[str, Any]] = {}
    before = _own(ground)
    for name, python in named.items():
        told = _ask(ground, name, python)
        if told is not None:
            found[name] = told
    if not found:
        print("  no peer: name some in OSTINATO_BENCH_PEERS")
        return []
    own = {name: values + after for (name, values), after in zip(before.items(), _own(ground).values(), strict=True)}
    return [*_figures("chain of 100, a task", "chain", own, found), *_figures("fan-out of 1,000", "fan", own, found)]


def _figures(title: str, key: str, own: Any, found: dict[str, dict[str, Any]]) -> list[Figure]:
    unit = "µs" if key == "chain" else "/s"

    def scaled(seconds: Any) -> tuple[float, ...]:
        return tuple(s / _CHAIN * 1e6 if key == "chain" else _FAN / s for s in seconds)

    mine = scaled(own[key])
    figures = [Figure(f"{title}: Ostinato", unit, mine, "durable")]
    figures += [Figure(f"{title}: {told['version']}", unit, scaled(told[key])) for told in found.values()]
    figures += [
        Figure(f"{title}: {told['version']}, until it is recorded", unit, scaled(told[f"{key}_kept"]))
        for told in found.values()
        if f"{key}_kept" in told
    ]
    ours = statistics.median(mine)
    for name, told in found.items():
        for part, note in ((key, ""), (f"{key}_kept", ", until it is recorded")):
            if part not in told:
                continue
            theirs = statistics.median(scaled(told[part]))
            times = theirs / ours if key == "chain" else ours / theirs
            target = Target(50, "≥") if name in _COUNTED and not note else None
            figures.append(
                Figure(f"{title}: Ostinato against {told['version']}{note}, quicker", "times", (times,), target=target)
            )
    return figures


def _named(item: str) -> tuple[str, str]:
    name, _, python = item.strip().partition("=")
    return name, python or sys.executable


def _own(ground: Ground) -> dict[str, tuple[float, ...]]:
    return columns(ground.child("peers", ground.rounds(5), database=ground.sqlite()))


def _ask(ground: Ground, name: str, python: str) -> dict[str, Any] | None:
    script, home = ROOT / "bench" / "peers" / f"on_{name}.py", ground.place()
    if not script.exists():
        print(f"  {name}: there is no {script.relative_to(ROOT)}")
        return None
    environment = ground.environment() | _SILENT | {"BENCH_HOME": str(home), "HOME": str(home)}
    environment.pop("PYTHONPATH", None)
    process = subprocess.run(
        [python, "-P", str(script), str(_CHAIN), str(_FAN), str(ground.rounds(3))],
        cwd=home, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if process.returncode:
        reason = (process.stderr.strip().splitlines() or ["no reason given"])[-1]
        print(f"  {name} is skipped: {reason[:200]}")
        return None
    told: dict[str, Any] = read_answer(process.stdout)
    return told


def main(rounds: int) -> None:
    """Measure Ostinato's own part, in a child process; the better of the two fan-outs counts."""
    found = [
        {"chain": chain(_CHAIN), "fan": min(asyncio.run(gathered(_FAN)), submitted(_FAN))} for _ in range(rounds + 1)
    ]
    answer(found[1:])


if __name__ == "__main__":
    main(int(sys.argv[1]))
