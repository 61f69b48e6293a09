"""The chain and the fan-out on DBOS, steps of one workflow, kept in SQLite."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
import sys
import time
from pathlib import Path

from dbos import DBOS

CHAIN, FAN, ROUNDS = map(int, sys.argv[1:4])


@DBOS.step()
def nothing(number: int) -> int:
    """Do nothing."""
    return number


@DBOS.step()
async def nothing_async(number: int) -> int:
    """Do nothing."""
    return number


@DBOS.workflow()
def chain(count: int) -> float:
    """Return the seconds that steps took, one by one."""
    begun = time.perf_counter()
    for number in range(count):
        nothing(number)
    return time.perf_counter() - begun


@DBOS.workflow()
async def fan(count: int) -> float:
    """Return the seconds that async steps took, all at once."""
    begun = time.perf_counter()
    await asyncio.gather(*[nothing_async(number) for number in range(count)])
    return time.perf_counter() - begun


def main() -> None:
    """Measure."""
    place = Path(os.environ["BENCH_HOME"]) / "dbos.sqlite"
    DBOS(
        config={
            "name": "bench", "system_database_url": f"sqlite:///{place}", "run_admin_server": False,
            "enable_otlp": False, "log_level": "ERROR",
        }
    )  # fmt: skip
    DBOS.launch()
    chain(5)
    found = {
        "chain": [chain(CHAIN) for _ in range(ROUNDS)],
        "fan": [asyncio.run(fan(FAN)) for _ in range(ROUNDS)],
    }
    print("answer: " + json.dumps({"version": f"DBOS {importlib.metadata.version('dbos')}", **found}))
    DBOS.destroy()


if __name__ == "__main__":
    main()
