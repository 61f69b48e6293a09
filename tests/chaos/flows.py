"""The project that the chaos tests run: flows of several shapes, each effect written to a ledger outside of any store.

Every task returns a token made anew each time it executes, and whoever takes a result writes down what it took. So if a
result that was acknowledged were lost and made again, or changed, two takers would have written different tokens.

```
did  RUN TASK_RUN EPOCH ATTEMPT TOKEN      a task has executed (at least once is what we promise)
saw  RUN TASK_RUN TOKEN                    somebody took the result of that task run
```
"""

from __future__ import annotations

import os
import random
import time
import uuid

from ostinato import Retry, current, flow, task
from ostinato.context import find_frame

LEDGER = os.environ["CHAOS_LEDGER"]
PACE = float(os.environ["CHAOS_PACE"])
"""Seconds that a task takes at most, most of them after its effect and before its result is kept."""


def _write(*words: object) -> None:
    fd = os.open(LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(fd, (" ".join(map(str, words)) + "\n").encode())
    finally:
        os.close(fd)


def _did() -> str:
    """Execute: write down who does, and return a new token with the task run's identity in it."""
    frame = find_frame()
    assert frame is not None
    epoch = frame.runtime.run.epoch  # type: ignore[union-attr]
    token = f"{current.task_run_id}:{uuid.uuid4().hex}"
    _write("did", current.run_id, current.task_run_id, epoch, current.attempt, token)
    time.sleep(random.random() * PACE)
    return token


def _saw(*tokens: str) -> None:
    for token in tokens:
        _write("saw", current.run_id, token.partition(":")[0], token)


@task
def step(number: int, before: str = "") -> str:
    """Do one thing that depends on another."""
    if before:
        _saw(before)
    return _did()


@task(retry=Retry(20, delay=0.05))
def flaky(number: int) -> str:
    """Fail now and then."""
    if random.random() < 0.3:
        message = "bad luck"
        raise ConnectionError(message)
    return _did()


@task
def join(tokens: list[str]) -> str:
    """Take many results."""
    _saw(*tokens)
    return _did()


@flow
def chain(length: int = 12) -> str:
    """One after the other."""
    token = ""
    for number in range(length):
        token = step(number, token)
    _saw(token)
    return token


@flow
def fan(width: int = 20) -> str:
    """Many at once, then one that takes them all."""
    return join(flaky.map(range(width)))


@flow
def inner(length: int = 4) -> str:
    """A child run."""
    return chain.fn(length)


@flow
def nested(width: int = 3) -> list[str]:
    """Child runs in the same process."""
    tokens = [inner(length) for length in range(2, 2 + width)]
    _saw(*tokens)
    return tokens


@flow
def parent(width: int = 3) -> list[str]:
    """Child runs elsewhere, waited for without a process."""
    handles = [chain.start(3 + number) for number in range(width)]
    tokens = [handle.result() for handle in handles]
    _saw(*tokens)
    return tokens


@flow(retry=Retry(20, delay=0.2))
def unlucky(length: int = 5) -> str:
    """A run that fails as a whole now and then, and is tried again."""
    token = chain.fn(length)
    if random.random() < 0.3:
        message = "the run had bad luck"
        raise RuntimeError(message)
    return token
