"""An outlook drawn as SVG: who waits, the slots in use, late starts below. One file, no script, light and dark."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from ostinato.clock import to_datetime
from ostinato.simulate.chart import label_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ostinato.simulate.outlook import Outlook

_WIDTH, _HEIGHT = 960, 400
_LEFT, _RIGHT = 56, 16
_PLOT: Final = _WIDTH - _LEFT - _RIGHT
_PANES: Final = ((64, 120), (222, 120))
"""Where the two curves are: the upper edge, the height."""
_LABELS: Final = 6
_STYLE: Final = """
  svg { background: #fff; font: 12px system-ui, sans-serif; }
  text { fill: #57606a } .title { font-size: 15px; font-weight: 600; fill: #1f2328 } .name { fill: #1f2328 }
  .grid { stroke: #d8dee4 } .wait { fill: #d4a72c55; stroke: #9a6700 } .run { fill: #54aeff55; stroke: #0969da }
  .all { stroke: #57606a; stroke-dasharray: 3 3 } .late { stroke: #cf222e; stroke-width: 2 }
  @media (prefers-color-scheme: dark) {
    svg { background: #0d1117 } text { fill: #8d96a0 } .title, .name { fill: #e6edf3 } .grid { stroke: #30363d }
    .wait { stroke: #d29922 } .run { stroke: #58a6ff } .all { stroke: #8d96a0 } .late { stroke: #f85149 }
  }
"""


def draw(outlook: Outlook, title: str) -> str:
    """Draw an outlook.

    Args:
        outlook: What was simulated.
        title: What stands above.
    """
    queued = [float(each.most_queued) for each in outlook.stretches]
    running = [float(each.most_running) for each in outlook.stretches]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        f'<text class="title" x="{_LEFT}" y="28">{escape(title)}</text>',
        *_pane(_PANES[0], "runs that wait", queued, max([1.0, *queued]), "wait"),
        *_pane(_PANES[1], f"slots in use, of {outlook.slots}", running, max(1.0, float(outlook.slots)), "run"),
        *_late(outlook),
        *_axis(outlook),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _pane(place: tuple[int, int], name: str, values: Sequence[float], top: float, kind: str) -> Iterator[str]:
    y, height = place
    yield f'<text class="name" x="{_LEFT}" y="{y - 8}">{escape(name)}</text>'
    for share in (0.0, 0.5, 1.0):
        at = y + height * (1 - share)
        yield f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:g}" y2="{at:g}"/>'
        if share != 0.5 or top >= 2:  # noqa: PLR2004  # half a run is none
            yield f'<text x="{_LEFT - 8}" y="{at + 4:g}" text-anchor="end">{top * share:g}</text>'
    step = _PLOT / len(values)
    points = [f"M{_LEFT},{y + height}"]
    for number, value in enumerate(values):
        level = y + height * (1 - min(1.0, value / top))
        points.append(f"L{_LEFT + number * step:.1f},{level:.1f} H{_LEFT + (number + 1) * step:.1f}")
    yield f'<path class="{kind}" d="{" ".join(points)} V{y + height} Z"/>'
    if kind == "run":
        yield f'<line class="all" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'


def _late(outlook: Outlook) -> Iterator[str]:
    """Mark when runs began late; the more, the higher."""
    most = max((each.late for each in outlook.stretches), default=0)
    if not most:
        return
    step, foot = _PLOT / len(outlook.stretches), 366
    yield f'<text x="{_LEFT - 8}" y="{foot}" text-anchor="end">late</text>'
    for number, each in enumerate(outlook.stretches):
        if each.late:
            x, tall = _LEFT + (number + 0.5) * step, 3 + 9 * each.late / most
            yield f'<line class="late" x1="{x:.1f}" x2="{x:.1f}" y1="{foot}" y2="{foot - tall:.1f}"/>'


def _axis(outlook: Outlook) -> Iterator[str]:
    write = label_of(outlook.end - outlook.begin)
    for number in range(_LABELS):
        at = outlook.begin + (outlook.end - outlook.begin) * number // _LABELS
        x = _LEFT + _PLOT * number / _LABELS
        yield f'<text x="{x:.1f}" y="{_HEIGHT - 14}">{escape(write(to_datetime(at).astimezone()))}</text>'
