"""Values checked field by field against a stored JSON Schema: parameters of a flow, answers to a question."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, Final

import fastjsonschema
import msgspec

from ostinato.annotations import show_value
from ostinato.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_SHARED: Final = ("$defs", "definitions")
"""What the rules of all fields may refer to."""
UNUSABLE: Final = (
    *(fastjsonschema.JsonSchemaException, msgspec.MsgspecError, re.error),
    *(ValueError, TypeError, AttributeError, RecursionError),
)
"""What a schema that is none raises, wherever it is wrong."""


class Fields:
    """The checks of one schema, each compiled when it is first needed."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        self._properties: dict[str, Any] = schema.get("properties", {})
        self.required: list[str] = schema.get("required", [])
        self._compiled: dict[str, Callable[[Any], Any]] = {}

    def refuse_all(self, values: Mapping[str, Any], unknown: str) -> dict[str, str]:
        """Say, by field, what is wrong, missing or unknown.

        Args:
            values: By field.
            unknown: What is said of one that the schema does not know.
        """
        refused = {name: text for name, value in values.items() if (text := self._refuse(name, value, unknown))}
        return refused | {name: "is missing" for name in self.required if name not in values}

    def _refuse(self, name: str, value: Any, unknown: str) -> str | None:
        rule = self._properties.get(name, self._schema.get("additionalProperties", False))
        if rule is False:
            return f"{unknown}{nearest(name, self._properties)}"
        if rule is True:
            return None
        check = self._compiled.get(name)
        if check is None:
            check = self._compiled[name] = self._compile(rule)
        try:
            check(value)
        except fastjsonschema.JsonSchemaValueException as error:
            return _tell(error)
        except RecursionError:
            return "is nested too deeply"
        return None

    def compile_all(self) -> None:
        """Compile them all, to see that the schema is one."""
        for rule in [*self._properties.values(), self._schema.get("additionalProperties")]:
            if isinstance(rule, dict):
                self._compile(rule)

    def _compile(self, rule: dict[str, Any]) -> Callable[[Any], Any]:
        shared: dict[str, Any] = {name: self._schema[name] for name in _SHARED if name in self._schema}
        check: Callable[[Any], Any] = fastjsonschema.compile({**shared, **rule}, use_default=False, handlers=_Nowhere())
        return check


class _Nowhere(dict[str, Any]):
    """Answers for every scheme of an address: nothing is fetched."""

    def __contains__(self, _scheme: object) -> bool:
        return True

    def __missing__(self, scheme: str) -> Any:
        raise fastjsonschema.JsonSchemaDefinitionException(f"a reference to {scheme or 'a file'} is not followed")


@functools.lru_cache(maxsize=256)
def fields_of(schema: str) -> Fields:
    """Return the checks of a schema, a JSON text."""
    return Fields(msgspec.json.decode(schema, type=dict[str, Any]))


def _tell(error: fastjsonschema.JsonSchemaValueException) -> str:
    """Say what was expected and what came, and where in the value."""
    place, _, rest = error.message.partition(" ")
    if error.rule == "anyOf":
        kinds = [kind.get("format") or kind.get("type", "") for kind in error.rule_definition if isinstance(kind, dict)]
        rest = (
            f"must be {' or '.join(kinds)}" if all(isinstance(kind, str) and kind for kind in kinds) else "fits nothing"
        )
    inside = place.removeprefix("data").lstrip(".")
    return f"{inside + ' ' if inside else ''}{rest}, got {show_value(error.value)}"
