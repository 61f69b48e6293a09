# ruff: noqa: PTH110, PTH123, PTH118, PTH120  # user code, as it is written
"""Sensors that behave, and sensors that do not. Copied into a project of the test; all are paused but for those it names."""

import os
import time

from tests.process import write_line

from ostinato import Skip, flow
from ostinato.sensors import RunRequest, sensor


def beside(name):
    return os.path.join(os.path.dirname(os.environ["LEDGER"]), name)


@flow
def load(n: int = 0, label: str = "") -> int:
    write_line(os.environ["LEDGER"], f"load {n} {label}".strip())
    return n


def numbers():
    if not os.path.exists(beside("numbers")):
        return []
    with open(beside("numbers")) as file:
        return [int(line) for line in file]


@sensor(every=0.1, paused=True)
def counts(context):
    """Ask for a run of each number above the cursor."""
    new = [n for n in numbers() if n > (context.cursor or 0)]
    if not new:
        yield Skip("no new numbers")
    for n in new:
        yield RunRequest(load, parameters={"n": n}, key=f"n{n}")
        context.cursor = n


@sensor(every=0.1, paused=True, cursor={"seen": []})
async def counts_async(context):
    for n in numbers():
        if n not in context.cursor["seen"]:
            context.cursor["seen"].append(n)
            yield RunRequest("load", parameters={"n": n})


@sensor(every=0.1, paused=True)
def repeats():
    """Ask for the same again and again."""
    return [RunRequest(load, parameters={"n": 7}, key="seven"), RunRequest(load, parameters={"n": 8}, key="seven")]


@sensor(every=0.1, paused=True)
def raises(context):
    context.cursor = "moved"
    yield RunRequest(load, parameters={"n": 1})
    raise ValueError("the share is not mounted")


@sensor(every=0.1, timeout=0.3, paused=True)
def hangs(context):
    context.cursor = "moved"
    time.sleep(600)


@sensor(every=0.2, paused=True)
def exits(context):
    context.cursor = "moved"
    os._exit(3)


@sensor(every=0.1, paused=True)
def asks_wrongly(context):
    if context.cursor:
        return Skip("done")
    context.cursor = "asked"
    return [
        RunRequest(load, parameters={"n": "five"}, key="five"),
        RunRequest("no_such_flow", key="lost"),
        RunRequest(load, parameters={"n": 6}, key="six"),
    ]


@sensor(every=0.1, paused=True)
def gives_nonsense():
    return "soon"


@sensor(every=0.1, paused=True)
def waits_to_be_let_go(context):
    write_line(os.environ["LEDGER"], f"looks {context.cursor}")
    while not os.path.exists(beside("go")):
        time.sleep(0.002)
    context.cursor = f"{context.cursor or ''}+"
    return RunRequest(load, parameters={"n": 1})


@sensor(every=0.1, paused=True, timeout=20)
def counts_without_keys(context):
    """Only the transaction keeps these from being started twice, or never."""
    for n in numbers():
        if n > (context.cursor or 0):
            context.cursor = n
            yield RunRequest(load, parameters={"n": n})
