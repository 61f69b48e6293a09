# ruff: noqa: PTH110, PTH109, PTH123, PTH208, SIM105  # user code, as it is written
"""Flows that behave, and flows that do not. Copied into a project of the test, where workers import it."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time

from tests.process import write_line

from ostinato import flow, task

served = [0]


def say(label):
    write_line(os.environ["LEDGER"], label)


@task
def add(x: int, y: int = 1) -> int:
    return x + y


@flow
def adds(x: int = 1) -> int:
    say(f"adds {x}")
    return add(x)


@flow
async def waits_a_little(x: int = 1) -> int:
    await asyncio.sleep(0.001)
    return x


@flow
def tells_process() -> list[int]:
    served[0] += 1
    return [os.getpid(), served[0]]


@flow
def fails() -> None:
    raise ValueError("on purpose")


@flow
def prints(n: int = 3) -> int:
    for i in range(n):
        print(f"line {i}")
    return n


@flow
def holds(label: str = "holds") -> str:
    """Wait, in Python, until it is stopped or the file of that name is there."""
    say(label)
    while not os.path.exists(f"{os.environ['LEDGER']}.{label}"):
        time.sleep(0.002)
    return label


@task
def first() -> int:
    say("first")
    return 1


@flow
def goes_on(label: str = "go") -> int:
    """One task, then wait for a file, then another task."""
    x = first()
    say(f"{label} waits")
    while not os.path.exists(f"{os.environ['LEDGER']}.{label}"):
        time.sleep(0.002)
    say("after")
    return add(x)


@flow
def exits(code: int = 3) -> None:
    say("exits")
    os._exit(code)


@task
def prints_and_leaves() -> None:
    print("in the task")
    print("without an end", end="")
    os._exit(3)


@flow
def prints_and_exits() -> None:
    print("first")
    prints_and_leaves()


@flow
def crashes() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


@flow
def ignores_cancel() -> None:
    say("ignores")
    while True:
        try:
            time.sleep(0.01)
        except BaseException:
            pass


@flow
def ignores_sigterm() -> int:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return 1


@flow
def closes_everything() -> int:
    os.closerange(0, 50)
    return add(1)


@flow
def leaks_a_thread() -> int:
    threading.Thread(target=time.sleep, args=(1000,), name="leak", daemon=True).start()
    return 1


@flow
def leaks_a_child() -> int:
    subprocess.Popen(["sleep", "1000"])
    return 1


@flow
def leaks_a_daemon() -> int:
    code = "import os, time\nif os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\ntime.sleep(1000)"
    subprocess.run([sys.executable, "-S", "-c", code], check=True)
    return 1


@flow
def child_then_holds() -> None:
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
    say("holds")
    while not os.path.exists(f"{os.environ['LEDGER']}.holds"):
        time.sleep(0.002)


@flow
def forks() -> int:
    """The copy comes back from the body, as a careless fork does."""
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
    return add(1 if pid else 100)


@flow
def changes_the_process() -> int:
    os.chdir("/")
    os.environ["CHANGED"] = "yes"
    sys.argv.append("changed")
    sys.path.insert(0, "/changed")
    sys.stdout.close()
    sys.stdout = None
    os.umask(0)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return os.getpid()


@flow
def sees_the_process() -> list:
    return [
        os.getpid(),
        os.getcwd(),
        os.environ.get("CHANGED"),
        "changed" in sys.argv,
        "/changed" in sys.path,
        sys.stdout is None,
        signal.getsignal(signal.SIGTERM) == signal.SIG_DFL,
    ]


@flow
def takes_memory(size: int) -> int:
    data = bytearray(size)
    for i in range(0, size, 4096):
        data[i] = 1
    say("taken")
    time.sleep(1)
    return len(data)


@flow
def fills_the_disk() -> int:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with open(f"{os.environ['LEDGER']}.big", "wb") as file:
            file.write(bytes(1 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return 1


@flow
def now() -> int:
    return time.time_ns() // 1000


@flow
def knows() -> dict:
    from ostinato.settings import load_settings

    names = [name for name in os.environ if name in {"OSTINATO_TOKEN", "OSTINATO_DATABASE", "OSTINATO_API"}]
    return {name: os.environ[name] for name in names} | {"token": load_settings().token}


@task(pool="gpu")
def far(x: int, *more: int, **named: int) -> list:
    say(f"far {x}")
    return [x, list(more), named, os.getpid()]


@task(pool="gpu")
async def far_async(x: int) -> int:
    return x + 1


@task(pool="gpu")
def far_fails() -> int:
    raise LookupError("far away")


@flow
def sends() -> list:
    return [far(1, 2, 3, y=4), os.getpid()]


@flow
async def sends_async() -> int:
    return await far_async(1)


@flow
def sends_failing() -> str:
    try:
        far_fails()
    except LookupError as error:
        return str(error)
    return ""


kept = []


@flow
def grows(size: int) -> int:
    kept.append(bytearray(os.urandom(4096) * (size // 4096)))
    return os.getpid()


@flow
def babbles() -> int:
    """Write what makes no sense to the worker's line, the descriptor of the highest number; the first time only."""
    if os.path.exists(f"{os.environ['LEDGER']}.babbled"):
        return add(1)
    say("babbles")
    open(f"{os.environ['LEDGER']}.babbled", "w").close()
    os.write(max(map(int, os.listdir("/proc/self/fd"))), b"\0\0\0\2no")
    while True:
        time.sleep(0.01)
