"""A frame at the bottom of a terminal that other output can go above of.

The cursor rests below the frame. To draw again it goes up and writes over, line by line, so that nothing flickers;
before anything else is written the frame is taken away, and put back after it. A line that others have left
unfinished (a prompt, a progress bar) stays where it is, and the frame stands below it.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, TextIO

from ostinato.runtime.display.plain import emit
from ostinato.runtime.display.wording import paint

if TYPE_CHECKING:
    from collections.abc import Callable

    from ostinato.runtime.display.wording import Row

_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"
"""Around what is one change to the picture, for terminals that know it."""
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
_MOVES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class Screen:
    """Draws on a terminal. Not thread-safe: its owner holds a lock.

    Args:
        stream: The terminal, as standard error.
        colour: Whether to colour.
        more: What stands at the end of a line that was cut.
    """

    def __init__(self, stream: TextIO, *, colour: bool, more: str) -> None:
        self._stream, self._colour, self._more = stream, colour, more
        self._cell_len: Callable[[str], int] = len
        self._set_cell_size: Callable[[str, int], str] = lambda text, size: text[:size]
        self.is_ready = False
        self._frame: list[str] = []
        self._widths: list[int] = []
        self._is_drawn = False
        self._tail = ""
        """What others have written since their last newline."""

    def prepare(self) -> None:
        """Load what knows how wide text is."""
        from rich.cells import cell_len, set_cell_size  # short runs never need it

        self._cell_len, self._set_cell_size, self.is_ready = cell_len, set_cell_size, True

    def size(self) -> tuple[int, int]:
        """Return the columns and lines there are now."""
        try:
            size = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError, AttributeError):
            return 80, 24
        return size.columns or 80, size.lines or 24

    def width(self, text: str) -> int:
        """Return how many columns a text takes."""
        return self._cell_len(text)

    def cut(self, row: Row, width: int) -> Row:
        """Cut a row to a width."""
        taken = 0
        for n, (text, style) in enumerate(row):
            size = self._cell_len(text)
            if taken + size > width:
                room = width - taken - len(self._more)
                if room < 0:
                    return [*self.cut(row[:n], max(0, width - len(self._more))), (self._more, "dim")]
                return [*row[:n], (self._set_cell_size(text, room), style), (self._more, "dim")]
            taken += size
        return row

    def draw(self, frame: list[Row], above: list[str]) -> None:
        """Draw a frame in the place of the last one, with lines that stay above it."""
        columns, lines = self.size()
        rows = [self.cut(row, columns - 1) for row in frame[: max(1, lines - 2)]]
        painted = [paint(row, colour=self._colour) for row in rows]
        if not above and self._is_drawn and painted == self._frame and self._fits(columns):
            return
        start = self._up(columns)
        if above:
            start += "\x1b[0J" + self._end_tail() + "".join(f"{line}\n" for line in above)
        self._frame, self._widths = painted, [sum(self._cell_len(text) for text, _ in row) for row in rows]
        emit(self._stream, _BEGIN + start + self._draw(columns) + _END)

    def erase(self) -> None:
        """Take the frame away."""
        if self._is_drawn:
            emit(self._stream, self._up(self.size()[0]) + "\x1b[0J")
            self._is_drawn = False

    def write(self, under: TextIO, text: str) -> int:
        """Write text that is not ours to this same terminal, above the frame."""
        columns, _ = self.size()
        if self._frame:
            emit(self._stream, _BEGIN + self._up(columns) + "\x1b[0J")
        self._is_drawn = False
        try:
            written = under.write(text)
            under.flush()
            self._follow(text)
        finally:
            if self._frame:
                emit(self._stream, self._draw(columns) + _END)
        return written

    def finish(self, lines: list[str]) -> None:
        """Put lines that stay in the place of the frame, and draw no more."""
        start = self._up(self.size()[0]) + "\x1b[0J"
        self._is_drawn, self._frame, self._widths = False, [], []
        emit(self._stream, _BEGIN + start + self._end_tail() + "".join(f"{line}\n" for line in lines) + _END)

    # --- where the cursor is

    def _fits(self, columns: int) -> bool:
        return all(width < columns for width in self._widths)

    def _draw(self, columns: int) -> str:
        """From where the frame begins, or from the end of an unfinished line."""
        column = self._column(columns)
        self._is_drawn = bool(self._frame) and column is not None
        if not self._is_drawn:
            return "\x1b[0J"
        return ("\n" if self._tail else "") + "".join(f"{line}\x1b[K\n" for line in self._frame) + "\x1b[0J"

    def _up(self, columns: int) -> str:
        """From below the frame to where it begins; a terminal that became narrower has wrapped its lines."""
        if not self._is_drawn:
            return ""
        rows = sum(max(1, -(-width // columns)) for width in self._widths)
        if self._tail:
            return f"\x1b[{rows + 1}A\x1b[{(self._column(columns) or 0) + 1}G"
        return f"\x1b[{rows}A\r"

    def _column(self, columns: int) -> int | None:
        """Return where an unfinished line ends; None if that cannot be told."""
        text = _COLOUR.sub("", self._tail)
        if text.endswith("\r"):
            return 0
        if _MOVES.search(text):
            return None
        width = self._cell_len(text.expandtabs())
        return None if width and width % columns == 0 else width % columns

    def _follow(self, text: str) -> None:
        tail = text.rpartition("\n")[2] if "\n" in text else self._tail + text
        kept = tail.rstrip("\r").rpartition("\r")[2]
        self._tail = kept + "\r" if tail.endswith("\r") else kept

    def _end_tail(self) -> str:
        tail, self._tail = self._tail, ""
        return "\n" if tail else ""
