"""Task runs that pass a limit of two, many at once; each writes when it has the slot and when it gives it up."""

from __future__ import annotations

import os
import sys
import time

from tests.process import write_line

from ostinato import flow, task
from ostinato.limits import Limit

LEDGER = os.environ["LEDGER"]


@task(limits=Limit("two", 2))
def guarded(who: str, number: int) -> int:
    write_line(LEDGER, f"in {os.getpid()} {who} {number}")
    time.sleep(0.02)
    write_line(LEDGER, f"out {os.getpid()} {who} {number}")
    return number


@flow
def many(who: str, count: int) -> int:
    return sum(guarded.map([who] * count, range(count)))


@flow(limits=Limit("alone", 1))
def alone(who: str) -> None:
    write_line(LEDGER, f"in {os.getpid()} {who} 0")
    if who == "stuck":
        time.sleep(60)
    write_line(LEDGER, f"out {os.getpid()} {who} 0")


if __name__ == "__main__":
    if sys.argv[1] == "many":
        many(sys.argv[2], int(sys.argv[3]))
    else:
        alone(sys.argv[2])
