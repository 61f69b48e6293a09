"""Whole files or none: what is killed half-way leaves no broken file under a good name."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, and rename it to `path` once the block has succeeded.

    A rename within one folder is atomic, so a reader sees the old file or the new one, and a task that
    runs again after ``kill -9`` writes over what was left.

    Args:
        path: The file to make. Its folder is made too.

    Yields:
        The path to write to.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.part")
    yield unfinished
    unfinished.replace(path)
