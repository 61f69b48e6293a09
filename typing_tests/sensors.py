"""Sensors, as a type checker sees them."""

from collections.abc import AsyncIterator, Iterator
from typing import assert_type

from ostinato import Skip, flow
from ostinato.sensors import RunRequest, Sensor, SensorContext, sensor
from ostinato.sensors.outside import files


@flow
def load(path: str) -> int:
    return len(path)


@sensor
def bare(context: SensorContext) -> Iterator[RunRequest]:
    yield RunRequest(load, parameters={"path": str(context.cursor)}, key="k")


@sensor(every=10, name="other")
def with_options() -> Skip:
    return Skip("nothing")


@sensor
async def asynchronous(context: SensorContext) -> AsyncIterator[RunRequest]:
    yield RunRequest("load", tags=["x"])
    context.cursor = 1


assert_type(bare(SensorContext()), Iterator[RunRequest])
assert_type(with_options(), Skip)
assert_type(with_options, Sensor[[], Skip])
landing = files("/in/*.csv", start=load, every=5)
landing.look(SensorContext())
