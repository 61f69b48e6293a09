"""Plain lines, for logs and pipes: what begins, fails, is tried again and ends, and what tasks say."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import TYPE_CHECKING, TextIO

from ostinato.runtime.display import wording
from ostinato.runtime.display.tally import Failed, Line, Logged, Paused, Started, label

if TYPE_CHECKING:
    from ostinato.runtime.display.tally import Ended, News, Tally
    from ostinato.runtime.display.wording import Row

_EVERY = 0.1
_PROGRESS_EVERY = 5.0
_WINDOW = 10.0
_LEVELS = {logging.WARNING: "yellow", logging.ERROR: "red", logging.CRITICAL: "red"}


class Plain:
    """Shows news as lines with the time of day.

    Args:
        tally: What is known.
        stream: Standard error.
    """

    def __init__(self, tally: Tally, stream: TextIO) -> None:
        self.tally = tally
        self.stream = stream
        self.glyphs = wording.Glyphs(getattr(stream, "encoding", None))
        self.colour = _has_colours(stream)
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._progress_at: dict[Line, float] = {}
        self._same: dict[int, bool] = {}
        self._is_unfinished = False
        """Others have left a line without a newline where we write."""

    def start(self) -> None:
        """Begin to show, in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="ostinato-display", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.is_set():
            self.tally.urgent.wait(_EVERY)
            self.tally.urgent.clear()
            self.tick()

    def close(self) -> None:
        """Show what is left, and end."""
        self._over.set()
        self.tally.urgent.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
        self.tick()

    def tick(self) -> None:
        """Show what is new."""
        with self._lock:
            lines = self._news()
            if not self._over.is_set():
                lines += self._progress()
            if lines:
                self._print(lines)

    def write(self, under: TextIO, text: str) -> int:
        """Write what is not ours, after what happened before it."""
        if self.tally.news:
            self.tick()
        if text and self._goes_here(under):
            self._is_unfinished = not text.endswith("\n")
        return under.write(text)

    def _goes_here(self, under: TextIO) -> bool:
        """Tell whether what is written there comes out at once where our lines do."""
        known = self._same.get(id(under))
        if known is None:
            known = self._same[id(under)] = _is_same(under, self.stream)
        return known

    # --- news

    def _news(self) -> list[str]:
        rows: list[str] = []
        news = self.tally.news
        while news:
            rows += self._tell(news.popleft())
        if self.tally.overflow:
            count, self.tally.overflow = self.tally.overflow, 0
            rows.append(self._paint([(f"{count:,} lines came too fast to be shown", "dim")]))
        return rows

    def _tell(self, news: News) -> list[str]:
        rows = self._rows(news)
        stamp = time.strftime("%H:%M:%S ", time.localtime(news.at))
        blank = " " * len(stamp)
        return [self._paint([(stamp if n == 0 else blank, "dim"), *row]).rstrip() for n, row in enumerate(rows)]

    def _rows(self, news: News) -> list[Row]:
        if isinstance(news, Logged):
            return self._logged(news)
        if isinstance(news, Started):
            return [self._started(news)]
        if isinstance(news, Failed):
            return wording.failed(news, self.glyphs)
        if isinstance(news, Paused):
            return [[(f"{self.glyphs.again} ", "yellow"), *wording.paused(news)]]
        return self._ended(news)

    def _logged(self, news: Logged) -> list[Row]:
        style = "" if news.is_print else _LEVELS.get(news.level, "")
        lines = wording.clean(news.text, colour=self.colour).split("\n")
        return [[(news.who, "cyan"), (f" {self.glyphs.side} ", "dim"), (line, style)] for line in lines]

    def _started(self, news: Started) -> Row:
        return [(news.head.name, "bold"), (" started", ""), (f" {self.glyphs.dot} run {news.head.run.id}", "dim")]

    def _ended(self, news: Ended) -> list[Row]:
        return wording.ended(news, self.glyphs)

    # --- progress

    def _progress(self) -> list[str]:
        now = time.monotonic()
        lines = []
        for head in list(self.tally.heads):
            for line in head.walk():
                if line.maps and now - self._progress_at.setdefault(line, line.began) >= _PROGRESS_EVERY:
                    self._progress_at[line] = now
                    lines += self._map(line, now)
        return lines

    def _map(self, line: Line, now: float) -> list[str]:
        ended, items = line.mapped()
        sample(line, now)
        if items is not None and ended >= items:
            return []
        row: Row = [(time.strftime("%H:%M:%S "), "dim"), (label(line.name, None), "bold")]
        row.append((f" {ended:,} of {items:,}" if items is not None else f" {ended:,}", ""))
        row += [(f" {self.glyphs.dot} {text}", "dim") for text in pace(line, items, ended)]
        if line.failed:
            row.append((f" {self.glyphs.dot} {line.failed:,} failed", "red"))
        return [self._paint(row)]

    # --- output

    def _paint(self, row: Row) -> str:
        return wording.paint(row, colour=self.colour)

    def _print(self, lines: list[str]) -> None:
        emit(self.stream, "\n" * self._is_unfinished + "\n".join(lines) + "\n")
        self._is_unfinished = False


def _is_same(one: TextIO, other: TextIO) -> bool:
    if one is other:
        return True
    if not (getattr(one, "line_buffering", False) or getattr(one, "write_through", False)):
        return False
    try:
        first, second = os.fstat(one.fileno()), os.fstat(other.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)


def sample(line: Line, now: float) -> None:
    """Note how many have ended by now."""
    samples = line.samples
    samples.append((now, line.succeeded + line.failed + line.skipped + line.cancelled))
    while len(samples) > 2 and now - samples[0][0] > _WINDOW:  # noqa: PLR2004
        samples.popleft()


def pace(line: Line, items: int | None, ended: int) -> list[str]:
    """Say how fast a map goes and when it will be done, where that can be said."""
    if not line.samples:
        return []
    (first_at, first), (last_at, last) = line.samples[0], line.samples[-1]
    if len(line.samples) == 1:
        first_at, first = line.began, 0
    if last_at - first_at < 0.5 or last <= first:  # noqa: PLR2004
        return []
    per_second = (last - first) / (last_at - first_at)
    said = [wording.rate(per_second)]
    if items is not None and items > ended:
        said.append(f"{wording.clock(max(1.0, (items - ended) / per_second))} left")
    return said


def emit(stream: TextIO, text: str) -> None:
    """Write text, whatever the stream can encode; a stream that is gone is nobody's problem."""
    try:
        try:
            stream.write(text)
        except UnicodeEncodeError:
            encoding = getattr(stream, "encoding", None) or "ascii"
            stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except (OSError, ValueError):
        return


def _has_colours(stream: TextIO) -> bool:
    if os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb":
        return False
    try:
        return stream.isatty()
    except (AttributeError, ValueError):
        return False
