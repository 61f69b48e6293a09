"""Sensors as values: what the decorator takes, what a look gives, how they are found in a project."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ostinato import Skip, flow
from ostinato.authoring.deployment import Deployment
from ostinato.authoring.project import find_project
from ostinato.authoring.scan import scan
from ostinato.authoring.sensing import load_sensor
from ostinato.errors import DefinitionError, SensorError, TargetError
from ostinato.sensors import RunRequest, SensorContext, sensor
from ostinato.sensors.sensor import parse_cursor


@flow
def load(day: str = "", path: Path = Path("x")) -> None:
    del day, path


def test_it_is_just_its_function_when_called() -> None:
    @sensor
    def looks(context: SensorContext) -> list[RunRequest]:
        return [RunRequest(load, key=str(context.cursor))]

    assert looks(SensorContext("c"))[0].key == "c"
    assert (looks.name, looks.options.every, looks.options.timeout) == ("looks", 30, 60)


def test_a_look_takes_all_that_a_function_may_give() -> None:
    async def waits() -> RunRequest:
        return RunRequest(load)

    async def yields() -> Any:
        yield RunRequest(load)
        yield Skip("and no more")

    def returns_in_the_end() -> Any:
        yield None
        return Skip("in the end")

    given: list[tuple[Any, int, str | None]] = [
        (returns_in_the_end, 0, "in the end"),
        (lambda: None, 0, None),
        (lambda: Skip("no"), 0, "no"),
        (lambda: RunRequest(load), 1, None),
        (lambda: [RunRequest(load), None, RunRequest(load)], 2, None),
        (lambda: iter([]), 0, None),
        (waits, 1, None),
        (yields, 1, None),
    ]
    for fn, requests, skip in given:
        look = sensor(fn).look(SensorContext())
        assert (len(look.requests), look.skip) == (requests, skip)


def test_the_context_goes_to_a_function_that_takes_one() -> None:
    seen = []

    @sensor
    def first(anything: Any) -> None:
        seen.append(anything.cursor)

    @sensor
    def second(*, retries: int = 3) -> None:
        seen.append(retries)

    @sensor
    def third(context: Any = None) -> None:
        seen.append(context.cursor)

    for each in (first, second, third):
        each.look(SensorContext({"a": 1}))
    assert seen == [{"a": 1}, 3, {"a": 1}]
    with pytest.raises(DefinitionError, match="takes its context, or nothing; fourth takes a, b"):

        @sensor
        def fourth(a: Any, b: Any) -> None: ...


def test_parameters_and_cursors_become_plain_data() -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    request = RunRequest(load, parameters={"path": Path("/in/a"), "at": at})
    assert request.parameters == {"path": "/in/a", "at": "2026-01-02T00:00:00Z"}
    with pytest.raises(DefinitionError, match="The parameter 'x' cannot be kept as plain data"):
        RunRequest(load, parameters={"x": object()})

    @sensor
    def odd(context: SensorContext) -> None:
        context.cursor = object()

    with pytest.raises(SensorError, match="The cursor of odd cannot be kept as plain data"):
        odd.look(SensorContext())


def test_a_request_names_a_flow_a_deployment_or_a_name() -> None:
    assert RunRequest(load).target == "load"
    assert RunRequest(Deployment(load, name="nightly")).target == "load/nightly"
    assert RunRequest("other").target == "other"
    for wrong in (5, "", None):
        with pytest.raises(DefinitionError, match="can be requested of a flow"):
            RunRequest(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every must be seconds"),
        ({"every": "5"}, "every must be seconds"),
        ({"timeout": -1}, "timeout must be seconds"),
        ({"evry": 5}, "has no option 'evry'.* Did you mean 'every'"),
        ({"name": ""}, "name is a text"),
        ({"cursor": object()}, "The cursor cannot be kept"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        sensor(**options)


def test_spans_may_be_timedeltas() -> None:
    assert sensor(every=timedelta(minutes=1))(lambda: None).options.every == 60


def test_more_requests_than_a_look_may_make_are_an_error() -> None:
    @sensor
    def floods() -> Any:
        while True:
            yield RunRequest("load")

    with pytest.raises(SensorError, match="more than 10,000 runs"):
        floods.look(SensorContext())


@pytest.mark.parametrize(("text", "cursor"), [("5", 5), ('"5"', "5"), ("2026-01-02", "2026-01-02"), ("[1]", [1])])
def test_a_typed_cursor_is_json_or_a_text(text: str, cursor: Any) -> None:
    assert parse_cursor(text) == cursor


# --- in a project

MODULE = """
from ostinato import flow
from ostinato.sensors import sensor
from ostinato.sensors.outside import files

@flow
def load(path: str) -> None: ...

@sensor(every=5, pool="outside", tags=["x"], cursor=1)
def new_orders(context):
    "Look for orders."

landing = files("/in/*.csv", start=load, every=1)
"""


def test_a_scan_finds_sensors_and_their_schedules(tmp_path: Path) -> None:
    (tmp_path / "orders.py").write_text(MODULE)
    (tmp_path / "again.py").write_text("from orders import new_orders, landing\n")
    manifest = scan(find_project(tmp_path))
    assert not manifest.errors
    found = {each.name: each for each in manifest.deployed}
    assert {name: each.kind for name, each in found.items()} == {
        "landing": "sensor", "load": "flow", "new_orders": "sensor",
    }  # fmt: skip
    assert found["new_orders"].target == f"{tmp_path}/orders.py:new_orders"
    assert (found["new_orders"].pool, found["new_orders"].tags) == ("outside", ["x"])
    assert found["new_orders"].description == "Look for orders."
    rows = {row.name: row for row in manifest.schedules if row.kind == "sensor"}
    assert {name: json.loads(row.spec)["every"] for name, row in rows.items()} == {"landing": 1, "new_orders": 5}
    assert rows["new_orders"].cursor == "1"


def test_a_sensor_and_a_flow_of_one_name_are_refused(tmp_path: Path) -> None:
    text = MODULE.replace("def new_orders", "def load_orders").replace("cursor=1)", "name='load')")
    (tmp_path / "orders.py").write_text(text)
    manifest = scan(find_project(tmp_path))
    assert "are called 'load'" in manifest.errors["orders.py"]
    assert {each.kind for each in manifest.deployed if each.name == "load"} == {"flow"}


def test_a_target_names_a_sensor(tmp_path: Path) -> None:
    (tmp_path / "orders_of_ours.py").write_text(MODULE)
    target = tmp_path / "orders_of_ours.py"
    assert load_sensor(f"{target}:landing")[0] == "landing"
    with pytest.raises(TargetError, match="holds 2 sensors; say which"):
        load_sensor(str(target))
    with pytest.raises(TargetError, match="no sensor 'landings'.* Did you mean 'landing'"):
        load_sensor(f"{target}:landings")
