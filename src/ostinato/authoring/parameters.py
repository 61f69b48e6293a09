"""Flow parameters: checked and converted by their annotations before a run exists, with pydantic."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from ostinato.annotations import show_value
from ostinato.errors import ParameterError

if TYPE_CHECKING:
    from ostinato.authoring.spec import Spec

_ANY_CLASS = ConfigDict(arbitrary_types_allowed=True)


def validate(flow: str, spec: Spec, values: dict[str, Any]) -> dict[str, Any]:
    """Check and convert parameters.

    Args:
        flow: The flow's name, for messages.
        spec: Its function.
        values: One per parameter, by name.

    Returns:
        The converted values.

    Raises:
        ParameterError: With a message per field.
    """
    checked, refused = {}, {}
    for name, value in values.items():
        try:
            checked[name] = adapter(spec, name).validate_python(value)
        except ValidationError as error:
            refused[name] = _tell(error, value)
    if refused:
        lines = "".join(f"\n  {name}: {text}" for name, text in refused.items())
        message = f"The parameters of {flow} are refused; no run was made:{lines}"
        raise ParameterError(message, refused)
    return checked


@functools.lru_cache(maxsize=4096)
def adapter(spec: Spec, name: str) -> TypeAdapter[Any]:
    """Return what validates one parameter; made once, since a process may run a flow hundreds of times a second."""
    kind = spec.signature.parameters[name].kind
    hint = spec.hints.get(name, Any)
    if kind.name == "VAR_POSITIONAL":
        hint = tuple[hint, ...]  # type: ignore[valid-type]
    elif kind.name == "VAR_KEYWORD":
        hint = dict[str, hint]  # type: ignore[valid-type]
    try:
        return TypeAdapter(hint, config=_ANY_CLASS)
    except PydanticUserError:  # a model or dataclass brings its own configuration
        return TypeAdapter(hint)


def _tell(error: ValidationError, value: Any) -> str:
    parts = []
    for item in error.errors(include_url=False):
        place = "".join(f"[{step!r}]" for step in item["loc"])
        came = show_value(item.get("input", value))
        parts.append(f"{place + ': ' if place else ''}{item['msg']}, got {came}")
    return "; ".join(parts)
