"""An outlook drawn in characters: how many wait, how many slots are in use, when runs begin late.

```
waiting   12 ┤    ▂▅█▃
slots     8  ┤▁▃▆████▇▅▂
late runs    ┤     ··:·
              06:00          12:00          18:00
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ostinato.clock import SECOND, to_datetime

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from ostinato.simulate.outlook import Outlook, Stretch

_BARS: Final = " ▁▂▃▄▅▆▇█"
_ROWS: Final = 3
"""Lines that a curve takes."""
_EDGE: Final = 18
"""Columns to the left of a curve."""
_A_LABEL: Final = 14
_TWO_DAYS: Final = 2 * 86_400 * SECOND
_HALF_A_YEAR: Final = 180 * 86_400 * SECOND


def chart(outlook: Outlook, width: int = 100) -> list[str]:
    """Draw an outlook.

    Args:
        outlook: What was simulated.
        width: Columns that there are.
    """
    room = max(20, width - _EDGE - 1)
    columns = _columns(outlook.stretches, room)
    peaks = [max(each.most_queued for each in column) for column in columns]
    used = [max(each.most_running for each in column) for column in columns]
    late = [sum(each.late for each in column) for column in columns]
    lines = [*_curve("waiting", peaks, max(peaks, default=0)), *_curve("slots in use", used, outlook.slots)]
    if any(late):
        marks = "".join(" " if not count else "·" if count == 1 else ":" if count < 10 else "▪" for count in late)  # noqa: PLR2004
        lines.append(f"{'late starts':<{_EDGE - 2}} ┤{marks.rstrip()}")
    return [line.rstrip() for line in [*lines, _axis(outlook, len(columns))]]


def _columns(stretches: Sequence[Stretch], room: int) -> list[Sequence[Stretch]]:
    """Put stretches together until they fit."""
    each = -(-len(stretches) // room)
    return [stretches[place : place + each] for place in range(0, len(stretches), each)]


def _curve(title: str, values: Sequence[int], top: int) -> list[str]:
    lines = []
    for row in reversed(range(_ROWS)):
        cells = "".join(_cell(value / top if top else 0.0, row) for value in values)
        head = f"{title:<{_EDGE - 3 - len(str(top))}}{top} " if row == _ROWS - 1 else " " * (_EDGE - 2)
        lines.append(f"{head:<{_EDGE - 2}} {'┤' if row == _ROWS - 1 else '│'}{cells}")
    return lines


def _cell(share: float, row: int) -> str:
    """Return the part of a bar that is seen in one line; what is there at all is seen."""
    eighths = round(share * _ROWS * 8)
    if share > 0 and row == 0:
        eighths = max(1, eighths)
    return _BARS[max(0, min(8, eighths - 8 * row))]


def _axis(outlook: Outlook, columns: int) -> str:
    write = label_of(outlook.end - outlook.begin)
    text = " " * _EDGE
    for column in range(0, columns, _A_LABEL):
        at = outlook.stretches[column * -(-len(outlook.stretches) // columns)].at
        text = f"{text:<{_EDGE + column}}{write(to_datetime(at).astimezone())}"
    return text


def label_of(span: int) -> Callable[[datetime], str]:
    """Choose how instants are written below a chart that goes over a span."""
    if span <= _TWO_DAYS:
        return lambda moment: f"{moment:%H:%M}"
    if span <= _HALF_A_YEAR:
        return lambda moment: f"{moment:%b} {moment.day}"
    return lambda moment: f"{moment:%b %Y}"
