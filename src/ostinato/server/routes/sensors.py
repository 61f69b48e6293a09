"""Sensors: how their looks go, and their cursors. What looks came to is under ``/api/ticks?schedule=NAME``."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from ostinato.access import Who
from ostinato.runtime.sensing import get_sensor, list_sensors, sensor_shape
from ostinato.sensors.sensor import write_cursor
from ostinato.server import shapes_sensors as shapes
from ostinato.server.asking import Cursor, Here, Limit, Operator, Viewer, from_cursor, note, page, refusals, reply
from ostinato.server.served import Served
from ostinato.server.shapes import Page

router = APIRouter(prefix="/api/sensors", tags=["sensors"], responses=refusals())
SensorName = Annotated[str, Path(min_length=1, max_length=300, description="The sensor's name.")]


@router.get("", response_model=Page[shapes.Sensor])
async def list_all_sensors(
    served: Here,
    _who: Viewer,
    project: Annotated[str | None, Query(max_length=200)] = None,
    limit: Limit = 200,
    cursor: Cursor = None,
) -> Response:
    """List sensors by name."""

    def work() -> Response:
        rows = list_sensors(served.store, project=project, after=from_cursor(cursor) or "", limit=limit + 1)
        deployed = {each.name: each for each in served.store.list_deployed(project=project)}
        return page(rows, limit, lambda row: sensor_shape(row, deployed.get(row.deployment)), lambda row: row.name)

    return await served.call(work)


@router.get("/{name}", response_model=shapes.Sensor, responses=refusals(404))
async def show_sensor(served: Here, _who: Viewer, name: SensorName) -> Response:
    """Look at a sensor."""

    def work() -> Response:
        row = get_sensor(served.store, name)
        return reply(sensor_shape(row, served.store.get_deployed(row.deployment)))

    return await served.call(work)


@router.post("/{name}/pause", response_model=shapes.Sensor, responses=refusals(404))
async def pause_sensor(served: Here, who: Operator, name: SensorName) -> Response:
    """Have nobody look."""
    return await _pause(served, who, name, paused=True)


@router.post("/{name}/resume", response_model=shapes.Sensor, responses=refusals(404))
async def resume_sensor(served: Here, who: Operator, name: SensorName) -> Response:
    """Let it be looked at again, where it was."""
    return await _pause(served, who, name, paused=False)


async def _pause(served: Served, who: Who, name: str, *, paused: bool) -> Response:
    def work() -> Response:
        get_sensor(served.store, name)
        row = served.store.pause_schedule(name, paused=paused)
        note(served, who, "sensor_paused" if paused else "sensor_resumed", name)
        return reply(sensor_shape(row, served.store.get_deployed(row.deployment)))

    return await served.call(work)


@router.post("/{name}/reset", response_model=shapes.Sensor, responses=refusals(404))
async def reset_sensor(served: Here, who: Operator, name: SensorName, change: shapes.CursorChange) -> Response:
    """Set its cursor, or forget it, and look now."""

    def work() -> Response:
        get_sensor(served.store, name)
        given = write_cursor(change.cursor, name)
        row = served.store.put_cursor(name, given)
        note(served, who, "sensor_reset", name, more={"cursor": given})
        return reply(sensor_shape(row, served.store.get_deployed(row.deployment)))

    return await served.call(work)
