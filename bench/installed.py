"""What an installation brings along: how many distributions, and how large without bytecode.

A new virtual environment gets the project, from a copy of its sources, as a user's would: ``pip install ostinato``.
`pip` itself and what the environment had before are not counted. Without a package index there is no figure.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from typing import TYPE_CHECKING

from bench.figure import Figure, Target
from bench.ground import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from bench.ground import Ground

TITLE = "(f) What is installed"
_LIST = "import importlib.metadata as m; print(len({d.name for d in m.distributions()} - {'pip', 'setuptools'}))"


def measure(ground: Ground) -> list[Figure]:
    """Return the figures of this chapter."""
    figures = []
    for extra, bounds in (("", (30, 60)), ("[postgres]", (None, None))):
        found = _install(ground.place(), extra)
        if found is None:
            print(f"  ostinato{extra} could not be installed: no figure")
            continue
        for name, unit, value, bound in zip(
            ("distributions", "size without bytecode"), ("", "MiB"), found, bounds, strict=True
        ):
            target = None if bound is None else Target(bound)
            figures.append(Figure(f"`pip install ostinato{extra}`, {name}", unit, (value,), target=target))
    return figures


def _install(place: Path, extra: str) -> tuple[float, float] | None:
    source, made = place / "source", place / "venv"
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", source)
    (source / "README.md").touch()
    venv.create(made, with_pip=True)
    packages = next(made.glob("lib/python*/site-packages"))
    before = _size(packages)
    pip = [str(made / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-compile", f"{source}{extra}"]
    process = subprocess.run(pip, capture_output=True, text=True, check=False)
    if process.returncode:
        print(process.stderr[-500:], file=sys.stderr)
        return None
    count = subprocess.run([made / "bin" / "python", "-c", _LIST], capture_output=True, text=True, check=True)
    return float(count.stdout), (_size(packages) - before) / 2**20


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
