"""A schedule that somebody adds by hand, at the command line or over the API: checked, named, stored."""

from __future__ import annotations

import itertools
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ostinato.errors import UnknownNameError, UsageError
from ostinato.runtime.starting import check_parameters
from ostinato.schedules import At, Cron, Every, RRule, from_spec, kind_of, to_spec
from ostinato.timing import Schedule

if TYPE_CHECKING:
    from ostinato.schedules import When
    from ostinato.store.store import Store

_WAYS: Final = ("cron", "every", "rrule", "at", "spec")
_ADDED: Final = "added"


class ScheduleOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody asks for. When it fires is said in one of five ways."""

    deployment: str
    name: str | None = None
    """By default ``<deployment>:added``, with a number where that is taken."""
    cron: str | None = None
    every: float | None = None
    """Seconds."""
    rrule: str | None = None
    at: list[datetime] | None = None
    spec: dict[str, Any] | None = None
    """As `ostinato.schedules.to_spec` writes it, options and all."""
    options: dict[str, Any] = {}
    """Options of `cron`, `every`, `rrule` or `at` that differ from their defaults: timezone, jitter, start …"""
    parameters: dict[str, Any] = {}
    tags: list[str] = []
    paused: bool = False


def add(store: Store, order: ScheduleOrder) -> Schedule:
    """Store a schedule that somebody adds; one of that name is replaced.

    Raises:
        UnknownNameError: If there is no such deployment.
        ParameterError: If its runs would be refused their parameters.
        DefinitionError: If it never fires, or a value makes no sense.
        UsageError: If it is said in no way, or in several, or a project declares one of that name.
    """
    when = _when(order)
    deployed = store.get_deployed(order.deployment)
    check_parameters(deployed, {**msgspec.json.decode(deployed.parameters), **order.parameters})
    row = Schedule(
        name=order.name or _free_name(store, order.deployment),
        deployment=order.deployment,
        kind=kind_of(when),
        spec=to_spec(when),
        parameters=msgspec.json.encode(order.parameters).decode(),
        tags=list(order.tags),
        paused=order.paused,
    )
    return store.put_schedule(row)


def _when(order: ScheduleOrder) -> When:
    given = [name for name in _WAYS if getattr(order, name) is not None]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        raise UsageError(f"Say in one way when it is to run: {', '.join(_WAYS[:-1])} or {_WAYS[-1]}; got {found}.")
    if order.spec is not None:
        if order.options:
            raise UsageError(f"The options {', '.join(order.options)} belong into the spec itself.")
        return from_spec(msgspec.json.encode(order.spec).decode())
    if order.cron is not None:
        return Cron(order.cron, **order.options)
    if order.every is not None:
        return Every(seconds=order.every, **order.options)
    if order.rrule is not None:
        return RRule(order.rrule, **order.options)
    return At(order.at or [], **order.options)


def _free_name(store: Store, deployment: str) -> str:
    for number in itertools.count(1):
        name = f"{deployment}:{_ADDED}{'' if number == 1 else f'-{number}'}"
        try:
            store.get_schedule(name)
        except UnknownNameError:
            return name
    raise AssertionError
