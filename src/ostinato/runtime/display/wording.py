"""How things are said: counts, durations, failures and ends, as rows of words with a style each.

Used by the live display and by the plain one, so that both say the same; needs nothing but what is loaded already.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from ostinato.states import State

if TYPE_CHECKING:
    from ostinato.outcomes import Failure, Place
    from ostinato.runtime.display.tally import Counts, Ended, Failed, Paused

    Row = list[tuple[str, str]]

_CODES = {
    "bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "magenta": "35", "cyan": "36",
}  # fmt: skip
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[@-Z\\-_]?)"
)
_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_LONG = 2_000
_MANY_PLACES = 6
_MANY_LINES = 40

TRAITS = (
    ("running", "cyan"),
    ("paused", "yellow"),
    ("failed", "red"),
    ("succeeded", "green"),
    ("cached", "green"),
    ("replayed", "blue"),
    ("skipped", "dim"),
    ("cancelled", "magenta"),
)
"""The counts that are shown, in this order, and their colours."""
_ENDED = (TRAITS[3], TRAITS[4], TRAITS[2], *TRAITS[6:])
WORDS = {"paused": "retrying", "replayed": "found finished"}


class Glyphs:
    """The signs in use: plain ASCII where the terminal's encoding has no others."""

    def __init__(self, encoding: str | None) -> None:
        try:
            "✓✗↻●━─│…·└".encode(encoding or "ascii")
        except (UnicodeError, LookupError):
            signs, self.bar, self.rest, self.side, self.more, self.dot = list("+x~*-o"), "#", "-", "|", "...", "-"
        else:
            signs, self.bar, self.rest, self.side, self.more, self.dot = list("✓✗↻●-○"), "━", "─", "│", "…", "·"
        self.good, self.bad, self.again, self.busy, self.none, self.idle = signs


def paint(row: Row, *, colour: bool) -> str:
    """Turn a row into text, coloured if wanted."""
    if not colour:
        return "".join(text for text, _ in row)
    return "".join(f"\x1b[{_codes(style)}m{text}\x1b[0m" if style and text else text for text, style in row)


def _codes(style: str) -> str:
    return ";".join(_CODES[name] for name in style.split())


def clean(text: str, *, colour: bool = False) -> str:
    """Take out of user's text what would move the cursor, and what was written over; colours stay if wanted."""
    if text.isascii() and text.isprintable():
        return text if len(text) <= _LONG else _shorten(text)
    text = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    text = text if len(text) <= _LONG else _shorten(text)
    if "\x1b" in text:
        coloured = colour and _COLOURS.search(text) is not None
        text = _ESCAPES.sub(lambda found: found[0] if colour and _COLOURS.fullmatch(found[0]) else "", text)
        text = text + "\x1b[0m" if coloured else text
    return _CONTROLS.sub(lambda found: found[0] if found[0] == "\x1b" and colour else "", text.expandtabs())


def _shorten(text: str) -> str:
    return f"{text[:_LONG]}... ({len(text) - _LONG:,} more characters)"


def duration(seconds: float) -> str:
    """Say how long, in the units a person would use."""
    if seconds < 0.001:  # noqa: PLR2004
        return f"{seconds * 1e6:.0f} µs" if seconds >= 0.000_001 else "0 s"  # noqa: PLR2004
    if seconds < 0.1:  # noqa: PLR2004
        return f"{seconds * 1e3:.{1 if seconds < 0.01 else 0}f} ms"  # noqa: PLR2004
    if seconds < 10:  # noqa: PLR2004
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    return clock(seconds)


def clock(seconds: float) -> str:
    """Say how long, to the second."""
    whole = round(seconds)
    if whole < 60:  # noqa: PLR2004
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:  # noqa: PLR2004
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def rate(per_second: float) -> str:
    """Say how many a second, or a minute."""
    if per_second >= 100:  # noqa: PLR2004
        return f"{per_second:,.0f}/s"
    return f"{per_second:.1f}/s" if per_second >= 1 else f"{per_second * 60:.1f}/min"


def counted(counts: Counts, traits: tuple[tuple[str, str], ...] = TRAITS, *, apart: str) -> Row:
    """Say how many are in which state."""
    row: Row = []
    for name, style in traits:
        number = getattr(counts, name)
        if number:
            row += [(apart if row else "", "dim"), (f"{number:,} {WORDS.get(name, name)}", style)]
    return row


# --- failures


def failed(news: Failed, glyphs: Glyphs) -> list[Row]:
    """Say that a task run failed, and where."""
    what = {"lost": "was lost", "timed_out": "timed out"}.get(news.reason or "", "failed")
    tail = "" if news.is_critical else " (not critical: the run goes on)"
    return _block(f"{glyphs.bad} ", f"{news.who} {what}", news.failure, tail)


def _block(sign: str, what: str, failure: Failure | None, tail: str = "") -> list[Row]:
    if failure is None:
        return [[(sign, "red"), (what, "bold red"), (tail, "dim")]]
    first, *rest = clean(failure.message).strip().split("\n")[:_MANY_LINES]
    error: Row = [(f": {failure.type}", "red"), (f": {first}" if first else "", ""), (tail, "dim")]
    rows: list[Row] = [[(sign, "red"), (what, "bold red"), *error]]
    rows += [[("    ", ""), (line, "")] for line in rest]
    rows += _chain(failure) if _is_chained(failure) else _places(failure)
    return rows


def _is_chained(failure: Failure) -> bool:
    return failure.traceback.count("Traceback (most recent call last)") > 1


def _chain(failure: Failure) -> list[Row]:
    """Of an exception with a cause, or of a group: all that Python itself would print."""
    lines = clean(failure.traceback.rstrip()).split("\n")
    if len(lines) > 2 * _MANY_LINES:
        lines = [*lines[:_MANY_LINES], "...", *lines[-_MANY_LINES:]]
    return [[("    ", ""), (line, "dim")] for line in lines]


def _places(failure: Failure) -> list[Row]:
    """The user's frames, and the innermost one where that is another's."""
    chosen = [place for place in failure.places if place.user]
    left_out = len(chosen) - _MANY_PLACES
    if left_out > 0:
        chosen = [*chosen[:2], *chosen[2 - _MANY_PLACES :]]
    if failure.places and not failure.places[-1].user:
        chosen.append(failure.places[-1])
    rows: list[Row] = []
    for n, place in enumerate(chosen):
        if left_out > 0 and n == 2:  # noqa: PLR2004
            rows.append([("    ", ""), (f"... {left_out} more frames", "dim")])
        rows += _place(place)
    return rows


def _place(place: Place) -> list[Row]:
    where: Row = [("    ", ""), (f"{_relative(place.file)}:{place.line}", "cyan" if place.user else "dim")]
    rows: list[Row] = [[*where, (f" in {place.function}", "dim")]]
    if place.code:
        rows.append([("      ", ""), (clean(place.code), "" if place.user else "dim")])
    return rows


def _relative(file: str) -> str:
    try:
        return str(Path(file).relative_to(Path.cwd()))
    except (ValueError, OSError):
        return file


# --- retries and ends


def paused(news: Paused) -> Row:
    """Say that something is tried again later."""
    what = "is tried again" if news.is_retry else "runs again"
    when = f" in {duration(news.seconds)}" if news.seconds else " at once"
    why = f": {clean(news.why)}" if news.why else ""
    return [(news.who, "bold"), (f" {what}{when}", "yellow"), (f" (attempt {news.attempt} ended)", "dim"), (why, "")]


_ENDS = {
    State.SUCCEEDED: "green", State.FAILED: "red", State.CRASHED: "red", State.SKIPPED: "dim",
}  # fmt: skip


def ended(news: Ended, glyphs: Glyphs) -> list[Row]:
    """Say how a run ended, and how to go on where it did not end well."""
    head, state = news.head, news.state
    rows: list[Row] = []
    if news.failure is not None:
        rows += _block(f"{glyphs.bad} ", head.name, news.failure)
    counts, style = head.total(), _ENDS.get(state, "magenta")
    sign = {State.SUCCEEDED: glyphs.good, State.SKIPPED: glyphs.none}.get(state, glyphs.bad)
    line: Row = [(f"{sign} ", style), (head.name, "bold"), (f" {state}", f"bold {style}".replace("bold dim", "dim"))]
    line += [(f" in {duration(news.seconds)}", "")]
    found, all_ended = counts.replayed, counts.ended
    counts.replayed = 0
    dot = f" {glyphs.dot} "
    told = counted(counts, _ENDED, apart=dot)
    rows.append([*line, (dot if told else "", "dim"), *told, (f"{dot}run {head.run.id}", "dim")])
    if found:
        rows.append([("  ", ""), (f"{found:,} of {all_ended:,} task runs were found finished", "blue")])
    if head.left_out:
        logs = f"ostinato runs logs {head.run.id}"
        rows.append([("  ", ""), (f"{head.left_out:,} lines are not shown here: ", "dim"), (logs, "")])
    verb = {State.FAILED: "retry", State.CANCELLED: "retry", State.CRASHED: "resume"}.get(state)
    if verb is not None and news.is_stopped and head.run.target is not None:
        rows.append([("  Go on with what is not finished: ", "dim"), (f"ostinato runs {verb} {head.run.id}", "bold")])
    return rows
