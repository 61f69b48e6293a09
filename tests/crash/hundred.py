"""A flow of about a hundred task runs of every kind, whose effects go to a ledger outside.

python hundred.py sync|async LEDGER: goes on with an interrupted run if there is one, prints the result.
"""

from __future__ import annotations

import asyncio
import os
import sys

from ostinato import Retry, current, flow, task


def effect(label: str) -> None:
    line = f"{label} {current.task_run_id} {current.attempt}\n"
    fd = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, line.encode())
    os.close(fd)


@task
def step(name: str, i: int) -> int:
    effect(f"step-{name}-{i}")
    return i


@task
def double(i: int) -> int:
    effect(f"double-{i}")
    return 2 * i


@task
async def astep(name: str, i: int) -> int:
    effect(f"astep-{name}-{i}")
    await asyncio.sleep(0)
    return i


@task(retry=Retry(2, delay=0.001))
def flaky(i: int) -> int:
    effect(f"flaky-{i}")
    if "tried" not in current.state:
        current.state["tried"] = True
        raise ConnectionError(i)
    return i


@task
def nested(i: int) -> int:
    effect(f"nested-{i}")
    inner = step.submit(f"inner{i}", i)
    return inner.result() + step(f"direct{i}", i)


@task
async def anested(i: int) -> int:
    effect(f"anested-{i}")
    return sum(await asyncio.gather(astep(f"inner{i}", i), astep(f"other{i}", i)))


@task
def big(i: int) -> bytes:
    effect(f"big-{i}")
    return bytes([i]) * 20_000


@flow
def child(n: int) -> int:
    return sum(step("child", i) for i in range(n)) + sum(step.map(["mapped"] * n, range(n)))


@flow
async def achild(n: int) -> int:
    return sum(await asyncio.gather(*(astep("child", i) for i in range(n))))


@flow
def hundred() -> int:
    total = sum(step("a", i) for i in range(25))
    total += sum(future.result() for future in [double.submit(step.submit("b", i)) for i in range(10)])
    total += sum(double.map(step.map(["c"] * 10, range(100, 110))))
    total += child(6)
    total += sum(nested.map(range(4)))
    total += sum(flaky(i) for i in range(3)) + sum(flaky.map(range(3, 6)))
    total += sum(future.result() for future in [astep.submit("d", i) for i in range(5)])
    return total + sum(len(blob) for blob in big.map(range(3)))


@flow
async def ahundred() -> int:
    total = sum(await asyncio.gather(*(astep("a", i) for i in range(30))))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(astep("b", i)) for i in range(10)]
    total += sum(t.result() for t in tasks)
    total += sum(await astep.map(["c"] * 12, range(12)))
    total += sum(step("d", i) for i in range(8))
    total += await achild(10)
    total += sum(await asyncio.gather(*(anested(i) for i in range(4))))
    futures = [flaky.submit(i) for i in range(4)] + [double.submit(step.submit("e", i)) for i in range(8)]
    return total + sum([await future for future in futures])


if __name__ == "__main__":
    if sys.argv[1] == "sync":
        print("RESULT", hundred.with_options(resume=True)())
    else:
        print("RESULT", asyncio.run(ahundred.with_options(resume=True)()))
