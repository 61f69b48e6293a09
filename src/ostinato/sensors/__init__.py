"""Sensors: functions that look outside and request runs. What is written in a project is imported from here.

The ready ones are loaded when the first of them is asked for: they bring what talks to files, databases and servers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ostinato.sensors.sensor import RunRequest, Sensor, SensorContext, sensor

if TYPE_CHECKING:
    from ostinato.sensors.outside import files, http, objects, rows

__all__ = ["RunRequest", "Sensor", "SensorContext", "files", "http", "objects", "rows", "sensor"]


def __getattr__(name: str) -> Any:
    """Load the ready ones."""
    if name in __all__:
        return getattr(importlib.import_module("ostinato.sensors.outside"), name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
