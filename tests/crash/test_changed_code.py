"""Code changed between the crash and the resume: what was finished is kept by identity, only what is new runs."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, NamedTuple

import pytest
from tests.process import Ledger, environment, run_script

if TYPE_CHECKING:
    from pathlib import Path

    from tests.inside import Home

HEAD = """
import os, signal, sys, time
from ostinato import flow, task
from tests.process import write_line

def effect(label):
    write_line(os.environ["LEDGER"], label)

@task
def a(i: int) -> int:
    effect(f"a-{i}")
    return i + 10

@task
def b(i: int) -> int:
    effect(f"b-{i}")
    return i + 20

@task
def c(i: int) -> int:
    effect(f"c-{i}")
    return i + 30

@task
def last(i: int) -> int:
    effect(f"last-{i}")
    if os.environ.get("DIE"):
        os.kill(os.getpid(), signal.SIGKILL)
    return i
"""
BODY = """
    x = a(1)
    y = b(2)
    z = c(x + y)
    last(0)
    return x + y + z
"""
TAIL = """
if __name__ == "__main__":
    print("RESULT", main.with_options(resume=True)())
"""


class Case(NamedTuple):
    body: str
    new: set[str]
    orphans: list[str]
    result: int
    head: str = HEAD


CASES = {
    "nothing": Case(BODY, set(), [], 96),
    "inserted": Case(BODY.replace("    y = ", "    a(5)\n    a(1)\n    y = "), {"a-5", "a-1"}, [], 96),
    "moved": Case("\n    y = b(2)\n    x = a(1)\n    z = c(x + y)\n    last(0)\n    return x + y + z\n", set(), [], 96),
    "removed": Case(BODY.replace("y = b(2)", "y = 22"), set(), ["b"], 96),
    "renamed": Case(
        BODY.replace("b(2)", "bee(2)"), {"b-2"}, ["b"], 96, HEAD.replace("def b(", "def bee("),
    ),
    "other arguments": Case(BODY.replace("b(2)", "b(3)"), {"b-3", "c-34"}, ["b", "c"], 98),
    "other body of a task": Case(BODY, set(), [], 96, HEAD.replace("i + 20", "i + 2000")),
    "submitted": Case(BODY.replace("b(2)", "b.submit(2).result()").replace("c(x + y)", "c.submit(x + y).result()"),
                      set(), [], 96),
    "in a loop": Case(BODY.replace("x = a(1)", "x = max([a(i) for i in (0, 1)])"), {"a-0"}, [], 96),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_finished_work_is_kept_and_only_what_is_new_runs(tmp_path: Path, home: Home, case: str) -> None:
    changed, file, ledger = CASES[case], tmp_path / "flow.py", Ledger(tmp_path / "ledger")
    env = environment(home.path, LEDGER=str(ledger.path))
    file.write_text(f"{HEAD}\n@flow\ndef main() -> int:{BODY}{TAIL}")
    assert run_script(file, env=env | {"DIE": "1"}).process.returncode == -signal.SIGKILL
    assert ledger.lines() == ["a-1", "b-2", "c-33", "last-0"]

    file.write_text(f"{changed.head}\n@flow\ndef main() -> int:{changed.body}{TAIL}")
    second = run_script(file, env=env)
    assert second.process.returncode == 0, second.err
    assert f"RESULT {changed.result}" in second.out
    assert set(ledger.lines(4)) == changed.new | {"last-0"}
    assert len(ledger.lines(4)) == len(changed.new) + 1, "once each"
    assert sorted(row.task.rpartition(".")[2] for row in home.task_runs() if row.orphaned) == changed.orphans
    assert "not reached again" not in second.err + second.out, "changed code is no drift"
    assert not [event for event in home.events() if event.kind == "run.orphans"]


DRIFT = "\n    a(1)\n    b(time.time_ns())\n    b(time.time_ns() + 1)\n    c(3)\n    last(0)\n    return 1\n"


@pytest.mark.parametrize("strict", [False, True])
def test_arguments_that_change_by_themselves_are_named_in_one_warning(
    tmp_path: Path,
    home: Home,
    strict: bool,  # noqa: FBT001
) -> None:
    file, ledger = tmp_path / "flow.py", Ledger(tmp_path / "ledger")
    env = environment(home.path, LEDGER=str(ledger.path))
    file.write_text(f"{HEAD}\n@flow(strict={strict})\ndef main() -> int:{DRIFT}{TAIL}")
    run_script(file, env=env | {"DIE": "1"})
    second = run_script(file, env=env)
    said = second.err + second.out
    assert [line.partition("-")[0] for line in ledger.lines(5)] == ["b", "b", "last"]
    if strict:
        assert second.process.returncode != 0
        assert "NonDeterminismError" in said
        assert home.last().state == "failed"
    else:
        assert second.process.returncode == 0, second.err
        assert said.count("not reached again") == 1
        assert "2 task runs of the interrupted pass (b)" in said
        (event,) = [event for event in home.events() if event.kind == "run.orphans"]
        assert '"b"' in event.data
    third = run_script(file, env=env)
    assert "not reached again" not in third.err, "a new run has nothing to drift from"
