"""``ostinato check``."""

from __future__ import annotations

import inspect
import os
import re
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter
from rich.text import Text

from ostinato.authoring.deployment import Deployment
from ostinato.authoring.load import flows_of, forget, load_file, tasks_of
from ostinato.authoring.timetable import faults
from ostinato.cli.ending import clean_stdout
from ostinato.cli.options import AsJson  # noqa: TC001  # cyclopts reads annotations when it runs
from ostinato.cli.screen import show, show_json
from ostinato.cli.wiring import Finding, findings
from ostinato.errors import OstinatoError, TargetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import ModuleType

    from ostinato.authoring.flow import Flow
    from ostinato.authoring.task import Task

Paths = Annotated[list[str] | None, Parameter(name="PATH", help="Files, or folders to search; by default this folder.")]

_USES: Final = re.compile(r"^\s*(?:from|import)\s+ostinato\b", re.MULTILINE)
_SKIPPED: Final = {"node_modules", "site-packages", "__pycache__", "venv", "build", "dist"}


@dataclass(slots=True)
class Checked:
    """What was found in one file."""

    file: str
    flows: list[str] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    error: str | None = None


def check(path: Paths = None, /, *, json: AsJson = False) -> int:
    """Import flow files, list their flows and tasks, and compare what tasks give with what others take.

    Nothing is run but what the files do when they are imported.
    """
    files = list(_files(path or ["."]))
    with clean_stdout():
        results = [_check(file) for file, named in files if named or _uses_us(file)]
    bad = any(result.error or result.findings for result in results)
    if json:
        show_json([asdict(result) for result in results])
    else:
        _tell(results)
    return 1 if bad else 0


def _files(paths: Sequence[str]) -> Iterator[tuple[Path, bool]]:
    """Yield the files to check, and whether each was named itself."""
    for text in paths:
        path = Path(text)
        if path.is_dir():
            for folder, folders, names in os.walk(path):
                folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _SKIPPED)
                yield from ((Path(folder) / name, False) for name in sorted(names) if name.endswith(".py"))
        elif path.is_file():
            yield path, True
        else:
            raise TargetError(f"There is no file or folder {path}.")


def _uses_us(file: Path) -> bool:
    try:
        return _USES.search(file.read_text(encoding="utf-8", errors="replace")) is not None
    except OSError:
        return False


def _check(file: Path) -> Checked:
    """Check one file, and leave nothing of it loaded: files of other folders may have the same names."""
    result = Checked(str(file))
    modules, path = set(sys.modules), list(sys.path)
    try:
        module = load_file(file)
        flows, tasks = flows_of(module), tasks_of(module)
        result.flows, result.tasks = sorted(flows), sorted(tasks)
        seen: dict[tuple[str, int, str], Finding] = {}
        callers: list[Flow[Any, Any] | Task[Any, Any]] = [*flows.values(), *tasks.values()]
        for caller in callers:
            seen |= {(found.file, found.line, found.message): found for found in findings(caller)}
        for found in _faults(module, flows.values()):
            seen[found.file, found.line, found.message] = found
        result.findings = sorted(seen.values(), key=lambda found: (found.file, found.line))
    except OstinatoError as error:
        result.error = str(error)
    finally:
        sys.path[:] = path
        folder = file.absolute().parent
        for name in set(sys.modules) - modules:
            origin: Any = getattr(sys.modules[name], "__file__", None)
            if origin and folder in Path(origin).parents and "-packages" not in origin:
                forget(name)
    return result


def _faults(module: ModuleType, flows: Iterable[Flow[Any, Any]]) -> Iterator[Finding]:
    """Yield what is wrong with the schedules of flows and deployments."""
    for flow in flows:
        code = getattr(inspect.unwrap(flow.fn), "__code__", None)
        file, line = ("", 0) if code is None else (code.co_filename, code.co_firstlineno)
        yield from (Finding(file, line, message) for message in faults(Deployment(flow)))
    for value in list(vars(module).values()):
        if type(value) is Deployment and value.schedule:
            file, _, written = value.place.rpartition(", line ")
            yield from (Finding(file, int(written), message) for message in faults(value))


def _tell(results: Sequence[Checked]) -> None:
    for result in results:
        if result.error is not None:
            show(Text.assemble(("✗ ", "red"), (result.file, "bold"), "\n  " + result.error.replace("\n", "\n  ")))
            continue
        mark = ("✗ ", "red") if result.findings else ("✓ ", "green")
        what = f"  {_list('flow', result.flows)}; {_list('task', result.tasks)}"
        show(Text.assemble(mark, (result.file, "bold"), (what, "dim")))
        for found in result.findings:
            show(Text.assemble(f"  line {found.line}: ", (found.message, "red")))
    if not results:
        print("No file here uses Ostinato.")


def _list(noun: str, names: Sequence[str]) -> str:
    if not names:
        return f"no {noun}"
    return f"{noun}{'s' if len(names) > 1 else ''} {', '.join(names)}"
