"""`flow.start`: runs that are asked for, from outside and inside of runs, and what their handles tell."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.process import Script, environment, run_script, until, write_line
from tests.runtime.fleet import Fleet

from ostinato import Resources, Retry, flow, task
from ostinato.errors import DefinitionError, OutOfMemory, ParameterError, RunCancelledError, RunFailedError, UsageError


@flow
def add(a: int, b: int = 1) -> int:
    return a + b


@flow
def bad(a: int) -> int:
    raise LookupError(f"no {a}")


@flow
async def slow(a: int) -> int:
    await asyncio.sleep(0)
    return a


def test_a_run_that_is_started_from_outside_is_carried_out_by_a_worker(home):
    handle = add.start(2, b=3)
    assert (handle.state, handle.done(), handle.flow) == ("queued", False, "add")
    fleet = Fleet(home, add)
    with fleet.serving("default", threads=1):
        assert handle.result(20) == 5
    assert (handle.state, handle.done()) == ("succeeded", True)

    async def again() -> int:
        return await handle

    assert asyncio.run(again()) == 5
    run = Fleet(home).store.get_run(handle.id)
    assert (run.target, run.pool, run.created_by) == (add.target, "default", None)


def test_an_async_flow_may_be_started_too(home):
    handle = slow.start(7)
    with Fleet(home, slow).serving("default", threads=1):
        assert handle.result(20) == 7


def test_a_handle_tells_how_its_run_failed_or_that_it_was_cancelled(home):
    failed, cancelled = bad.start(1), bad.start(2)
    cancelled.cancel()
    cancelled.cancel()
    with Fleet(home, bad).serving("default", threads=1), pytest.raises(RunFailedError, match="LookupError: no 1"):
        failed.result(20)
    with pytest.raises(RunCancelledError, match=cancelled.id):
        cancelled.result(1)


def test_a_handle_waits_no_longer_than_it_is_told(home):
    handle = add.start(1)
    with pytest.raises(TimeoutError, match="it goes on"):
        handle.result(0.01)


def test_a_run_is_started_with_what_the_options_say(home):
    at = datetime.now(UTC) + timedelta(hours=1)
    options = add.with_options(
        key="k", pool="gpu", queue="night", priority=7, tags=["x"], start_at=at, resources=Resources(cpu=2)
    )
    handle = options.start(1)
    run = Fleet(home).store.get_run(handle.id)
    assert (run.key, run.pool, run.queue, run.priority, run.tags) == ("k", "gpu", "night", 7, ["x"])
    assert (run.state, run.scheduled_at, run.resources) == ("scheduled", round(at.timestamp() * 1e6), '{"cpu":2}')
    assert options.start(1).id == handle.id
    assert add.with_options(start_at=timedelta(hours=2)).start(1).state == "scheduled"


def test_options_of_a_start_that_make_no_sense_are_refused():
    for options in ({"priority": 500}, {"priority": "high"}, {"start_at": 3}, {"start_at": datetime(2020, 1, 1)}):  # noqa: DTZ001
        with pytest.raises(DefinitionError, match=next(iter(options))):
            add.with_options(**options)


def test_wrong_parameters_and_flows_without_a_place_are_refused(home):
    with pytest.raises(ParameterError, match="a: "):
        add.start("x")

    @flow
    def inside() -> None: ...

    with pytest.raises(UsageError, match="Define it in a file"):
        inside.start()
    assert not home.path.exists() or home.runs() == []


def test_a_handle_that_came_from_another_process_says_that_it_cannot_be_asked(home):
    handle = pickle.loads(pickle.dumps(add.start(1)))
    with pytest.raises(UsageError, match="came from another process"):
        _ = handle.state


RETRYING = """
import sys
from pathlib import Path
from ostinato import Retry, flow, task

@task
def work(n: int) -> int:
    with open("ledger", "a") as ledger:
        ledger.write(f"{n}\\n")
    return n

@task
def flaky() -> int:
    if Path("ledger").read_text().count("flaky") == 0:
        with open("ledger", "a") as ledger:
            ledger.write("flaky\\n")
        raise ConnectionError("no")
    return 1

@flow(retry=Retry(1, delay=600))
def f() -> int:
    return work(1) + flaky()

if __name__ == "__main__":
    print(f.with_options(resume="--resume" in sys.argv)())
"""


def test_a_script_that_is_killed_while_its_flow_waits_to_be_tried_again_is_gone_on_with(home, tmp_path):
    path = tmp_path / "script.py"
    path.write_text(RETRYING)
    env = environment(home.path)
    script = Script(path, env=env)
    until(lambda: home.path.exists() and home.runs() and home.last().state == "retrying", "the delay")
    run = home.last()
    assert run.worker_id is not None
    assert script.kill()
    done = run_script(path, "--resume", env=env)
    assert done.out.strip() == "2", done.err
    assert (home.last().id, home.last().state) == (run.id, "succeeded")
    assert (tmp_path / "ledger").read_text().split() == ["1", "flaky"]


def test_ctrl_c_while_a_flow_waits_to_be_tried_again_cancels_it(home, tmp_path):
    path = tmp_path / "script.py"
    path.write_text(RETRYING)
    script = Script(path, env=environment(home.path))
    until(lambda: home.path.exists() and home.runs() and home.last().state == "retrying", "the delay")
    script.signal(signal.SIGINT)
    script.wait()
    assert (home.last().state, home.last().reason) == ("cancelled", "cancelled")


def test_task_runs_share_what_their_run_has(home):
    import threading

    lock, now, most = threading.Lock(), [0.0], [0.0]

    @task(resources=Resources(cpu=1.5, named={"unknown": 4}))
    def heavy(n: int) -> int:
        with lock:
            now[0] += 1.5
            most[0] = max(most[0], now[0])
        with lock:
            now[0] -= 1.5
        return n

    @flow
    def f() -> int:
        return sum(heavy.map(range(40)))

    assert f() == 780
    assert most[0] <= max(os.cpu_count() or 1, 1.5)


@task(executor="processes", resources=Resources(memory="150MB"), retry=Retry(1, on=OutOfMemory, memory=4))
def hungry(ledger: str) -> int:
    write_line(ledger, "x")
    held = bytearray(300_000_000)
    if len(Path(ledger).read_text().split()) == 1:
        import time

        time.sleep(30)  # until it is ended
    return len(held)


def test_a_task_that_takes_too_much_memory_is_ended_and_tried_again_with_more(home, tmp_path):
    @flow
    def f() -> int:
        return hungry(str(tmp_path / "ledger"))

    assert f() == 300_000_000
    (attempt,) = home.attempts()
    assert "OutOfMemory" in attempt.error
    assert "143 MiB" in attempt.error
