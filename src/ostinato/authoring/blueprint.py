"""The blueprint of a flow: its tasks, branches, loops and maps, read from the syntax tree without running anything.

```json
{"version": 1, "first": 12, "last": 20, "complete": true,
 "nodes": [{"id": "for#1", "kind": "loop", "line": 13, "label": "city in cities"},
           {"id": "for#1.body.fetch#1", "kind": "task", "line": 14, "key": "weather.fetch", "label": "fetch",
            "how": "submit", "parent": "for#1", "arm": "body"}, …],
 "edges": [{"from": "for#1.body.fetch#1", "to": "combine#1", "by": "rows"}, …]}
```

`kind` is ``task`` or ``flow`` (a call of one: `how` is ``call``, ``submit``, ``map`` or ``start``, `key` the task's key
or the flow's name), ``branch`` (arms ``then`` and ``else``, or one a case), ``loop`` (``body``, ``else``), ``try``
(``body``, ``except …``, ``else``, ``finally``), ``with`` (``body``), ``function`` (one that is defined inside),
``wait`` or ``return``. `label` is the source's own text. `parent` and `arm` say what a node is inside of; nodes come in
the order in which Python would come to them.

An edge says that what one node gives reaches another, `by` which variable, null where directly. Edges go forward only:
what one round of a loop gives to the next is not shown. An `id` is made of names and of places among equals, so that
it stays when lines move. `complete` is false where the source could not be read. What is called and is neither task nor
flow is left out; what reaches it is taken to reach what it returns.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import textwrap
from typing import TYPE_CHECKING, Any, Final

from ostinato.authoring.callee import Callee, Scope, callees_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ostinato.authoring.flow import Flow

VERSION: Final = 1
_LONGEST: Final = 80
_WAITS: Final = frozenset({"result", "wait", "exception"})
_COLLECTS: Final = frozenset({"append", "appendleft", "add", "extend", "insert", "update"})

Given = frozenset[str]
"""The ids of the nodes whose results a value may hold."""
_NOTHING: Final[Given] = frozenset()


def blueprint_of(flow: Flow[Any, Any]) -> dict[str, Any]:
    """Read the blueprint of a flow."""
    function = inspect.unwrap(flow.fn)
    try:
        lines, first = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError, RecursionError):
        tree, first = ast.Module([], []), getattr(getattr(function, "__code__", None), "co_firstlineno", 0)
    body = next((node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))), None)
    reader = _Reader(Scope.of(function, flow.spec.key), first - 1)
    complete = False
    with contextlib.suppress(RecursionError):  # hundreds of terms in one expression
        reader.read(body.body if body is not None else ())
        complete = body is not None
    return {
        "version": VERSION,
        "first": first,
        "last": first - 1 + (body.end_lineno or 1) if body is not None else first,
        "complete": complete,
        "nodes": reader.nodes,
        "edges": [{"from": one, "to": other, "by": by} for one, other, by in reader.edges],
    }


class _Reader:
    """Walks a body in order and remembers which variable holds the results of which nodes."""

    def __init__(self, scope: Scope, above: int) -> None:
        self.nodes: list[dict[str, Any]] = []
        self.edges: dict[tuple[str, str, str | None], None] = {}
        self._scope = scope
        self._above = above
        self._held: dict[str, Given] = {}
        self._place: tuple[str, str] | None = None
        """The node that is being read inside of, and which arm of it."""
        self._arms: dict[tuple[str, str], str] = {}
        """How an arm is called in ids."""
        self._counts: dict[str, int] = {}

    def read(self, body: Iterable[ast.stmt]) -> None:
        """Read statements in order."""
        for statement in body:
            self._statement(statement)

    # --- statements

    def _statement(self, node: ast.stmt) -> None:
        known = getattr(self, f"_on_{type(node).__name__.removeprefix('Async').lower()}", None)
        if known is not None:
            known(node)
            return
        for part in ast.iter_child_nodes(node):
            if isinstance(part, ast.expr):
                self._value(part)

    def _on_assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            if isinstance(target, ast.Name) and self._scope.rename(target.id, node.value):
                return
        parts = _parts(node)
        if parts is not None:
            for target, given in [(target, self._value(value)) for target, value in parts]:
                self._hold(target, given)
            return
        given = self._value(node.value)
        for target in node.targets:
            self._hold(target, given)

    def _on_annassign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self._hold(node.target, self._value(node.value))

    def _on_augassign(self, node: ast.AugAssign) -> None:
        self._hold(node.target, self._value(node.value) | self._value(node.target))

    def _on_import(self, node: ast.Import) -> None:
        self._scope.note_import(node)

    def _on_importfrom(self, node: ast.ImportFrom) -> None:
        self._scope.note_import(node)

    def _on_functiondef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        if self._scope.note_function(node):  # a task or flow that is made here: a call of it will be a node
            return
        local = dict(self._scope.local)
        for argument in ast.walk(node.args):
            if isinstance(argument, ast.arg):
                self._scope.hide(argument.arg)
        one = self._inside("function", node.name, node, {"body": node.body}, label=node.name)
        self._scope.local = local
        ends = f"{one}.body.return#"
        self._held[node.name] = frozenset(source for source, to, _ in self.edges if to.startswith(ends))

    def _on_classdef(self, node: ast.ClassDef) -> None:
        """A class made inside a flow runs nothing that the flow is about."""

    def _on_return(self, node: ast.Return) -> None:
        given = self._value(node.value, top=True) if node.value is not None else _NOTHING
        one = self._add("return", "return", node, label=_text(node.value) if node.value is not None else "")
        self._reach(given, one, node.value)

    def _on_if(self, node: ast.If) -> None:
        given = self._value(node.test)
        one = self._inside("branch", "if", node, {"then": node.body, "else": node.orelse}, label=_text(node.test))
        self._reach(given, one, node.test)

    def _on_match(self, node: ast.Match) -> None:
        given = self._value(node.subject)
        arms = {f"case {_text(case.pattern)}{_guard(case)}": case.body for case in node.cases}
        for name in (n for case in node.cases for n in _captures(case.pattern)):
            self._held[name] = given
        one = self._inside("branch", "match", node, arms, label=_text(node.subject))
        self._reach(given, one, node.subject)

    def _on_for(self, node: ast.For | ast.AsyncFor) -> None:
        given = self._value(node.iter)
        self._hold(node.target, given)
        label = f"{_text(node.target)} in {_text(node.iter)}"
        one = self._inside("loop", "for", node, {"body": node.body, "else": node.orelse}, label=label)
        self._reach(given, one, node.iter)

    def _on_while(self, node: ast.While) -> None:
        given = self._value(node.test)
        one = self._inside("loop", "while", node, {"body": node.body, "else": node.orelse}, label=_text(node.test))
        self._reach(given, one, node.test)

    def _on_try(self, node: ast.Try) -> None:
        arms = {"body": node.body}
        for handler in node.handlers:
            arms[f"except {_text(handler.type)}" if handler.type is not None else "except"] = handler.body
        self._inside("try", "try", node, arms | {"else": node.orelse, "finally": node.finalbody})

    _on_trystar = _on_try

    def _on_with(self, node: ast.With | ast.AsyncWith) -> None:
        given = _NOTHING
        for item in node.items:
            entered = self._value(item.context_expr)
            given |= entered
            if item.optional_vars is not None:
                self._hold(item.optional_vars, entered)
        label = ", ".join(_text(item.context_expr) for item in node.items)
        one = self._inside("with", "with", node, {"body": node.body}, label=label)
        self._reach(given, one)

    # --- values: each method returns what the value may hold

    def _value(self, node: ast.AST | None, *, top: bool = False) -> Given:
        """Read an expression; `top` leaves a plain ``.result()`` of what is returned without a node of its own."""
        if node is None:
            return _NOTHING
        if isinstance(node, ast.Name):
            return self._held.get(node.id, _NOTHING) if isinstance(node.ctx, ast.Load) else _NOTHING
        if isinstance(node, ast.NamedExpr):
            given = self._value(node.value)
            self._hold(node.target, given)
            return given
        if isinstance(node, ast.Call):
            return self._call(node, top=top)
        if isinstance(node, ast.IfExp):
            return self._choice(node)
        if isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)):
            return self._comprehension(node)
        return self._union(ast.iter_child_nodes(node))

    def _union(self, parts: Iterable[ast.AST]) -> Given:
        given = _NOTHING
        for part in parts:
            given |= self._value(part)
        return given

    def _call(self, node: ast.Call, *, top: bool) -> Given:
        callee = self._scope.find(node.func)
        if callee is not None:
            return self._callee(callee, node)
        given = self._union([node.func, *node.args, *(word.value for word in node.keywords)])
        waits = isinstance(node.func, ast.Attribute) and node.func.attr in _WAITS and given
        if not waits or top:
            self._collect(node, given)
            return given
        one = self._add("wait", "wait", node, label=_text(node))
        self._reach(given, one, node.func)
        return given

    def _collect(self, node: ast.Call, given: Given) -> None:
        """``rows.append(fetch(x))``: the list holds it from then on."""
        func = node.func
        if isinstance(func, ast.Attribute) and func.attr in _COLLECTS and isinstance(func.value, ast.Name):
            self._held[func.value.id] = self._held.get(func.value.id, _NOTHING) | given

    def _callee(self, callee: Callee, node: ast.Call) -> Given:
        values = [*node.args, *(word.value for word in node.keywords), *callee.options]
        taken = [(value, self._value(value)) for value in values]
        one = self._add(callee.kind, callee.name, node, label=callee.name, key=callee.key, how=callee.how)
        for value, given in taken:
            self._reach(given, one, value)
        return frozenset({one})

    def _choice(self, node: ast.IfExp) -> Given:
        given = self._value(node.test)
        if not callees_in(self._scope, [node.body, node.orelse]):
            return given | self._value(node.body) | self._value(node.orelse)
        held = _NOTHING
        one = self._add("branch", "if", node, label=_text(node.test))
        for arm, part in (("then", node.body), ("else", node.orelse)):
            outside, self._place = self._place, (one, arm)
            held |= self._value(part)
            self._place = outside
        self._reach(given, one, node.test)
        return held

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> Given:
        parts = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        before = dict(self._held)
        first, *others = node.generators
        given = self._value(first.iter)
        self._hold(first.target, given)
        outside, held, inside = self._place, _NOTHING, [*parts, *first.ifs, *others]
        if callees_in(self._scope, inside):
            label = f"{_text(first.target)} in {_text(first.iter)}"
            one = self._add("loop", "for", node, label=label)
            self._reach(given, one, first.iter)
            self._place = (one, "body")
        for generator in others:
            self._hold(generator.target, self._value(generator.iter))
        for condition in (test for generator in node.generators for test in generator.ifs):
            self._value(condition)
        held = self._union(parts)
        self._place = outside
        walrus = {name for name in self._held if name not in before and name not in _bound(node.generators)}
        self._held = before | {name: self._held[name] for name in walrus}
        return held

    # --- nodes and edges

    def _inside(self, kind: str, word: str, node: ast.AST, arms: dict[str, list[ast.stmt]], *, label: str = "") -> str:
        """Add a node with arms; what any arm may have put into a variable may be there afterwards."""
        one = self._add(kind, word, node, label=label)
        before, after, outside = dict(self._held), dict(self._held), self._place
        for number, (arm, body) in enumerate(arms.items(), 1):
            self._arms[one, arm] = arm if arm.isalpha() else f"{arm.partition(' ')[0]}{number}"
            self._place, self._held = (one, arm), dict(after if kind == "try" else before)
            self.read(body)
            for key, given in self._held.items():
                after[key] = after.get(key, _NOTHING) | given
        self._place, self._held = outside, after
        return one

    def _add(self, kind: str, word: str, node: ast.AST, **more: str) -> str:
        prefix = "" if self._place is None else f"{self._place[0]}.{self._arms.get(self._place, self._place[1])}."
        count = self._counts[prefix + word] = self._counts.get(prefix + word, 0) + 1
        one = f"{prefix}{word}#{count}"
        line = getattr(node, "lineno", 0) + self._above
        inside = {} if self._place is None else {"parent": self._place[0], "arm": self._place[1]}
        self.nodes.append({"id": one, "kind": kind, "line": line, **more, **inside})
        return one

    def _reach(self, given: Given, one: str, value: ast.AST | None = None) -> None:
        by = value.id if isinstance(value, ast.Name) else None
        for source in sorted(given - {one}):
            self.edges[source, one, by] = None

    def _hold(self, target: ast.AST, given: Given) -> None:
        """Note what a target holds from now on."""
        if isinstance(target, ast.Name):
            self._held[target.id] = given
            self._scope.hide(target.id)
        elif isinstance(target, (ast.Tuple, ast.List)):
            for item in target.elts:
                self._hold(item.value if isinstance(item, ast.Starred) else item, given)
        elif isinstance(target, (ast.Subscript, ast.Attribute)) and isinstance(target.value, ast.Name):
            holder = target.value.id
            self._held[holder] = self._held.get(holder, _NOTHING) | given


def _text(node: ast.AST | None) -> str:
    text = " ".join(ast.unparse(node).split()) if node is not None else ""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _parts(node: ast.Assign) -> list[tuple[ast.expr, ast.expr]] | None:
    """Pair targets with values in ``a, b = x, y`` and ``a, b = await asyncio.gather(x, y)``; None for all else."""
    target, value = node.targets[0], node.value.value if isinstance(node.value, ast.Await) else node.value
    if isinstance(value, ast.Call) and _text(value.func) in {"asyncio.gather", "gather"}:
        values = value.args
    else:
        values = value.elts if isinstance(value, (ast.Tuple, ast.List)) else []
    if len(node.targets) > 1 or not isinstance(target, (ast.Tuple, ast.List)) or len(target.elts) != len(values):
        return None
    if any(isinstance(item, ast.Starred) for item in [*target.elts, *values]):
        return None
    return list(zip(target.elts, values, strict=True))


def _guard(case: ast.match_case) -> str:
    return f" if {_text(case.guard)}" if case.guard is not None else ""


def _captures(pattern: ast.pattern) -> Iterator[str]:
    for node in ast.walk(pattern):
        name = getattr(node, "name", None) or getattr(node, "rest", None)
        if isinstance(name, str):
            yield name


def _bound(generators: Sequence[ast.comprehension]) -> set[str]:
    return {node.id for generator in generators for node in ast.walk(generator.target) if isinstance(node, ast.Name)}
