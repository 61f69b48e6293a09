"""Forms of questions: their JSON Schema, to be stored, and answers made into values again, by pydantic."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import msgspec
from pydantic import TypeAdapter, ValidationError

from ostinato.annotations import show_hint
from ostinato.errors import ParameterError, UsageError

_ONLY = "value"
"""The one field of a form that is a plain type."""


class Form:
    """What an answer must be: a model, a dataclass, or a plain type, which becomes the field ``value``."""

    def __init__(self, kind: Any) -> None:
        """Describe a form.

        Raises:
            UsageError: If it has no JSON Schema.
        """
        self.kind, self.name = kind, getattr(kind, "__name__", show_hint(kind))
        try:
            self._adapter: TypeAdapter[Any] = TypeAdapter(kind)
            schema = _object(self._adapter.json_schema())
        except Exception as error:  # pydantic raises what it likes, and so does a class of the user's own
            message = (
                f"ask({self.name}) cannot be answered: it has no JSON Schema ({type(error).__name__}: {error}). Ask "
                "with a pydantic model, a dataclass, or a plain type such as bool."
            )
            raise UsageError(message) from None
        self._is_plain = schema is None
        if schema is None:
            found = self._adapter.json_schema()
            shared = {"$defs": found.pop("$defs")} if "$defs" in found else {}
            schema = {"type": "object", "properties": {_ONLY: found}, "required": [_ONLY], **shared}
        self.schema = msgspec.json.encode({"additionalProperties": False, **schema}).decode()
        doc = "" if self._is_plain else inspect.cleandoc(vars(kind).get("__doc__") or "")  # its own, not its base's
        self.description = "" if doc.startswith(f"{self.name}(") else doc

    def value(self, values: Any) -> Any:
        """Make the form's value of what was answered.

        Raises:
            ParameterError: If it does not fit: the form may have changed since it was asked.
        """
        try:
            return self._adapter.validate_python(values[_ONLY] if self._is_plain else values)
        except (ValidationError, KeyError, TypeError) as error:
            fields = _fields(error)
            lines = "".join(f"\n  {name}: {text}" for name, text in fields.items())
            message = f"What was answered does not fit {self.name}; has it changed since it was asked?{lines}"
            raise ParameterError(message, fields) from None


@functools.lru_cache(maxsize=256)
def form_of(kind: Any) -> Form:
    """Describe a form; made once a class."""
    return Form(kind)


def _object(schema: dict[str, Any]) -> dict[str, Any] | None:
    """Return the schema if it is an object's with fields of its own, with a reference at its top resolved."""
    reference = schema.get("$ref")
    if isinstance(reference, str):
        named = schema["$defs"][reference.rpartition("/")[2]]
        schema = {**named, "$defs": schema["$defs"]}
    return schema if schema.get("type") == "object" and "properties" in schema else None


def _fields(error: Exception) -> dict[str, str]:
    if isinstance(error, ValidationError):
        return {".".join(map(str, each["loc"])) or _ONLY: each["msg"] for each in error.errors()}
    return {_ONLY: "is missing"}
