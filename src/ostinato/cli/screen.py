"""How things are shown: tables and lines that look right on a terminal, and in a pipe."""

from __future__ import annotations

import os
import sys
from io import StringIO
from typing import TYPE_CHECKING, Any, Final

import msgspec
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from ostinato.clock import SECOND, to_datetime
from ostinato.states import State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import RenderableType

STYLES: Final[dict[State, str]] = {
    State.SCHEDULED: "dim",
    State.QUEUED: "dim",
    State.RUNNING: "cyan",
    State.WAITING: "blue",
    State.RETRYING: "yellow",
    State.SUCCEEDED: "green",
    State.FAILED: "bold red",
    State.CRASHED: "bold magenta",
    State.CANCELLED: "yellow",
    State.SKIPPED: "dim",
}
_WIDE: Final = 10_000
_NARROW: Final = 60
"""Columns of a terminal below which tables are unreadable."""
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def console() -> Console:
    """Return a console on standard output; one that is piped is as wide as it needs."""
    stdout = sys.stdout
    width = None if stdout.isatty() or "COLUMNS" in os.environ else _WIDE
    return Console(file=stdout, width=width, highlight=False, soft_wrap=False)


def show(*items: RenderableType) -> None:
    """Print text and tables, without spaces at the ends of lines."""
    target = console()
    items = tuple(_fitted(item, target) for item in items)
    if target.is_terminal:
        target.print(*items, sep="\n")
        return
    buffer = StringIO()
    Console(file=buffer, width=target.width, highlight=False).print(*items, sep="\n")
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in buffer.getvalue().splitlines()))


def show_json(value: Any) -> None:
    """Print JSON: indented for a person, still one value for a program."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2 if sys.stdout.isatty() else 0)
    sys.stdout.write(text.decode() + "\n")


def table(*columns: str, right: Sequence[str] = (), whole: Sequence[str] = ()) -> Table:
    """Make a table without lines.

    Args:
        columns: Their titles.
        right: Those that are set to the right.
        whole: Those that are never cut or broken.
    """
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold dim")
    for name in columns:
        justify: Any = "right" if name in right else "left"
        made.add_column(name.upper(), justify=justify, no_wrap=name in whole, overflow="fold")
    return made


def _fitted(item: RenderableType, target: Console) -> RenderableType:
    """Set a table row below row, ``title value``, where there is no room for its columns side by side."""
    if not isinstance(item, Table) or not item.show_header or target.width >= _NARROW:
        return item
    if Measurement.get(target, target.options.update(max_width=_WIDE), item).maximum <= target.width:
        return item
    below = Table.grid(padding=(0, 2, 0, 0))
    below.add_column(style=item.header_style, no_wrap=True)
    below.add_column(overflow="fold")
    for row, cells in enumerate(zip(*(column.cells for column in item.columns), strict=True)):
        if row:
            below.add_row()
        for column, cell in zip(item.columns, cells, strict=True):
            if str(cell):
                below.add_row(column.header, cell)
    return below


def state_text(state: State, reason: str | None = None, *, aside: str = "") -> Text:
    """Write a state in its colour, with its reason."""
    text = Text(str(state), STYLES[state])
    extra = ", ".join(part for part in (reason, aside) if part)
    if extra:
        text.append(f" ({extra})", "dim")
    return text


def counts_text(counts: Mapping[State, int]) -> Text:
    """Write counts by state, ``18 succeeded · 2 failed``, each in its colour."""
    parts = [Text(f"{counts[state]} {state}", STYLES[state]) for state in State if counts.get(state)]
    return Text(" · ", "dim").join(parts)


def when(instant: int | None, now: int) -> str:
    """Write an instant in local time, as short as it is clear: only the time where it was today."""
    if instant is None:
        return ""
    local, today = to_datetime(instant).astimezone(), to_datetime(now).astimezone()
    if local.date() == today.date():
        return f"{local:%H:%M:%S}"
    if local.year == today.year:
        return f"{local:%b} {local.day} {local:%H:%M}"
    return f"{local:%Y-%m-%d %H:%M}"


def duration(start: int | None, end: int | None) -> str:
    """Write how long something took."""
    if start is None or end is None:
        return ""
    return seconds_text(max(0, end - start) / SECOND)


def seconds_text(seconds: float) -> str:
    """Write a number of seconds: ``3 ms``, ``1.2 s``, ``4 min 10 s``, ``2 h 5 min``."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def size_text(size: float) -> str:
    """Write a number of bytes."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:  # noqa: PLR2004  # noqa: PLR2004
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
