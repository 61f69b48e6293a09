"""The chain and the fan-out on Airflow by ``dag.test()``: its quickest way to run a DAG, with its database in SQLite.

One round only, and a fan-out of a tenth (scaled): a task takes it some hundred milliseconds, one after the other.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import subprocess
import sys
import time
from pathlib import Path

CHAIN, FAN, ROUNDS = map(int, sys.argv[1:4])
HOME = os.environ["BENCH_HOME"]
os.environ |= {
    "AIRFLOW_HOME": HOME,
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{HOME}/airflow.db",
    "AIRFLOW__CORE__DAGS_FOLDER": HOME,
}
DAGS = """
from airflow.sdk import DAG, task

@task
def nothing(number: int) -> int:
    return number

def made(name: str, count: int, chained: bool) -> DAG:
    with DAG(name, schedule=None) as dag:
        number = nothing(0)
        for _ in range(count - 1):
            number = nothing(number) if chained else nothing(0)
    return dag

warm, chain, fan = made("warm", 2, True), made("chain", CHAIN, True), made("fan", FAN, False)
"""


def airflow(*args: str) -> None:
    """Run one of its commands."""
    subprocess.run([sys.executable, "-m", "airflow", *args], check=True, capture_output=True)


def main() -> None:
    """Measure."""
    text = DAGS.replace("CHAIN", str(CHAIN)).replace("FAN", str(FAN // 10))
    (Path(HOME) / "bench_dags.py").write_text(text, encoding="utf-8")
    airflow("db", "migrate")
    airflow("dags", "reserialize")
    sys.path.insert(0, HOME)
    dags = importlib.import_module("bench_dags")

    def seconds(name: str) -> float:
        begun = time.perf_counter()
        assert str(getattr(dags, name).test().state) == "success"
        return time.perf_counter() - begun

    seconds("warm")
    found = {"chain": [seconds("chain")], "fan": [10 * seconds("fan")]}
    version = importlib.metadata.version("apache-airflow")
    print("answer: " + json.dumps({"version": f"Airflow {version}, dag.test()", **found}))


if __name__ == "__main__":
    main()
