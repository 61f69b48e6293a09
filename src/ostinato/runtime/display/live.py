"""The live display: a frame at the bottom of the terminal, drawn again ten times a second at most.

A run that ends within the first moments never sees it: only its failures and its last line are printed.
"""

from __future__ import annotations

import builtins
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, TextIO

from ostinato.runtime.display import wording
from ostinato.runtime.display.frame import Framer
from ostinato.runtime.display.plain import Plain
from ostinato.runtime.display.screen import Screen
from ostinato.runtime.display.tally import Logged, Paused, Started

if TYPE_CHECKING:
    from ostinato.runtime.display.tally import News, Tally
    from ostinato.runtime.display.wording import Row

_GRACE = 0.15
_EVERY = 0.1
_LOGS = 5
_LINES_A_TICK = 40


class Live(Plain):
    """Shows a frame below, and above it what stays: failures, warnings, what tasks print."""

    def __init__(self, tally: Tally, stream: TextIO) -> None:
        super().__init__(tally, stream)
        self._screen = Screen(stream, colour=self.colour, more=self.glyphs.more)
        self._framer = Framer(self._screen, self.glyphs)
        self._logs: deque[Row] = deque(maxlen=_LOGS)
        self._lines_left = _LINES_A_TICK
        self._is_held = False
        self._input = builtins.input

    def start(self) -> None:
        """Begin to show; what asks the person something holds the frame back meanwhile."""
        self._input = builtins.input
        builtins.input = self._ask
        super().start()

    def close(self) -> None:
        """Put the ends of the runs in the place of the frame."""
        if builtins.input == self._ask:
            builtins.input = self._input
        super().close()

    def _run(self) -> None:
        if self._over.wait(_GRACE):
            return
        self._screen.prepare()
        self.tick()
        while not self._over.wait(_EVERY):
            self.tick()

    def tick(self) -> None:
        """Show what is new."""
        with self._lock:
            if self._is_held and not self._over.is_set():
                return
            self._lines_left = _LINES_A_TICK
            above = self._news()
            if self._over.is_set() or not self._screen.is_ready:
                if above or self._over.is_set():
                    self._screen.finish(above)
                return
            columns, lines = self._screen.size()
            logs = list(self._logs)[-max(1, lines // 5) :]
            self._screen.draw(self._framer.make(self.tally.heads, logs, columns, lines), above)

    def write(self, under: TextIO, text: str) -> int:
        """Write what is not ours: above the frame, if it goes to the same terminal."""
        if not self._goes_here(under):
            return under.write(text)
        with self._lock:
            if self._over.is_set():
                return under.write(text)
            if self.tally.news:
                self.tick()
            return self._screen.write(under, text)

    def _ask(self, prompt: Any = "", /) -> str:
        with self._lock:
            self._screen.erase()
            self._is_held = True
        try:
            return self._input(prompt)
        finally:
            with self._lock:
                self._is_held = False

    # --- news

    def _tell(self, news: News) -> list[str]:
        if isinstance(news, (Started, Paused)):
            return []  # the frame shows it
        rows = self._rows(news)
        if isinstance(news, Logged):
            if not news.is_print and news.level < logging.WARNING:
                self._logs.extend([("  ", ""), (f"{self.glyphs.side} ", "dim"), *_dimmed(row)] for row in rows)
                return []
            rows = self._afford(rows, news)
        return [self._paint(row) for row in rows]

    def _afford(self, rows: list[Row], news: Logged) -> list[Row]:
        """Keep as many lines as a person's eye can follow; the store has them all."""
        kept = rows[: max(0, self._lines_left)]
        self._lines_left -= len(kept)
        if news.head is not None:
            news.head.left_out += len(rows) - len(kept)
        return kept


def _dimmed(row: Row) -> Row:
    return [(wording.clean(text), "dim") for text, _ in row]
