"""The chain and the fan-out on Dagster, in process, the quickest way it offers, its events kept in SQLite."""

from __future__ import annotations

import json
import os
import sys
import time

import dagster

CHAIN, FAN, ROUNDS = map(int, sys.argv[1:4])
SILENT = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dagster.op
def first() -> int:
    """Do nothing."""
    return 0


@dagster.op
def then(number: int) -> int:
    """Do nothing."""
    return number


@dagster.job
def chain() -> None:
    """Run ops one by one."""
    number = first()
    for _ in range(CHAIN - 1):
        number = then(number)


@dagster.job
def fan() -> None:
    """Run ops that do not depend on one another."""
    for number in range(FAN):
        first.alias(f"first_{number}")()


def seconds(job: dagster.JobDefinition, instance: dagster.DagsterInstance) -> float:
    """Return the seconds that a job took."""
    begun = time.perf_counter()
    assert job.execute_in_process(instance=instance, run_config=SILENT).success
    return time.perf_counter() - begun


if __name__ == "__main__":
    with dagster.DagsterInstance.local_temp(os.environ["BENCH_HOME"]) as home:
        seconds(chain, home)
        found = {"chain": [seconds(chain, home) for _ in range(ROUNDS)], "fan": [seconds(fan, home)]}
    print("answer: " + json.dumps({"version": f"Dagster {dagster.__version__}, in process", **found}))
