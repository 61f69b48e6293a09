"""Project folders for the tests: real files, looked at by real processes."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from ostinato.authoring.project import find_project
from ostinato.authoring.scan import scan

if TYPE_CHECKING:
    from pathlib import Path

    from ostinato.authoring.manifest import Manifest

FLOW = """
from ostinato import flow, task

@task
def one(n: int) -> int:
    return n + 1

@flow
def {name}(n: int = 1) -> int:
    return one(n)
"""


def write(root: Path, files: dict[str, str]) -> Path:
    """Write files below a folder."""
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(textwrap.dedent(text))
    return root


def look(root: Path, *, limit: float = 10.0) -> Manifest:
    """Scan a folder."""
    return scan(find_project(root), limit=limit)


def names(manifest: Manifest) -> list[str]:
    """The names of what it found."""
    return [item.name for item in manifest.deployed]
