"""Ctrl-C on real processes: once cancels in order, twice stops at once."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest
from tests.process import Ledger, Script, environment, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.inside import Home

FLOW = """
import asyncio, os, sys, threading, time
from ostinato import Hooks, Retry, Snooze, flow, task
from tests.process import write_line

def say(what):
    write_line(os.environ["LEDGER"], what)

def busy():
    say("ready")
    while True:
        time.sleep(0.001)

def sleep():
    say("ready")
    time.sleep(60)

task_hooks = Hooks(cancelled=lambda task: say("task hook"))
hooks = Hooks(cancelled=lambda flow: say("flow hook"))

@task(hooks=task_hooks)
def in_python(_: int = 0): busy()

@task(hooks=task_hooks)
def in_sleep(): sleep()

@task(hooks=task_hooks)
async def awaiting():
    say("ready")
    await asyncio.sleep(60)

@task(hooks=task_hooks, timeout=60)
def limited(): busy()

@task(retry=Retry(1, delay=60))
def bad():
    say("ready")
    raise ValueError

@task
def snoozing():
    say("ready")
    return Snooze(60)

@task
def outer(): in_python.submit().result()

@task(retry=Retry(1, delay=0), hooks=task_hooks)
def second_time():
    from ostinato import current
    if current.attempt == 1: raise ValueError
    busy()

@task(executor="processes", hooks=task_hooks)
def elsewhere(): busy()

@flow(hooks=hooks)
def body_sleeps(): sleep()

@flow(hooks=hooks)
def body_computes(): busy()

@flow(hooks=hooks)
def direct_python(): in_python()

@flow(hooks=hooks)
def direct_sleep(): in_sleep()

@flow(hooks=hooks)
def swallows():
    try:
        in_python()
    except Exception:
        say("swallowed")
    return 1

@flow(hooks=hooks)
def direct_limited(): limited()

@flow(hooks=hooks)
def result(): in_python.submit().result()

@flow(hooks=hooks)
def draining(): in_python.submit()

@flow(hooks=hooks)
def mapped(): list(in_python.map(range(50)))

@flow(hooks=hooks)
def retrying_here(): bad()

@flow(hooks=hooks)
def retrying(): bad.submit().result()

@flow(hooks=hooks)
def snoozed(): snoozing()

@flow(hooks=hooks)
def nested(): outer.submit().result()

@flow(hooks=hooks)
def retried(): second_time.submit().result()

@flow(hooks=hooks)
def in_a_process(): elsewhere.submit().result()

@flow
def child(): busy()

@flow(hooks=hooks)
def in_a_child(): child()

@flow(hooks=hooks)
def async_from_sync(): awaiting.submit().result()

@flow(hooks=hooks)
async def async_direct(): await awaiting()

@flow(hooks=hooks)
async def async_gather(): await asyncio.gather(*[awaiting() for _ in range(3)], awaiting.submit())

@flow(hooks=hooks)
async def async_thread(): await in_python.submit()

@flow(hooks=hooks, retry=Retry(1, delay=60))
def flow_retries():
    say("ready")
    raise ValueError

@task
def stubborn():
    say("ready")
    while True:
        try:
            while True: time.sleep(0.001)
        except BaseException: pass

@flow
def never_ends(): stubborn.submit().result()

@task
def stubborn_once():
    say("ready")
    try:
        while True: time.sleep(0.001)
    except BaseException: pass
    while True: time.sleep(0.001)

@flow
def body_never_ends():
    stubborn_once()

if __name__ == "__main__":
    made = globals()[sys.argv[1]]
    value = asyncio.run(made()) if sys.argv[1].startswith("async_") and "sync_from" not in sys.argv[1] else made()
    print("RESULT", value)
"""

ONCE = {
    # what is going on: (how often `ready` is said, whether the hook of a task is called)
    "body_sleeps": (1, False), "body_computes": (1, False), "direct_python": (1, True), "direct_sleep": (1, True),
    "swallows": (1, True), "direct_limited": (1, True), "result": (1, True), "draining": (1, True),
    "mapped": (2, True), "retrying_here": (1, False), "retrying": (1, False), "snoozed": (1, False),
    "nested": (1, True), "retried": (1, True), "in_a_process": (1, True), "in_a_child": (1, False),
    "async_from_sync": (1, True), "async_direct": (1, True), "async_gather": (4, True), "async_thread": (1, True),
}  # fmt: skip


def start(tmp_path: Path, home: Home, kind: str, ready: int = 1) -> tuple[Script, Ledger]:
    file, ledger = tmp_path / "flow.py", Ledger(tmp_path / "ledger")
    file.write_text(FLOW)
    script = Script(file, kind, env=environment(home.path, LEDGER=str(ledger.path), OSTINATO_SLOTS="2"))
    until(lambda: ledger.lines().count("ready") >= ready or not script.is_running, "the flow to be under way")
    return script, ledger


@pytest.mark.parametrize("kind", ONCE)
def test_ctrl_c_once_cancels_in_order(tmp_path: Path, home: Home, kind: str) -> None:
    ready, task_hook = ONCE[kind]
    script, ledger = start(tmp_path, home, kind, ready)
    began = time.monotonic()
    script.signal(signal.SIGINT)
    code = script.wait(15)
    assert code in (130, -signal.SIGINT), f"exit code {code}\n{script.err}"
    assert time.monotonic() - began < 6
    assert "RESULT" not in script.out
    run = home.last()
    assert (run.state, run.reason) == ("cancelled", "cancelled"), script.err
    assert ledger.lines().count("flow hook") == 1
    assert ("task hook" in ledger.lines()) == task_hook
    assert not [row for row in home.all_task_runs() if row.state.is_live], "nothing is left running"
    assert all(child.state == "cancelled" for child in home.runs(top_level=False))
    assert "swallowed" not in ledger.lines(), "an `except Exception` does not see it"
    assert "defect" not in script.err
    assert "Cancelling" in script.err


@pytest.mark.parametrize("kind", ["never_ends", "body_never_ends"])
def test_ctrl_c_twice_stops_at_once(tmp_path: Path, home: Home, kind: str) -> None:
    script, _ = start(tmp_path, home, kind)
    script.signal(signal.SIGINT)
    read_until(script, "Cancelling")
    began = time.monotonic()
    script.signal(signal.SIGINT)
    assert script.wait(15) != 0
    assert time.monotonic() - began < 5
    assert home.last().state in ("cancelled", "crashed"), "and nothing is called running"


def test_ctrl_c_while_a_flow_waits_for_its_next_attempt_ends_it(tmp_path: Path, home: Home) -> None:
    script, _ = start(tmp_path, home, "flow_retries")
    until(lambda: home.last().state == "retrying", "the first attempt to end")
    began = time.monotonic()
    script.signal(signal.SIGINT)
    assert script.wait(10) in (130, -signal.SIGINT), script.err
    assert time.monotonic() - began < 6
    assert (home.last().state, home.last().reason) == ("cancelled", "cancelled")


def read_until(script: Script, text: str) -> None:
    assert script.process.stderr is not None
    for line in script.process.stderr:
        if text in line:
            return
    raise AssertionError(f"{text!r} was never said")
