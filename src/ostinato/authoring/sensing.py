"""Sensors found in the user's code: loaded by their target, and described as data for a server."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ostinato.authoring.load import load_file
from ostinato.errors import TargetError, nearest
from ostinato.fingerprint import code_fingerprint
from ostinato.sensors.sensor import Sensor
from ostinato.timing import Schedule
from ostinato.work import DEFAULT_QUEUE, Deployed

if TYPE_CHECKING:
    from types import ModuleType


def sensors_of(module: ModuleType) -> dict[str, Sensor[Any, Any]]:
    """Return the sensors that a module holds, by the name of the variable."""
    return {name: value for name, value in vars(module).items() if issubclass(type(value), Sensor)}


def load_sensor(target: str, root: str | Path | None = None) -> tuple[str, Sensor[Any, Any]]:
    """Load the sensor that a target names: ``file.py:name``, or ``file.py`` where it holds one.

    Args:
        target: The file, and the variable in it or the sensor's own name.
        root: What a relative path is looked for in; by default the current folder.

    Returns:
        The sensor's name, and the sensor.

    Raises:
        TargetError: If there is no such file or sensor, or it cannot be loaded.
    """
    place, colon, wanted = target.rpartition(":")
    if not colon or not place or "/" in wanted:
        place, wanted = target, ""
    path = Path(root or Path.cwd()) / place
    found = sensors_of(load_file(path))
    if not wanted and len(found) == 1:
        wanted = next(iter(found))
    for variable, sensor in found.items():
        if wanted in (variable, name_of_sensor(sensor, variable)):
            return name_of_sensor(sensor, variable), sensor
    if not wanted and found:
        raise TargetError(f"{path} holds {len(found)} sensors; say which: {', '.join(f'{place}:{n}' for n in found)}.")
    what = f"There is no sensor {wanted!r} in {path}." if wanted else f"There is no sensor in {path}."
    offer = f" It has {', '.join(found)}." if found else " Put @sensor on a function."
    raise TargetError(f"{what}{nearest(wanted, found)}{offer}")


def name_of_sensor(sensor: Sensor[Any, Any], variable: str) -> str:
    """Return what a sensor is called: the name it was given, or the variable that holds it."""
    return sensor.options.name or variable


def describe_sensor(
    sensor: Sensor[Any, Any], variable: str, file: str, *, project: str, pool: str, below: str
) -> tuple[Deployed, Schedule]:
    """Describe a sensor as it is stored.

    Args:
        sensor: The sensor.
        variable: The variable that holds it.
        file: The file that that is in.
        project: The project's name.
        pool: The work pool that looks at it unless the sensor names one.
        below: The file, seen from the project's root.
    """
    options, name = sensor.options, name_of_sensor(sensor, variable)
    kept = {"file": below, "timeout": options.timeout, "every": options.every}
    described = options.description if options.description is not None else inspect.getdoc(sensor.fn)
    deployed = Deployed(
        name=name,
        flow=name,
        project=project,
        target=f"{file}:{variable}",
        pool=options.pool or pool,
        queue=DEFAULT_QUEUE,
        schema='{"type": "object", "properties": {}, "additionalProperties": false}',
        options=msgspec.json.encode(kept).decode(),
        description=described or "",
        tags=sorted(options.tags),
        code=code_fingerprint(sensor.fn),
        kind="sensor",
    )
    schedule = Schedule(
        name=name,
        deployment=name,
        project=project,
        kind="sensor",
        spec=msgspec.json.encode({"every": options.every}).decode(),
        paused=options.paused,
        cursor=options.cursor,
    )
    return deployed, schedule
