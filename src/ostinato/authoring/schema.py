"""The JSON Schema of a flow's parameters, by pydantic: what forms are made of, and what a start is checked by.

```json
{"type": "object", "properties": {"day": {"type": "string", "format": "date"}, "n": {"type": "integer", "default": 3}},
 "required": ["day"], "additionalProperties": false, "$defs": {…}}
```

A parameter whose annotation has no schema (none at all, ``Any``, a class of the user's own) accepts anything, and its
``description`` says so. A default that is no JSON is left out and shown in ``x-default``; the parameter may still be
left out.
"""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from ostinato.annotations import show_hint, show_value
from ostinato.authoring.parameters import adapter
from ostinato.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from inspect import Parameter

    from ostinato.authoring.spec import Spec


def schema_of(spec: Spec) -> dict[str, Any]:
    """Describe the parameters of a function. What is passed as ``*args`` cannot be named and is not in it."""
    parameters = {name: p for name, p in spec.signature.parameters.items() if p.kind is not p.VAR_POSITIONAL}
    adapters = {name: known for name, p in parameters.items() if (known := _adapter(spec, p)) is not None}
    found, shared = TypeAdapter.json_schemas([(name, "validation", known) for name, known in adapters.items()])
    schema: dict[str, Any] = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    for name, parameter in parameters.items():
        described = dict(found[name, "validation"]) if name in adapters else _anything(spec, name)
        if parameter.kind is parameter.VAR_KEYWORD:
            schema["additionalProperties"] = described.get("additionalProperties", True)
            continue
        schema["properties"][name] = described | _default(parameter, adapters.get(name))
        if parameter.default is parameter.empty:
            schema["required"].append(name)
    return schema | ({"$defs": shared["$defs"]} if shared.get("$defs") else {})


def values_of(spec: Spec, values: Mapping[str, Any]) -> dict[str, Any]:
    """Write parameters as JSON does, so that they satisfy the schema and validate to the same values again.

    Raises:
        DefinitionError: If one cannot be written so.
    """
    return {name: _as_json(spec, name, value) for name, value in values.items()}


def _as_json(spec: Spec, name: str, value: Any) -> Any:
    try:
        return _dump(adapter(spec, name), value)
    except Exception as error:
        message = (
            f"The parameter {name} = {show_value(value)} cannot be written as JSON ({type(error).__name__}). Give a "
            f"value that can, or make it the default of the parameter."
        )
        raise DefinitionError(message) from error


def _adapter(spec: Spec, parameter: Parameter) -> TypeAdapter[Any] | None:
    if spec.hints.get(parameter.name, Any) is Any and parameter.kind is not parameter.VAR_KEYWORD:
        return None
    try:
        found = adapter(spec, parameter.name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a default inside a model that is no JSON is left out by pydantic
            found.json_schema()
    except Exception:  # pydantic raises what it likes, and so does a class of the user's own
        return None
    return found


def _anything(spec: Spec, name: str) -> dict[str, Any]:
    hint = spec.hints.get(name)
    if hint is None:
        return {"description": "Anything: it has no annotation."}
    return {"description": f"Anything: {show_hint(hint)} has no JSON Schema."}


def _default(parameter: Parameter, known: TypeAdapter[Any] | None) -> dict[str, Any]:
    if parameter.default is parameter.empty:
        return {}
    try:
        return {"default": _dump(known or TypeAdapter(Any), parameter.default)}
    except Exception:
        return {"x-default": show_value(parameter.default)}


def _dump(known: TypeAdapter[Any], value: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        text = known.dump_json(value)
    known.validate_json(text)  # a NaN, for one, becomes a null
    return json.loads(text)
