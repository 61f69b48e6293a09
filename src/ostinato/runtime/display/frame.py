"""The live frame: a header for each run, a line for each task, the last log lines. Cheap to make ten times a second."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ostinato.runtime.display import wording
from ostinato.runtime.display.plain import pace, sample

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ostinato.runtime.display.screen import Screen
    from ostinato.runtime.display.tally import Head, Line
    from ostinato.runtime.display.wording import Glyphs, Row

_BARS = ((100, 24), (70, 14), (54, 10), (40, 6))
"""From how many columns on a bar has which length."""
_WIDEST_NAME = 32
_WIDE = 100
"""From how many columns on less important counts are shown too."""


class Framer:
    """Makes frames.

    Args:
        screen: Tells how wide text is.
        glyphs: The signs in use.
    """

    def __init__(self, screen: Screen, glyphs: Glyphs) -> None:
        self._screen, self._glyphs = screen, glyphs

    def make(self, heads: Sequence[Head], logs: Sequence[Row], columns: int, lines: int) -> list[Row]:
        """Make the rows of a frame for a terminal of that size."""
        frame: list[Row] = []
        now = time.monotonic()
        room = max(3, (lines - 3 - len(logs)) // max(1, len(heads)))
        for head in heads:
            frame.append(self._header(head, columns, now))
            frame += self._tasks(head, columns, room - 1, now)
        if frame:
            frame += logs
        return frame

    def _header(self, head: Head, columns: int, now: float) -> Row:
        glyphs = self._glyphs
        row: Row = [(head.name, "bold"), (f"  {wording.clock(now - head.began)}", "")]
        row += [("  ", ""), *wording.counted(head.total(), apart=f" {glyphs.dot} ")]
        run = f"run {head.run.id}"
        room = columns - 1 - sum(self._screen.width(text) for text, _ in row) - len(run)
        return [*row, (" " * room, ""), (run, "dim")] if room >= 2 else row  # noqa: PLR2004

    # --- tasks

    def _tasks(self, head: Head, columns: int, room: int, now: float) -> list[Row]:
        found = list(_walk(head, 1))
        shown, left_out = _choose(found, room)
        names = [self._screen.width(line.name.rpartition(".")[2]) + 2 * depth for depth, line in shown]
        width = min(max(names, default=0), _WIDEST_NAME, max(8, columns // 3))
        rows = [self._task(line, depth, width, columns, now) for depth, line in shown]
        if left_out:
            rows.insert(0, [("  ", ""), (f"{self._glyphs.more} {left_out} more", "dim")])
        return rows

    def _task(self, line: Line, depth: int, width: int, columns: int, now: float) -> Row:
        sign, style = self._sign(line)
        indent = "  " * depth
        name = self._screen.cut([(line.name.rpartition(".")[2], "")], width - len(indent) + 2)
        taken = sum(self._screen.width(text) for text, _ in name)
        row: Row = [(f"{indent}{sign} ", style), *name, (" " * (width + 2 - len(indent) - taken + 2), "")]
        return row + (self._map(line, columns, now) if line.maps else self._calls(line, now))

    def _sign(self, line: Line) -> tuple[str, str]:
        glyphs = self._glyphs
        if line.failed:
            return glyphs.bad, "red"
        if line.pauses and not line.running:
            return glyphs.again, "yellow"
        if not _is_done(line):
            return glyphs.busy, "cyan"
        if line.succeeded or line.cached or line.replayed:
            return glyphs.good, "green"
        return (glyphs.idle, "magenta") if line.cancelled else (glyphs.none, "dim")

    def _map(self, line: Line, columns: int, now: float) -> Row:
        ended, items = line.mapped()
        sample(line, now)
        row = self._bar(ended, items, columns)
        row.append((f"{ended:,}/{items:,}" if items is not None else f"{ended:,}", ""))
        if items is None or ended < items:
            said = pace(line, items, ended)
            row += [(f"  {text}" if n == 0 else f" {self._glyphs.dot} {text}", "dim") for n, text in enumerate(said)]
        elif line.mean is not None:
            row.append((f"  {wording.duration(line.mean)} each", "dim"))
        return row + self._traits(line, ("succeeded",) if columns >= _WIDE else ("succeeded", "running"))

    def _bar(self, ended: int, items: int | None, columns: int) -> Row:
        length = next((length for least, length in _BARS if columns >= least), 0)
        if not length:
            return []
        full = length * ended // items if items else 0
        style = "green" if items is not None and ended >= items else "cyan"
        return [(self._glyphs.bar * full, style), (self._glyphs.rest * (length - full), "dim"), ("  ", "")]

    def _calls(self, line: Line, now: float) -> Row:
        if line.ended + line.running + len(line.pauses) == 1 and not line.failed:
            if line.running:
                return [(wording.clock(now - line.began), "cyan")]
            if line.succeeded and line.mean is not None:
                return [(wording.duration(line.mean), "dim")]
            return self._traits(line, ())[1:]
        row = self._traits(line, ())[1:]
        if line.mean is not None:
            row.append((f"  {wording.duration(line.mean)} each", "dim"))
        return row

    def _traits(self, line: Line, without: tuple[str, ...]) -> Row:
        row: Row = []
        for name, style in wording.TRAITS:
            number = len(line.pauses) if name == "paused" else getattr(line, name)
            if number and name not in without:
                row += [(f" {self._glyphs.dot} " if row else "  ", "dim")]
                row.append((f"{number:,} {wording.WORDS.get(name, name)}", style))
        if line.pauses:
            row += self._next(line)
        return row

    def _next(self, line: Line) -> Row:
        pauses = sorted(line.pauses.copy().values())
        if not pauses:
            return []
        due, why = pauses[0]
        seconds = max(0.0, due - time.monotonic())
        return [(f" in {wording.clock(seconds + 0.5)}", "yellow"), (f"  {wording.clean(why)}", "dim")]


def _walk(line: Line, depth: int) -> Iterator[tuple[int, Line]]:
    for child in list(line.children.values()):
        yield depth, child
        yield from _walk(child, depth + 1)


def _is_done(line: Line) -> bool:
    if line.running or line.pauses:
        return False
    ended, items = line.mapped()
    return not line.maps or (items is not None and ended >= items)


def _choose(found: list[tuple[int, Line]], room: int) -> tuple[list[tuple[int, Line]], int]:
    """Choose the lines that fit: what goes on first, then what came last."""
    if len(found) <= room:
        return found, 0
    order = sorted(range(len(found)), key=lambda n: (_is_done(found[n][1]), -n))
    chosen = sorted(order[: max(1, room - 1)])
    return [found[n] for n in chosen], len(found) - len(chosen)
