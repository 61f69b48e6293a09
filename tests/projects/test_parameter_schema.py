"""The JSON Schema of parameters, and values that satisfy it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import uuid
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

import fastjsonschema
import pytest
from pydantic import BaseModel, Field
from typing_extensions import TypedDict  # pydantic wants it before Python 3.12

from ostinato import flow
from ostinato.authoring.schema import schema_of, values_of
from ostinato.errors import DefinitionError


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Point:
    x: int
    on: dt.date


class Model(BaseModel):
    size: float = 1
    kids: list[Model] = []


class Row(TypedDict):
    name: str


class Odd:
    pass


VALUES: list[tuple[Any, Any]] = [
    (int, 3),
    (float, 1.5),
    (bool, True),
    (str, "x"),
    (dt.date, dt.date(2024, 2, 29)),
    (dt.datetime, dt.datetime(2024, 2, 29, 12, tzinfo=dt.UTC)),
    (dt.timedelta, dt.timedelta(hours=1)),
    (Colour, Colour.RED),
    (Point, Point(1, dt.date(2024, 1, 1))),
    (Model, Model(size=2, kids=[Model()])),
    (Row, {"name": "a"}),
    (Optional[int], None),  # noqa: UP045  # as many write it
    (int | None, 3),
    (Literal["a", 1], 1),
    (decimal.Decimal, decimal.Decimal("1.50")),
    (uuid.UUID, uuid.UUID(int=5)),
    (Path, Path("/tmp/x")),
    (list[dt.date], [dt.date(2024, 1, 1)]),
    (set[int], {1, 2}),
    (tuple[int, str], (1, "a")),
    (dict[str, Point], {"a": Point(2, dt.date(2024, 1, 1))}),
    (Annotated[int, Field(gt=0)], 1),
    (Any, {"a": [1, None]}),
]


@pytest.mark.parametrize(("hint", "value"), VALUES, ids=[str(hint) for hint, _ in VALUES])
def test_schema_accepts_what_values_are_written_as_and_they_come_back(hint: Any, value: Any) -> None:
    def body(given: Any) -> None: ...

    body.__annotations__ = {"given": hint}
    made = flow(body)
    schema = schema_of(made.spec)
    written = values_of(made.spec, {"given": value})
    fastjsonschema.compile(schema)(written)
    assert made.validate((), written) == {"given": value}


@flow
def many(  # noqa: PLR0917
    plain,
    any_: Any,
    odd: Odd,
    n: Annotated[int, Field(gt=0, description="how many")] = 3,
    day: dt.date = dt.date(2020, 1, 1),
    odd_too: Odd = Odd(),  # noqa: B008
    not_a_number: float = float("nan"),
    wrong: int = None,  # type: ignore[assignment]  # noqa: RUF013
    *rest: int,
    **more: float,
) -> None: ...


def test_schema_lets_parameters_without_one_be_anything_and_says_so() -> None:
    properties = schema_of(many.spec)["properties"]
    assert properties["plain"] == {"description": "Anything: it has no annotation."}
    assert "Any has no JSON Schema" in properties["any_"]["description"]
    assert "Odd has no JSON Schema" in properties["odd"]["description"]
    assert properties["odd"].keys() == {"description"}


def test_schema_tells_defaults_and_shows_those_that_are_no_json() -> None:
    schema = schema_of(many.spec)
    properties = schema["properties"]
    assert schema["required"] == ["plain", "any_", "odd"]
    assert properties["n"] == {"type": "integer", "exclusiveMinimum": 0, "description": "how many", "default": 3}
    assert properties["day"] == {"type": "string", "format": "date", "default": "2020-01-01"}
    for name in ("odd_too", "not_a_number", "wrong"):
        assert "default" not in properties[name]
        assert properties[name]["x-default"]


def test_schema_takes_further_names_only_where_the_function_does() -> None:
    assert schema_of(many.spec)["additionalProperties"] == {"type": "number"}
    assert "rest" not in schema_of(many.spec)["properties"]

    @flow
    def closed(n: int) -> None: ...

    assert schema_of(closed.spec)["additionalProperties"] is False
    with pytest.raises(fastjsonschema.JsonSchemaException):
        fastjsonschema.compile(schema_of(closed.spec))({"n": 1, "m": 2})


def test_schema_tells_two_classes_of_one_name_apart() -> None:
    def make(kind: type) -> type:
        class Same(BaseModel):
            value: kind  # type: ignore[valid-type]

        return Same

    def body(one: Any, other: Any) -> None: ...

    body.__annotations__ = {"one": make(int), "other": make(str)}
    check = fastjsonschema.compile(schema_of(flow(body).spec))
    check({"one": {"value": 1}, "other": {"value": "a"}})
    with pytest.raises(fastjsonschema.JsonSchemaException):
        check({"one": {"value": "a"}, "other": {"value": "a"}})


def test_values_that_are_no_json_are_refused_with_their_name() -> None:
    with pytest.raises(DefinitionError, match="The parameter any_ = .* cannot be written as JSON"):
        values_of(many.spec, {"any_": object()})
