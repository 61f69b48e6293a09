"""The chart: how long flights waited to leave, by month and by hour of the day."""

from calendar import month_abbr
from pathlib import Path
from typing import Any

import matplotlib as mpl
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

INK, QUIET, PLUM = "#2b2530", "#8a8190", "#8c2f54"
HEAT = LinearSegmentedColormap.from_list("heat", ["#f7f1e6", "#f6d9a8", "#eda15f", "#cf5449", PLUM, "#4a1539"])
SCALE = Normalize(vmin=0, vmax=48)
"""Minutes. The same for any choice of months, so that two charts can be compared."""

FEW = 30
"""Fewer departures than this in a cell say little: it stays empty."""

_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": QUIET,
    "xtick.color": QUIET,
    "ytick.color": INK,
    "svg.fonttype": "none",  # text stays text: sharp, selectable, in the font of the page
    "svg.hashsalt": "flights",  # the same data give the same file
}


def draw(by_hour: pl.DataFrame, path: Path) -> None:
    """Draw a heat map of the mean departure delay with its margins, as SVG.

    Args:
        by_hour: A summary by `month` and `hour` (see `delays.MEASURES`).
        path: The file to make.
    """
    cells = by_hour.with_columns(departed=pl.col("flights") - pl.col("cancelled")).filter(pl.col("departed") >= FEW)
    months = sorted(cells["month"].unique())
    first, last = cells.select(first=pl.col("hour").min(), last=pl.col("hour").max()).row(0)
    hours = list(range(first, last + 1))
    with mpl.rc_context(_STYLE):
        body = 0.36 * len(months)
        height = 0.25 + 1.1 + body + 0.55
        figure = Figure(figsize=(10.4, height))
        grid = figure.add_gridspec(
            2,
            2,
            height_ratios=[1.1, body],
            width_ratios=[len(hours), 2.6],
            hspace=0.1 / (1.1 + body),
            wspace=0.03,
            left=0.045,
            right=0.985,
            top=1 - 0.25 / height,
            bottom=0.55 / height,
        )
        _heat_map(figure.add_subplot(grid[1, 0]), cells, months, hours)
        _hours(figure.add_subplot(grid[0, 0]), _means(cells, "hour"), hours)
        _months(figure.add_subplot(grid[1, 1]), _means(cells, "month"), months)
        figure.savefig(path, format="svg", transparent=True, metadata={"Date": None})


def _means(cells: pl.DataFrame, by: str) -> dict[int, float]:
    """Return the mean departure delay in minutes by month or hour, every flight counting the same."""
    weighted = (pl.col("mean_dep_delay") * pl.col("departed")).sum() / pl.col("departed").sum()
    return dict(cells.group_by(by).agg(weighted).iter_rows())


def _heat_map(axes: Axes, cells: pl.DataFrame, months: list[int], hours: list[int]) -> None:
    for month, hour, minutes in cells.select("month", "hour", "mean_dep_delay").iter_rows():
        x, y = hours.index(hour), months.index(month)
        axes.add_patch(mpl.patches.Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, color=HEAT(SCALE(minutes)), linewidth=0))
        shade = "white" if minutes > 27 else INK  # noqa: PLR2004
        axes.text(x, y, _minutes(minutes), ha="center", va="center", color=shade, fontsize=8.5)
    axes.set(xlim=(-0.5, len(hours) - 0.5), ylim=(len(months) - 0.5, -0.5))
    axes.set_xticks(range(len(hours)), [f"{hour}:00" for hour in hours], fontsize=8)
    axes.set_yticks(range(len(months)), [month_abbr[month] for month in months])
    axes.set_xlabel("Scheduled hour of departure, local time", labelpad=8)
    _bare(axes)


def _hours(axes: Axes, means: dict[int, float], hours: list[int]) -> None:
    for x, hour in enumerate(hours):
        minutes = means.get(hour, 0.0)
        axes.bar(x, max(minutes, 0), width=0.96, color=HEAT(SCALE(minutes)), linewidth=0)
        axes.text(x, max(minutes, 0) + 1, _minutes(minutes), ha="center", va="bottom", color=QUIET, fontsize=8)
    axes.set(xlim=(-0.5, len(hours) - 0.5), ylim=(0, max(means.values()) * 1.25 + 1), xticks=[], yticks=[])
    axes.set_title("All months", loc="left", fontsize=8.5, color=QUIET, pad=2)
    _bare(axes)


def _months(axes: Axes, means: dict[int, float], months: list[int]) -> None:
    for y, month in enumerate(months):
        minutes = means[month]
        axes.barh(y, max(minutes, 0), height=0.92, color=HEAT(SCALE(minutes)), linewidth=0)
        axes.text(max(minutes, 0) + 0.8, y, _minutes(minutes), ha="left", va="center", color=QUIET, fontsize=8.5)
    longest = max(means.values())
    axes.set(xlim=(0, longest * 1.3 + 1), ylim=(len(months) - 0.5, -0.5), xticks=[], yticks=[])
    axes.set_title("All hours", loc="left", fontsize=8.5, color=QUIET, pad=4)
    _bare(axes)


def _minutes(value: float) -> str:
    """Write whole minutes with a true minus sign, and no minus before a zero."""
    return f"{round(value):d}".replace("-", "\N{MINUS SIGN}")


def _bare(axes: Axes) -> None:
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, pad=5)
    axes.patch.set_visible(False)
