"""Options that several commands take, declared once."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from ostinato.errors import UsageError
from ostinato.runtime.finding import store_of
from ostinato.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ostinato.authoring.flow import Flow
    from ostinato.store.store import Store

RunId = Annotated[str, Parameter(name="RUN", help="A run's id, its unique beginning or end, or `latest`.")]
TaskName = Annotated[
    str, Parameter(name="TASK", help="A task's name, NAME[INDEX] for one item of a map, a number or an id.")
]
AsJson = Annotated[bool, Parameter(name="--json", negative=(), help="Print JSON.")]
Quiet = Annotated[bool, Parameter(name=["--quiet", "-q"], negative=(), help="Show nothing while it runs.")]
Params = Annotated[
    list[str] | None,
    Parameter(name=["--param", "-p"], negative=(), help="A parameter as key=value; the value is JSON or plain text."),
]
ParamFile = Annotated[str | None, Parameter(name="--param-file", help="A JSON file with an object of parameters.")]


@contextmanager
def store() -> Iterator[Store]:
    """Open the store that the settings name."""
    with store_of(load_settings()) as opened:
        yield opened


def read_parameters(flow: Flow[Any, Any], given: Sequence[str] | None, file: str | None = None) -> dict[str, Any]:
    """Read parameters as they are typed; what is given by `-p` goes before what is in the file.

    A value is JSON if it parses and the parameter's annotation takes it, else the text as it stands; what pydantic
    makes of it is for the flow.

    Raises:
        UsageError: If one is not ``key=value``, or the file holds no JSON object.
    """
    return read_given(given, file, lambda name, text: _value(flow, name, text))


def read_given(given: Sequence[str] | None, file: str | None, value: Callable[[str, str], Any]) -> dict[str, Any]:
    """Read parameters as they are typed.

    Args:
        given: What was given by `-p`; it goes before what is in the file.
        file: A JSON file with an object of parameters.
        value: Makes of a parameter's name and text its value.

    Raises:
        UsageError: If one is not ``key=value``, or the file holds no JSON object.
    """
    values: dict[str, Any] = dict(read_file(file)) if file is not None else {}
    for item in given or ():
        name, equals, text = item.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"-p {item!r} is not key=value. For example: -p city=Oslo -p 'days=[1, 2]'.")
        values[name.strip()] = value(name.strip(), text)
    return values


def read_file(file: str) -> Mapping[str, Any]:
    """Read a JSON file with an object of parameters."""
    import json  # few commands read a file
    from pathlib import Path

    try:
        found = json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"The parameter file {file} cannot be read as JSON: {error}.") from None
    if not isinstance(found, dict):
        raise UsageError(f"The parameter file {file} must hold a JSON object, got {type(found).__name__}.")
    return found


def _value(flow: Flow[Any, Any], name: str, text: str) -> Any:
    import json

    try:
        parsed = json.loads(text)
    except ValueError:
        return text
    known = flow.spec.signature.parameters.get(name)
    if known is None or known.kind in {known.VAR_POSITIONAL, known.VAR_KEYWORD}:
        return parsed
    from pydantic import ValidationError  # costs a tenth of a second

    from ostinato.authoring.parameters import adapter

    for candidate in (parsed, text):
        try:
            adapter(flow.spec, name).validate_python(candidate)
        except ValidationError:
            continue
        return candidate
    return parsed
