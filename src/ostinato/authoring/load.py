"""From a target to the flow it names: ``file.py:flow``, ``file.py``, ``module:flow``, or what `Flow.target` says.

A file is loaded as a module named by its stem, never as ``__main__``: its own ``if __name__ == "__main__":`` stays
quiet, and its folder comes first on the path, so that it finds the files beside it. A file of a package is loaded
as a part of that package. Either way the module is registered, so that what it pickled is found again.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import importlib.util
import os
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ostinato.authoring.flow import LOADING, Flow
from ostinato.authoring.task import Task
from ostinato.engine.clearing import short_name
from ostinato.errors import TargetError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

_OURS = str(Path(__file__).parent.parent / "_")[:-1]
_FORMS = "Expected file.py:flow, file.py or module:flow."
_loaded: dict[str, Path] = {}
"""The file of each module that was loaded here, by the module's name."""


def load_flow(target: str, cwd: str | Path | None = None) -> Flow[Any, Any]:
    """Load the flow that a target names.

    Args:
        target: As in the module's first line; without a flow's name the file must hold exactly one.
        cwd: What a relative path and a module are looked for in; by default the current folder.

    Raises:
        TargetError: If there is no such file, module or flow, or it cannot be loaded.
    """
    folder = Path(cwd) if cwd is not None else Path.cwd()
    place, name = _split(target)
    module = load_file(folder / place) if _is_file(place, folder) else _load_module(place, folder)
    return _find(module, name)


def load_task(target: str, key: str) -> Task[Any, Any]:
    """Load the task of that key from the file or module of a flow's target, or from what that imported.

    Raises:
        TargetError: If there is none, with the nearest name.
    """
    flow = load_flow(target)
    module = sys.modules[flow.fn.__module__]
    near = Path(getattr(module, "__file__", None) or "").parent
    modules = [module, *(found for found in list(sys.modules.values()) if found is not module and _beside(found, near))]
    tasks: dict[str, Task[Any, Any]] = {}
    for item in modules:
        for value in list(vars(item).values()):
            if isinstance(value, Task):
                tasks.setdefault(value.key, value)
    if key in tasks:
        return tasks[key]
    names = sorted(tasks)
    raise TargetError(
        f"The task {key!r} is not in {_file_of(module)} any more, nor in what it imports from beside it; there "
        f"{'are ' + ', '.join(names) if names else 'is no task at all'}.{_nearest_key(key, names)} A task that is made "
        "inside a function cannot be found again: define it at the top of its module."
    )


def load_file(path: Path) -> ModuleType:
    """Load a Python file as a module, unless this process has it already.

    Raises:
        TargetError: If it is not there or cannot be imported, with the lines of the user's own that led there.
    """
    path = path.expanduser().absolute()
    if not path.is_file():
        raise TargetError(f"There is no file {path}.{_nearest_file(path)} {_FORMS}")
    path = path.resolve() if ".." in path.parts else path
    root, name = _name_in_package(path)
    known = sys.modules.get(name)
    if known is not None and _same(_loaded.get(name) or getattr(known, "__file__", None), path):
        if sys.path[0] != str(path.parent):
            _put_first(root, path.parent)  # for what it imports only when it runs
        return known
    _refuse_to_hide(name, known, path)
    _put_first(root, path.parent)
    if root != path.parent:
        return _import(name, path)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TargetError(f"{path} is not a Python file. {_FORMS}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name], _loaded[name] = module, path
    try:
        with _loading():
            spec.loader.exec_module(module)
    except BaseException as error:
        forget(name)
        raise _unloadable(path, error) from error
    return module


def put_project_first(root: str | Path) -> None:
    """Let the modules of a project find each other from its folder, and from ``src`` in it, wherever they are."""
    _put_first(*(folder for folder in (Path(root) / "src", Path(root)) if folder.is_dir()))


def distrust_bytecode(root: str | Path) -> None:
    """Let this process neither read nor write bytecode, of modules below a folder, that might be of an earlier save.

    Python takes bytecode for fresh by the second of the source's last change and its size: a file that is saved twice
    within one second, with a digit changed, would come as it was before. What was compiled after that second is safe.
    """
    prefix = os.path.join(os.path.abspath(root), "")  # noqa: PTH100, PTH118  # as loaders have it: text
    loader = importlib.machinery.SourceFileLoader
    known = loader.path_stats

    def path_stats(self: Any, path: str) -> Any:
        stats = known(self, path)
        if path.startswith(prefix) and _compiled_at(path) < int(stats["mtime"]) + 1:
            raise OSError  # what a loader takes for: no bytecode here
        return stats

    loader.path_stats = path_stats  # type: ignore[method-assign]


def _compiled_at(path: str) -> float:
    """Return when a module was compiled last; now, if it was not."""
    try:
        return Path(importlib.util.cache_from_source(path)).stat().st_mtime
    except (OSError, NotImplementedError):
        return time.time()


def forget(name: str) -> None:
    """Take a module that was loaded from its file out again."""
    sys.modules.pop(name, None)
    _loaded.pop(name, None)


def flows_of(module: ModuleType) -> dict[str, Flow[Any, Any]]:
    """Return the flows that a module defines, by the name of the variable that holds each."""
    found = {name: value for name, value in vars(module).items() if isinstance(value, Flow)}
    own = {name: value for name, value in found.items() if value.fn.__module__ == module.__name__}
    return own or found


def tasks_of(module: ModuleType) -> dict[str, Task[Any, Any]]:
    """Return the tasks that a module defines, by the name of the variable that holds each."""
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, Task) and value.fn.__module__ == module.__name__
    }


@contextlib.contextmanager
def _loading() -> Iterator[None]:
    token = LOADING.set(True)
    try:
        yield
    finally:
        LOADING.reset(token)


def _split(target: str) -> tuple[str, str]:
    place, colon, name = target.rpartition(":")
    if not colon or not place or "/" in name or "\\" in name:
        place, name = target, ""  # no flow named: ``file.py``, or a drive's letter
    if not place.strip():
        raise TargetError(f"{target!r} names no file and no module. {_FORMS}")
    return place, name


def _is_file(place: str, folder: Path) -> bool:
    return place.endswith(".py") or "/" in place or "\\" in place or (folder / place).is_file()


def _load_module(name: str, folder: Path) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise TargetError(f"{name!r} is no file that there is and no name of a module. {_FORMS}")
    _put_first(folder)
    try:
        missing = importlib.util.find_spec(name) is None
    except ModuleNotFoundError as error:
        missing = error.name is not None and (name == error.name or name.startswith(f"{error.name}."))
        if not missing:
            raise _unloadable(name, error) from error
    except Exception as error:  # a package above it that fails to import
        raise _unloadable(name, error) from error
    if missing:
        files = [path.name for path in folder.glob("*.py")]
        hint = nearest(f"{name}.py", files)
        raise TargetError(f"There is no module {name!r} in {folder} or installed.{hint} {_FORMS}")
    return _import(name, name)


def _import(name: str, shown: Path | str) -> ModuleType:
    try:
        with _loading():
            module = importlib.import_module(name)
    except BaseException as error:
        raise _unloadable(shown, error) from error
    if isinstance(shown, Path):
        _loaded[name] = shown
    return module


def _find(module: ModuleType, name: str) -> Flow[Any, Any]:
    flows = flows_of(module)
    if not name:
        if len(flows) == 1:
            return next(iter(flows.values()))
        raise TargetError(_which(module, flows))
    value: Any = module
    for part in name.split("."):
        value = getattr(value, part, None)
    if isinstance(value, Flow):
        return value
    everywhere = {key: item for key, item in vars(module).items() if isinstance(item, Flow)}
    for item in everywhere.values():
        if name in {item.fn.__qualname__, item.name}:
            return item
    file = _file_of(module)
    if value is not None:
        kind = "a task" if isinstance(value, Task) else f"a {type(value).__name__}"
        raise TargetError(f"{name!r} in {file} is {kind}, not a flow. {_offer(file, flows)}")
    raise TargetError(f"There is no flow {name!r} in {file}.{nearest(name, flows)} {_offer(file, flows)}")


def _which(module: ModuleType, flows: dict[str, Flow[Any, Any]]) -> str:
    file = _file_of(module)
    if not flows:
        return f"There is no flow in {file}. Put @flow on the function that is to run."
    return f"{file} holds {len(flows)} flows; say which one: {', '.join(f'{file}:{name}' for name in flows)}."


def _offer(file: str, flows: dict[str, Flow[Any, Any]]) -> str:
    return f"It has {', '.join(flows)}." if flows else f"{file} holds no flow at all: put @flow on a function."


def _file_of(module: ModuleType) -> str:
    path = getattr(module, "__file__", None)
    if path is None:
        return module.__name__
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _name_in_package(path: Path) -> tuple[Path, str]:
    """Return the folder to import from, and the name there: the stem, under its packages where it has any."""
    root, parts = path.parent, [path.stem]
    while (root / "__init__.py").is_file() and root.name.isidentifier():
        parts.append(root.name)
        root = root.parent
    if path.stem == "__init__":
        parts = parts[1:] or [path.parent.name]
    return root, ".".join(reversed(parts))


def _refuse_to_hide(name: str, known: ModuleType | None, path: Path) -> None:
    if name in sys.stdlib_module_names:
        raise TargetError(f"{path} has the name of Python's own module {name!r} and would hide it. Rename the file.")
    file = getattr(known, "__file__", None) or ""
    if known is not None and name not in _loaded and (not file or "-packages" in file):
        raise TargetError(f"{path} cannot be loaded as {name!r}: {file or 'a module'} has that name. Rename the file.")


def _same(one: Path | str | None, other: Path) -> bool:
    try:
        return one is not None and other.samefile(one)
    except OSError:
        return False


def _put_first(*folders: Path) -> None:
    for folder in folders:
        text = str(folder)
        if text in sys.path:
            sys.path.remove(text)
        sys.path.insert(0, text)
    importlib.invalidate_caches()


def _beside(module: ModuleType, folder: Path) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and "-packages" not in file and folder in Path(file).parents


def _nearest_file(path: Path) -> str:
    if not path.parent.is_dir():
        return f" There is no folder {path.parent} either."
    return nearest(path.name, [found.name for found in path.parent.glob("*.py")])


def _nearest_key(key: str, names: list[str]) -> str:
    same = [name for name in names if short_name(name) == short_name(key)]
    return f" Did you mean {same[0]!r}?" if same else nearest(key, names)


def _unloadable(shown: Path | str, error: BaseException) -> BaseException:
    """Say why a file or module could not be imported; what is meant to end the process does so."""
    if isinstance(error, (KeyboardInterrupt, TargetError)):
        return error
    if isinstance(error, SystemExit):
        return TargetError(
            f"{shown} ends the process when it is imported (SystemExit: {error.code}). "
            'Put what runs at its end under if __name__ == "__main__":.'
        )
    if isinstance(error, SyntaxError):
        where = f"line {error.lineno} of {error.filename or shown}"
        text = "".join(traceback.format_exception_only(error)).rstrip()
        return TargetError(f"{shown} cannot be loaded, there is an error of syntax in {where}:\n{text}")
    report = traceback.TracebackException.from_exception(error)
    report.stack = traceback.StackSummary.from_list(
        [frame for frame in report.stack if not frame.filename.startswith(_OURS) and not _is_import(frame.filename)]
    )
    report.__cause__ = report.__context__ = None
    text = "".join(report.format()).rstrip()
    return TargetError(f"{shown} cannot be imported, {text.splitlines()[-1]}:\n{text}")


def _is_import(file: str) -> bool:
    return file.startswith("<frozen") or file.endswith(("/importlib/__init__.py", "\\importlib\\__init__.py"))
