"""The floors, the sizes, and what importing the package does."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import ostinato

SOURCE = Path(ostinato.__file__).parent
MODULES = {
    ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in SOURCE.rglob("*.py")
    if "migrations" not in path.parts
}

FLOORS = {
    0: "errors states clock ids telemetry settings",
    1: "records history outcomes retry limits hooks caching fingerprint fingerprint_code fingerprint_frames fingerprint_types "
    "annotations future handle context values resources work access connection link waiting "
    "schedules sensors automations timing specs deadlines",
    2: "engine",
    3: "store io executors launchers authoring",
    4: "runtime",
    5: "loops",
    6: "server",
    7: "cli testing simulate __main__",
}
FLOOR_OF = {name: floor for floor, names in FLOORS.items() for name in names.split()}

DOORS = {
    ("ostinato.authoring.flow", "ostinato.runtime.start"): "a flow that is called outside a run loads the runtime",
    ("ostinato.waiting", "ostinato.runtime.emitting"): "an event that is emitted outside a run does too",
}
"""Imports that go up, each with its reason: the lazy doors."""

LONGEST_FILE = 500
LONGEST_FUNCTION = 60
MOST_NAMES = 35


def _imports(module: str) -> list[tuple[str, bool]]:
    """List what a module imports of ours, and whether it does so inside a function; type checking left out."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    found: list[tuple[str, bool]] = []

    def visit(node: ast.AST, *, inside: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                for other in child.orelse:
                    visit(other, inside=inside)
                continue
            if isinstance(child, ast.ImportFrom) and child.module and child.module.split(".")[0] == "ostinato":
                for alias in child.names:
                    whole = f"{child.module}.{alias.name}"
                    found.append((whole if whole in MODULES else child.module, inside))
            if isinstance(child, ast.Import):
                found.extend((a.name, inside) for a in child.names if a.name.split(".")[0] == "ostinato")
            visit(child, inside=inside or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)))

    visit(tree, inside=False)
    return found


def _part(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


GRAPH = {module: _imports(module) for module in MODULES}


def test_floors_are_kept() -> None:
    wrong = []
    for module, imports in GRAPH.items():
        here = _part(module)
        if not here:
            continue
        for target, _ in imports:
            there = _part(target)
            if there == here or (module, target) in DOORS:
                continue
            if FLOOR_OF[there] > FLOOR_OF[here]:
                wrong.append(f"{module} (floor {FLOOR_OF[here]}) imports {target} (floor {FLOOR_OF[there]})")
            if FLOOR_OF[there] == FLOOR_OF[here] and 2 <= FLOOR_OF[here] < max(FLOORS):
                wrong.append(f"{module} imports {target}, of another package of its floor")
    assert not wrong, "\n".join(wrong)


def test_every_module_has_a_floor() -> None:
    assert {_part(module) for module in MODULES} - {""} <= set(FLOOR_OF)


def test_imports_have_no_cycle() -> None:
    done: set[str] = set()

    def walk(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"an import cycle: {' -> '.join((*path[path.index(module) :], module))}"
        if module in done:
            return
        for target, _ in GRAPH.get(module, ()):
            if target != module and (module, target) not in DOORS:
                walk(target, (*path, module))
        done.add(module)

    for module in GRAPH:
        walk(module, ())


def _functions() -> list[tuple[str, int]]:
    found = []
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                has_docstring = ast.get_docstring(node) is not None
                start = node.body[1].lineno if has_docstring and len(node.body) > 1 else node.body[0].lineno
                found.append((f"{module}.{node.name}", (node.end_lineno or 0) - start + 1))
    return found


def test_files_can_be_read_in_a_sitting() -> None:
    lengths = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in MODULES.items()}
    assert {m: n for m, n in lengths.items() if n > LONGEST_FILE} == {}


def test_functions_are_short() -> None:
    assert [(name, lines) for name, lines in _functions() if lines > LONGEST_FUNCTION] == []


def test_no_module_is_named_after_nothing() -> None:
    refused = {"utils", "util", "helpers", "common", "base", "misc", "core"}
    assert not {module for module in MODULES if module.rpartition(".")[2] in refused}


def test_public_names_are_few_and_sorted() -> None:
    assert ostinato.__all__ == sorted(ostinato.__all__)
    assert len(ostinato.__all__) <= MOST_NAMES


WATCH = """
import builtins, json, os, sys, threading
before = set(sys.modules)
opened, read = [], []
inside = []

def audit(event, args):
    if event == "open" and isinstance(args[0], str) and not args[0].startswith(tuple(sys.path[1:]) + (sys.prefix, sys.base_prefix)):
        opened.append(args[0])
    if event in {"socket.connect", "subprocess.Popen", "_thread.start_new_thread"}:
        opened.append(event)

class Environment(type(os.environ)):
    pass

original = type(os.environ).__getitem__
def watched(self, key):
    caller = sys._getframe(1)
    while caller is not None and caller.f_code.co_filename.endswith(("os.py", "_collections_abc.py")):
        caller = caller.f_back
    if caller is not None and "/ostinato/" in caller.f_code.co_filename:
        read.append(key)
    return original(self, key)
type(os.environ).__getitem__ = watched
sys.addaudithook(audit)
from ostinato import flow, task
print(json.dumps({
    "modules": len(set(sys.modules) - before),
    "threads": threading.active_count(),
    "opened": [p for p in opened if "ostinato" not in p],
    "read": read,
    "heavy": [m for m in ("sqlalchemy", "pydantic", "rich", "beartype", "cyclopts", "sqlite3", "psycopg") if m in sys.modules],
}))
"""


@pytest.fixture(scope="module")
def imported() -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(1, {str(SOURCE.parent)!r})\n{WATCH}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_import_starts_no_thread_opens_no_file_reads_no_environment(imported: dict[str, object]) -> None:
    assert imported["threads"] == 1
    assert imported["opened"] == []
    assert imported["read"] == []


def test_import_stays_light(imported: dict[str, object]) -> None:
    assert imported["heavy"] == []
    assert int(str(imported["modules"])) <= 300
