"""A process that was stopped past its lease and continued: refused, told so, ended; the taker-over's results stand."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from tests.process import Ledger, Script, environment, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.inside import Home

FLOW = """
import os, sys, time, asyncio
from ostinato import flow, task, current
from tests.process import write_line

def effect(label):
    write_line(os.environ["LEDGER"], f"{label} {os.environ['WHO']}")

@task
def first() -> str:
    effect("first")
    return os.environ["WHO"]

@task
def hold() -> str:
    effect("hold")
    while not os.path.exists(os.environ["GO"]):
        time.sleep(0.001)
    return os.environ["WHO"]

@task
def after(i: int) -> str:
    effect(f"after-{i}")
    return os.environ["WHO"]

@flow
def direct() -> list[str]:
    found = [first(), hold()]
    for i in range(3):
        try:
            found.append(after(i))
        except Exception:
            effect("swallowed")
    return found

@flow
def submitted() -> list[str]:
    futures = [first.submit(), hold.submit()]
    found = [future.result() for future in futures]
    return found + list(after.map(range(3)))

@flow
async def asynchronous() -> list[str]:
    found = [first(), await hold.submit()]
    return found + [await f for f in [after.submit(i) for i in range(3)]]

if __name__ == "__main__":
    body = {"direct": direct, "submitted": submitted, "asynchronous": asynchronous}[sys.argv[1]].with_options(resume=True)
    print("RESULT", asyncio.run(body()) if sys.argv[1] == "asynchronous" else body())
"""


@pytest.mark.parametrize("kind", ["direct", "submitted", "asynchronous"])
def test_a_process_stopped_past_its_lease_cannot_write(tmp_path: Path, home: Home, kind: str) -> None:
    file, ledger = tmp_path / "flow.py", Ledger(tmp_path / "ledger")
    file.write_text(FLOW)
    env = environment(home.path, LEDGER=str(ledger.path), GO=str(tmp_path / "go"), OSTINATO_LEASE="0.5")
    zombie = Script(file, kind, env=env | {"WHO": "zombie"})
    until(lambda: "first" in home_states(home) and "hold zombie" in ledger.lines(), "the zombie to be in `hold`")
    zombie.signal(signal.SIGSTOP)
    with_store(home, lambda store: until(store.sweep, "its lease to end"))
    (tmp_path / "go").touch()
    taker = Script(file, kind, env=env | {"WHO": "taker"})
    assert taker.wait() == 0, taker.err
    assert "RESULT ['zombie', 'taker', 'taker', 'taker', 'taker']" in taker.out
    stands = (home.last(), home.task_runs(), home.attempts(), home.events())

    zombie.signal(signal.SIGCONT)
    assert zombie.wait(10) not in (0, None)
    assert "RESULT" not in zombie.out
    assert "no longer holds run" in zombie.err, "it says so"
    assert "resume" in zombie.err
    assert (home.last(), home.task_runs(), home.attempts(), home.events()) == stands
    assert not [line for line in ledger.lines() if line.startswith("after") and line.endswith("zombie")]
    assert "swallowed zombie" not in ledger.lines(), "an `except Exception` does not see it"


def home_states(home: Home) -> dict[str, list[str]]:
    try:
        return {name: states for name, states in home.states().items() if "succeeded" in states}
    except (IndexError, FileNotFoundError):
        return {}


def with_store(home: Home, work):
    store = home.open()
    try:
        return work(store)
    finally:
        store.close()
