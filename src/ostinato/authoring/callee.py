"""Which task or flow an expression of a body names, found without running anything.

A name is looked for among what the body itself binds (``quick = fetch.with_options(retry=3)``, a task that is made
inside, an import inside), then in the function's closure and globals; attributes are followed through modules and
classes only, since any other object's could run code.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import sys
import types
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ostinato.authoring.flow import Flow, flow
from ostinato.authoring.task import Task, task
from ostinato.engine.clearing import short_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_MISSING = object()
_VERBS = {"task": ("submit", "map"), "flow": ("start",)}


@dataclass(frozen=True, slots=True)
class Callee:
    """A task or a flow that a call names."""

    kind: str
    """``task`` or ``flow``."""
    key: str
    name: str
    how: str = "call"
    options: tuple[ast.expr, ...] = ()
    """Values given to `with_options` on the way: futures to wait for may be among them."""


@dataclass(slots=True)
class Scope:
    """The names that a body can see."""

    names: dict[str, Any]
    module: str
    key: str
    """The function's own, ``file.function``: those of tasks that are made inside begin with it."""
    local: dict[str, Callee | None] = field(default_factory=dict)
    """What the body itself has bound; None for anything that is neither task nor flow."""

    @classmethod
    def of(cls, function: Callable[..., Any], key: str) -> Scope:
        """Look at a function: its globals, what it closes over, and its parameters, which hide both."""
        names = dict(getattr(function, "__globals__", {}))
        code = getattr(function, "__code__", None)
        cells = getattr(function, "__closure__", None) or ()
        for name, cell in zip(getattr(code, "co_freevars", ()), cells, strict=False):
            with contextlib.suppress(ValueError):  # not bound yet
                names[name] = cell.cell_contents
        scope = cls(names, getattr(function, "__module__", "") or "", key)
        with contextlib.suppress(TypeError, ValueError):
            scope.local.update(dict.fromkeys(inspect.signature(function).parameters))
        return scope

    def hide(self, name: str) -> None:
        """Note that the body has bound a name to something else."""
        self.local[name] = None

    def rename(self, name: str, value: ast.expr) -> bool:
        """Note ``name = task`` or ``name = task.with_options(...)``; tell whether it is that."""
        callee = self._named(value)
        if callee is not None:
            self.local[name] = callee
        return callee is not None

    def note_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
        """Note a function that the body defines; tell whether it is a task or a flow."""
        for decorator in node.decorator_list:
            target = decorator.func if isinstance(decorator, ast.Call) else decorator
            value = self._object(target)
            if value is task or value is flow:
                self.local[node.name] = self._made(decorator, "task" if value is task else "flow", node.name)
                return True
        self.local[node.name] = None
        return False

    def _made(self, decorator: ast.expr, kind: str, name: str) -> Callee:
        words = decorator.keywords if isinstance(decorator, ast.Call) else []
        given = next((word.value for word in words if word.arg == "name"), None)
        if isinstance(given, ast.Constant) and isinstance(given.value, str):
            return Callee(kind, given.value, short_name(given.value))
        return Callee(kind, f"{self.key}.{name}" if kind == "task" else name, name)

    def note_import(self, node: ast.Import | ast.ImportFrom) -> None:
        """Note an import inside the body, as far as what it imports is loaded already."""
        package = self.module.rpartition(".")[0] if isinstance(node, ast.ImportFrom) and node.level else ""
        for alias in node.names:
            if isinstance(node, ast.Import):
                name = alias.asname or alias.name.partition(".")[0]
                value: Any = sys.modules.get(alias.name if alias.asname else name, _MISSING)
            else:
                name = alias.asname or alias.name
                whole = ".".join(part for part in (package, node.module) if part)
                value = vars(sys.modules[whole]).get(alias.name, _MISSING) if whole in sys.modules else _MISSING
            self.local.pop(name, None)
            self.names[name] = value

    def find(self, func: ast.expr) -> Callee | None:
        """Return the task or flow that a call with this function calls."""
        callee = self._named(func)
        if callee is not None:
            return callee
        if isinstance(func, ast.Attribute):
            callee = self._named(func.value)
            if callee is not None and func.attr in _VERBS[callee.kind]:
                return replace(callee, how=func.attr)
        return None

    def _named(self, node: ast.expr) -> Callee | None:
        if isinstance(node, ast.Name) and node.id in self.local:
            return self.local[node.id]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "with_options":
            callee = self._named(node.func.value)
            if callee is None:
                return None
            options = tuple(word.value for word in node.keywords if word.arg == "wait_for")
            return replace(callee, options=callee.options + options)
        value = self._object(node)
        if isinstance(value, Task):
            return Callee("task", value.key, short_name(value.key))
        if isinstance(value, Flow):
            return Callee("flow", value.name, value.name)
        return None

    def _object(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Name):
            return _MISSING if node.id in self.local else self.names.get(node.id, _MISSING)
        if isinstance(node, ast.Attribute):
            holder = self._object(node.value)
            if isinstance(holder, (types.ModuleType, type)):
                return vars(holder).get(node.attr, _MISSING)
        return _MISSING


def callees_in(scope: Scope, nodes: Iterable[ast.AST]) -> bool:
    """Tell whether a task or flow is called anywhere in some expressions."""
    return any(
        isinstance(inner, ast.Call) and scope.find(inner.func) is not None for node in nodes for inner in ast.walk(node)
    )
