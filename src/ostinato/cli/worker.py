"""``ostinato worker``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ostinato.authoring.project import find_project
from ostinato.cli.lines import speak
from ostinato.errors import UsageError
from ostinato.io.blobs import safe_url
from ostinato.resources import Resources, parse_size
from ostinato.runtime.worker import WorkerPlan, run_worker
from ostinato.settings import load_settings
from ostinato.work import DEFAULT_POOL

if TYPE_CHECKING:
    from collections.abc import Sequence

Pools = Annotated[
    list[str] | None,
    Parameter(name=["--pool", "-p"], negative=(), help="A work pool to serve; repeatable. By default: default."),
]
Slots = Annotated[int, Parameter(name="--slots", help="How many runs at once; by default two to a processor.")]
Given = Annotated[
    list[str] | None,
    Parameter(name=["--resource", "-r"], negative=(), help="What it has: gpu=1, memory=16GiB, licence=2; repeatable."),
]
Projects = Annotated[
    list[str] | None,
    Parameter(name="--project", negative=(), help="A project folder, or file, to import ahead; repeatable."),
]
Memory = Annotated[
    str | None,
    Parameter(
        name="--memory-per-run", help="What a run may take that says nothing of its memory: 2GiB; else any amount."
    ),
]
Cold = Annotated[bool, Parameter(name="--cold", negative=(), help="Each run in a process of its own.")]
Grace = Annotated[
    float, Parameter(name="--grace", help="Seconds for what runs to end, at the first Ctrl-C or SIGTERM.")
]
_GRACE = 30.0


def worker(
    *,
    pool: Pools = None,
    slots: Slots = 0,
    resource: Given = None,
    project: Projects = None,
    memory_per_run: Memory = None,
    cold: Cold = False,
    grace: Grace = _GRACE,
) -> int:
    """Carry out the runs of work pools, until Ctrl-C.

    It asks the server that OSTINATO_API names, with OSTINATO_TOKEN, or else the database itself. The first Ctrl-C or
    SIGTERM lets what runs end, for as long as --grace says; a second one stops it. Others go on with what is left.
    """
    settings = load_settings()
    speak(settings)
    if slots < 0:
        raise UsageError(f"--slots is 1 or more, not {slots}.")
    if not 0 <= grace < float("inf"):
        raise UsageError(f"--grace is a number of seconds, 0 or more, not {grace}.")
    plan = WorkerPlan(
        settings=settings,
        pools=list(dict.fromkeys(pool or [DEFAULT_POOL])),
        slots=slots,
        resources=read_resources(resource or ()),
        roots=[_root(path) for path in project or ()],
        memory_per_run=None if memory_per_run is None else _bytes(memory_per_run),
        cold=cold,
        grace=grace,
    )
    print(f"Worker for {', '.join(plan.pools)} at {safe_url(settings.store_url)}. Ctrl-C ends it.", flush=True)
    run_worker(plan)
    return 0


def _root(path: str) -> str:
    found = find_project(path)
    return path if path.endswith(".py") else found.root


def read_resources(given: Sequence[str]) -> dict[str, float]:
    """Read what a worker has, as it is typed.

    Raises:
        UsageError: If one is not ``name=amount``.
    """
    amounts: dict[str, float] = {}
    for item in given:
        name, equals, text = (part.strip() for part in item.partition("="))
        if not equals or not name:
            raise UsageError(f"--resource {item!r} is not name=amount. For example: --resource gpu=1 -r memory=16GiB.")
        amounts |= Resources(memory=text).amounts if name == "memory" else {name: _amount(item, text)}
    return amounts


def _bytes(text: str) -> int:
    if not (amount := parse_size(text)):
        raise UsageError(f"--memory-per-run is an amount of memory above 0, like 2GiB, not {text!r}.")
    return amount


def _amount(item: str, text: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = -1.0
    if not 0 <= amount < float("inf"):
        raise UsageError(f"--resource {item!r}: the amount is a number, 0 or more.")
    return amount
