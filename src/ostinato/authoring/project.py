"""A project: a folder of the user's code, what its ``pyproject.toml`` says of it, and which modules it has.

```toml
[tool.ostinato.project]
name = "weather"                  # by default the package's name, or the folder's
modules = ["flows/**/*.py"]       # by default every file that mentions ostinato
exclude = ["data/**"]             # what is neither looked at nor bundled
pool = "default"                  # the work pool of flows that name none
environment = "uv"                # workers without the folder make the environment that uv.lock describes
```

All keys may be left out, and so may the table: any folder is a project, and so is a single file.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from ostinato.authoring.placing import NAME
from ostinato.errors import SettingError, TargetError, nearest
from ostinato.work import DEFAULT_POOL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SKIPPED: Final = frozenset({"node_modules", "site-packages", "__pycache__", "build", "dist", "tests", "test"})
_SKIPPED_FILES: Final = frozenset({"setup.py", "conftest.py"})
_MENTIONS: Final = re.compile(rb"\bostinato\b")


class ProjectFolder(msgspec.Struct, frozen=True, kw_only=True):
    """A project, before anything of it is imported."""

    root: str
    """The folder, absolute."""
    name: str
    modules: list[str] = []
    """Globs below the root; none for every file that mentions ostinato."""
    exclude: list[str] = []
    pool: str = DEFAULT_POOL
    environment: Literal["uv"] | None = None

    @property
    def path(self) -> Path:
        """The folder."""
        return Path(self.root)

    def excludes(self, relative: str) -> bool:
        """Tell whether a file, by its path below the root, is left out."""
        return any(_matches(relative, glob) for glob in self.exclude)


def find_project(path: str | Path | None = None) -> ProjectFolder:
    """Find the project that a path names.

    Args:
        path: A folder; a Python file, which is then the only module of its project; or None for the nearest folder,
            from the current one upwards, whose ``pyproject.toml`` has the table, else the current one.

    Raises:
        TargetError: If there is no such folder or file.
        SettingError: If the table has an unknown key or a value that does not fit.
    """
    if path is None:
        here = Path.cwd()
        root = next((place for place in (here, *here.parents) if "project" in _tables(place)[1]), here)
        return _read(root)
    place = Path(path).expanduser().absolute()
    place = place.resolve() if ".." in place.parts else place
    if place.is_dir():
        return _read(place)
    if place.is_file() and place.suffix == ".py":
        whole = _read(place.parent)
        return msgspec.structs.replace(whole, name=_name_of(place.stem), modules=[place.name])
    raise TargetError(f"There is no folder and no Python file {place}. A project is a folder with flows, or one file.")


def _tables(root: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read ``[project]`` and ``[tool.ostinato]``."""
    path = root / "pyproject.toml"
    try:
        whole = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}, {}
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} cannot be read as TOML: {error}.") from None
    return whole.get("project", {}), whole.get("tool", {}).get("ostinato", {})


def _read(root: Path) -> ProjectFolder:
    package, ours = _tables(root)
    table = {key.replace("-", "_"): value for key, value in ours.get("project", {}).items()}
    where = f"[tool.ostinato.project] in {root / 'pyproject.toml'}"
    known = [name for name in ProjectFolder.__struct_fields__ if name != "root"]
    for key in table:
        if key not in known:
            raise SettingError(f"{where} has no key {key!r}; it has {', '.join(known)}.{nearest(key, known)}")
    name = table.setdefault("name", _name_of(str(package.get("name", root.name))))
    for key in ("name", "pool"):
        value = table.get(key, name)
        if not isinstance(value, str) or not NAME.fullmatch(value):
            raise SettingError(f"{where}: {key} must be a name of letters, digits, '.', '_' and '-', got {value!r}.")
    try:
        return msgspec.convert({"root": str(root), **table}, ProjectFolder)
    except msgspec.ValidationError as error:
        raise SettingError(f"{where} does not fit: {str(error)[:1].lower()}{str(error)[1:]}.") from None


def _name_of(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:100] or "project"


class Modules(msgspec.Struct, frozen=True):
    """The Python files of a project that may hold definitions."""

    files: list[str]
    """Absolute, sorted."""
    ambiguous: list[str]
    """Names of modules that several files of the project have: each folder's files mean their own."""


def find_modules(project: ProjectFolder) -> Modules:
    """Find the files that are to be imported."""
    every = list(walk(project))
    packages = {str(Path(file).parent) for file in every if file.endswith("__init__.py")}
    names = Counter(name for name, _ in {_top_level(Path(file), packages) for file in every})
    files = sorted(file for file in every if _is_module(project, file))
    return Modules(files, sorted(name for name, count in names.items() if count > 1))


def walk(project: ProjectFolder) -> Iterator[str]:
    """Yield the project's Python files, sorted, without tests, environments and what is hidden or built."""
    for folder, folders, names in os.walk(project.root):
        folders[:] = sorted(name for name in folders if not is_skipped(folder, name))
        for name in sorted(names):
            path = os.path.join(folder, name)  # noqa: PTH118  # a path is ten times as slow, and there are thousands
            if name.endswith(".py") and not name.startswith("."):
                relative = os.path.relpath(path, project.root).replace(os.sep, "/")
                if not project.excludes(relative):
                    yield path


def is_skipped(folder: str, name: str) -> bool:
    """Tell whether a folder inside a project is none of its source: hidden, built, an environment, tests."""
    if name.startswith(".") or name in _SKIPPED or name.endswith(".egg-info"):
        return True
    return os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))  # noqa: PTH110, PTH118  # as above


def _is_module(project: ProjectFolder, file: str) -> bool:
    relative = os.path.relpath(file, project.root).replace(os.sep, "/")
    if project.modules:
        return any(_matches(relative, glob) for glob in project.modules)
    name = relative.rpartition("/")[2]
    if name in _SKIPPED_FILES or name.startswith("test_"):
        return False
    try:
        return _MENTIONS.search(Path(file).read_bytes()) is not None
    except OSError:
        return False


def _matches(relative: str, glob: str) -> bool:
    """Match as globs do: ``**/`` stands for any folders, none too."""
    return _fits(relative.split("/"), glob.strip("/").split("/"))


def _fits(parts: list[str], globs: list[str]) -> bool:
    if not globs:
        return not parts
    if globs[0] == "**":
        return (bool(parts) and len(globs) == 1) or any(_fits(parts[n:], globs[1:]) for n in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], globs[0]) and _fits(parts[1:], globs[1:])


def _top_level(path: Path, packages: Iterable[str]) -> tuple[str, str]:
    """Return the name by which a file, or the package it is in, is imported, and the folder it is imported from."""
    name, folder = path.stem, path.parent
    while str(folder) in packages:
        name, folder = folder.name, folder.parent
    return name, str(folder)
