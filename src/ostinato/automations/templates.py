"""Texts with names in them, ``"{flow} failed: {error}"``, filled in with what happened. No code in them, no calls.

A name is one of `NAMES`, or a path into the event's own data: ``{data.customer.country}``. Doubled braces stand for
themselves. A text that is nothing but one name keeps the value's type: ``"{data.amount}"`` gives a number.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from ostinato.errors import DefinitionError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMES: Final = {
    "automation": "the automation's name",
    "firing": "the id of this firing",
    "summary": "what happened, in a sentence",
    "kind": "the event's kind",
    "key": "the event's key",
    "at": "when it happened, RFC 3339",
    "flow": "the run's flow",
    "deployment": "the run's deployment",
    "run_id": "the run's id",
    "state": "the run's state",
    "reason": "why it is in that state",
    "error": "the first line of its error",
    "duration": "how long it took, or has taken so far",
    "task": "the task that failed",
    "tags": "the run's tags",
    "url": "where the run is shown",
    "count": "how many times it happened",
    "rate": "the share of failures, in percent",
    "since": "since when it has been absent, RFC 3339",
    "limit": "the bound that was passed, in seconds",
    "data": "the event's own data, or data.NAME of it",
}
_TOKEN: Final = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_PATH: Final = re.compile(r"[A-Za-z_][\w-]*(?:\.[\w-]+)*")
_LONGEST: Final = 20_000


def check(value: Any, where: str) -> None:
    """Refuse names that nothing could ever fill in, in a text or in all texts of a structure.

    Raises:
        DefinitionError: Naming the nearest one.
    """
    if isinstance(value, str):
        for found in _TOKEN.finditer(value):
            if found[0] in ("{{", "}}"):
                continue
            if found[1] is None:
                raise DefinitionError(f"{where}: a brace stands alone in {value!r}. Write {{{{ or }}}} for one.")
            _check_name(found[1], where)
    elif isinstance(value, dict):
        for key, item in value.items():
            check(item, f"{where}[{key!r}]")
    elif isinstance(value, (list, tuple)):
        for item in value:
            check(item, where)
    elif value is not None and not isinstance(value, (bool, int, float)):
        raise DefinitionError(f"{where} must be JSON: texts, numbers, lists and objects, got {value!r}.")


def _check_name(name: str, where: str) -> None:
    head = name.partition(".")[0]
    if not _PATH.fullmatch(name) or head not in NAMES:
        hint = nearest(name, NAMES)
        raise DefinitionError(f"{where}: there is no {{{name}}} to fill in.{hint} There are {', '.join(NAMES)}.")
    if head not in (name, "data"):
        raise DefinitionError(f"{where}: {{{name}}}: only data has parts. There is {{{head}}}.")


def fill(value: Any, values: Mapping[str, Any]) -> Any:
    """Fill in a text, or all texts of a structure; what is not known of this event is left empty."""
    if isinstance(value, str):
        return _fill(value, values)
    if isinstance(value, dict):
        return {key: fill(item, values) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [fill(item, values) for item in value]
    return value


def fill_text(text: str, values: Mapping[str, Any]) -> str:
    """Fill in a text that stays one."""
    return _text(_fill(text, values))[:_LONGEST]


def _fill(text: str, values: Mapping[str, Any]) -> Any:
    whole = _TOKEN.fullmatch(text)
    if whole is not None and whole[1] is not None:
        return _look_up(whole[1], values)

    def put(found: re.Match[str]) -> str:
        if found[1] is not None:
            return _text(_look_up(found[1], values))
        return found[0][0]

    return _TOKEN.sub(put, text)


def _look_up(path: str, values: Mapping[str, Any]) -> Any:
    found: Any = values
    for part in path.split("."):
        if not isinstance(found, dict) or part not in found:
            return None
        found = found[part]
    return found


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return json.dumps(value, ensure_ascii=False)
