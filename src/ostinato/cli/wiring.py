"""What one task gives compared with what the next one takes, read from a flow's syntax tree before anything runs.

Only what is certain is said: a name that is bound once, to the call, `submit` or `map` of a task, and passed on as it
is. A pair of annotations is refused when no value of the one could be a value of the other.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
import types
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin

from ostinato.annotations import show_hint
from ostinato.authoring.flow import Flow
from ostinato.authoring.task import Task
from ostinato.engine.clearing import short_name
from ostinato.future import unmapped

if TYPE_CHECKING:
    from collections.abc import Iterator

_NOTHING = object()
_ITERABLES = (list, set, frozenset)
How = Literal["call", "submit", "map"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that will not work."""

    file: str
    line: int
    message: str


@dataclass(frozen=True, slots=True)
class _Call:
    """A call of a task or flow in a body."""

    callee: Task[Any, Any] | Flow[Any, Any]
    how: How
    node: ast.Call


def findings(caller: Flow[Any, Any] | Task[Any, Any]) -> list[Finding]:
    """Compare the calls in the body of a flow, or of a task that calls others."""
    function = inspect.unwrap(caller.fn)
    try:
        source, first = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(source)))
    except (OSError, TypeError, SyntaxError):
        return []
    body = _Body(tree, getattr(function, "__globals__", {}))
    file = function.__code__.co_filename
    return [Finding(file, first + line - 1, message) for line, message in body.findings()]


class _Body:
    def __init__(self, tree: ast.AST, names: dict[str, Any]) -> None:
        self._tree, self._globals = tree, names
        bound = Counter(
            node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)
        )
        bound.update(node.arg for node in ast.walk(tree) if isinstance(node, ast.arg))
        self._local = set(bound)
        self._known: dict[str, _Call] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                call = self._call(node.value)
                if call is not None and bound[node.targets[0].id] == 1:
                    self._known[node.targets[0].id] = call

    def findings(self) -> Iterator[tuple[int, str]]:
        """Yield lines, counted from the function's first, and what is wrong there."""
        nodes = (node for node in ast.walk(self._tree) if isinstance(node, ast.Call))
        for node in sorted(nodes, key=lambda node: (node.lineno, node.col_offset)):
            call = self._call(node)
            if call is not None:
                yield from self._check(call)

    def _check(self, call: _Call) -> Iterator[tuple[int, str]]:
        node, spec = call.node, call.callee.spec
        if any(isinstance(arg, ast.Starred) for arg in node.args) or any(word.arg is None for word in node.keywords):
            return
        try:
            bound = spec.signature.bind(*node.args, **{word.arg or "": word.value for word in node.keywords})
        except TypeError as error:
            yield node.lineno, f"{_name(call.callee)}{spec.signature} cannot be called like this: {error}"
            return
        for name, value in bound.arguments.items():
            if not isinstance(value, ast.expr) or name not in spec.hints:
                continue
            given = self._given(value, call.how)
            if given is None:
                continue
            source, hint = given
            if not could_fit(hint, spec.hints[name]):
                takes = f"{_name(call.callee)} takes {name}: {show_hint(spec.hints[name])}"
                yield value.lineno, f"{takes}, but {_name(source)} gives {show_hint(hint)}"

    def _given(self, value: ast.expr, how: How) -> tuple[Task[Any, Any] | Flow[Any, Any], Any] | None:
        """Tell which task a value comes from, and of what type one item is that reaches the parameter."""
        plain = how != "map"
        if isinstance(value, ast.Call) and self._resolve(value.func) is unmapped and len(value.args) == 1:
            value, plain = value.args[0], True
        source = self._known.get(value.id) if isinstance(value, ast.Name) else self._call(value)
        if source is None or "return" not in source.callee.spec.hints:
            return None
        hint = source.callee.spec.hints["return"]
        if source.how == "map":
            hint = list[hint] if plain else hint  # type: ignore[valid-type]
        elif not plain:
            hint = _item(hint)
        return None if hint is _NOTHING else (source.callee, hint)

    def _call(self, node: ast.AST) -> _Call | None:
        if isinstance(node, ast.Await):
            node = node.value
        if not isinstance(node, ast.Call):
            return None
        if isinstance(node.func, ast.Attribute) and node.func.attr == "result" and not node.args:
            inner = self._call(node.func.value)
            if inner is None and isinstance(node.func.value, ast.Name):
                inner = self._known.get(node.func.value.id)
            return inner if inner is not None and inner.how == "submit" else None
        callee = self._callee(node.func)
        if callee is not None:
            return _Call(callee, "call", node)
        if isinstance(node.func, ast.Attribute) and node.func.attr in {"submit", "map"}:
            callee = self._callee(node.func.value)
            if isinstance(callee, Task):
                return _Call(callee, "submit" if node.func.attr == "submit" else "map", node)
        return None

    def _callee(self, node: ast.expr) -> Task[Any, Any] | Flow[Any, Any] | None:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "with_options":
            node = node.func.value
        found = self._resolve(node)
        return found if isinstance(found, (Task, Flow)) else None

    def _resolve(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Name):
            return None if node.id in self._local else self._globals.get(node.id)
        if isinstance(node, ast.Attribute):
            holder = self._resolve(node.value)
            return getattr(holder, node.attr, None) if isinstance(holder, types.ModuleType) else None
        return None


def could_fit(given: Any, taken: Any) -> bool:
    """Tell whether a value of one annotation could be one of the other; in doubt it could."""
    try:
        return any(_overlaps(member, taken) for member in _members(given))
    except Exception:  # a hint that beartype does not know
        return True


def _overlaps(given: Any, taken: Any) -> bool:
    from beartype.door import TypeHint  # a tenth of a second

    if Any in (given, taken) or object in (given, taken) or isinstance(given, (TypeVar, str)):
        return True
    one, other = TypeHint(given), TypeHint(_with_tower(taken))
    return bool(one.is_subhint(other) or other.is_subhint(one))


def _members(hint: Any) -> tuple[Any, ...]:
    hint = None.__class__ if hint is None else hint
    return get_args(hint) if get_origin(hint) in {Union, types.UnionType} else (hint,)


def _with_tower(hint: Any) -> Any:
    """Let an int be where a float is expected, as PEP 484 does."""
    if hint is float:
        return float | int
    if hint is complex:
        return complex | float | int
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in {Union, types.UnionType}:
        return Union[tuple(_with_tower(argument) for argument in arguments)]  # noqa: UP007  # of as many as there are  # noqa: UP007
    if origin in {*_ITERABLES, dict, tuple} and arguments:
        return origin[tuple(argument if argument is ... else _with_tower(argument) for argument in arguments)]
    return hint


def _item(hint: Any) -> Any:
    """Return what the items of a value are, where its annotation says so."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in _ITERABLES and len(arguments) == 1:
        return arguments[0]
    if origin is tuple and len(arguments) == 2 and arguments[1] is ...:  # noqa: PLR2004  # noqa: PLR2004
        return arguments[0]
    return _NOTHING


def _name(callee: Task[Any, Any] | Flow[Any, Any]) -> str:
    return short_name(callee.key) if isinstance(callee, Task) else callee.name
