"""The demo: how late were the 336,776 flights that left New York City in 2013, when, and with whom.

    stage_tables ──► cut_month (12) ──► join_month (12) ─┬─► summarise_delays (5, polars) ─┬─► check_totals
                                                         └─► summarise_airports (DuckDB) ──┼─► draw_chart
    fetch_airport_notices (fails twice, is retried) ───────────────────────────────────────┴─► write_report

Run it with ``python examples/flights/flights.py``; it takes some ten seconds. Kill it half-way (``kill -9``),
resume it, and see that the months that were finished stay finished. README.md says how.
"""

import time
from pathlib import Path
from threading import Lock

import chart
import delays
import notices
import polars as pl
import report
import source
from output import whole

from ostinato import Retry, current, flow, task

YEAR = list(range(1, 13))

POLITENESS = 0.7
"""Seconds between two months asked of the archive. 0 makes the demo quicker.

The original archive (the Bureau of Transportation Statistics) hands out one month a request, and one waits a little
between two. Here the archive is a local file that could be read at once; the pause stands for the real thing.
"""

_archive = Lock()
"""Whoever holds it may ask the archive: one month at a time."""


@task(retry=Retry(3, delay=0.3, backoff=2, on=ConnectionError), timeout=60, tags=["source"])
def fetch_airport_notices() -> dict[str, str]:
    """Fetch what was known of the worst days, by ISO date. The source hangs up twice before it answers."""
    return notices.ask(attempt=current.attempt)


@task(timeout=60, tags=["source"])
def stage_tables(out: str) -> dict[str, str]:
    """Read and validate the five tables, and stage them as Parquet.

    The year of flights travels on as a path, not as a value: every month reads only the row groups it
    lies in, from any process, instead of receiving a copy of the year. A month, cut out, travels as a data frame.

    Args:
        out: The output folder. The paths returned are absolute, so that a run resumed from another working
            directory goes on in the same place.

    Returns:
        The staged file of each table of `source.TABLES`, and the output folder as ``folder``.
    """
    folder = Path(out).resolve()
    staged = {"folder": str(folder)}
    for name in source.TABLES:
        table = source.read(name)
        staged[name] = f"{folder}/staged/{name}.parquet"
        with whole(staged[name]) as path:
            table.write_parquet(path, row_group_size=30_000)
        current.logger.info("staged %s: %s rows", name, f"{table.height:,}")
    return staged


@task(timeout=120, tags=["source"])
def cut_month(month: int, staged: dict[str, str]) -> pl.DataFrame:
    """Cut one month out of the year of flights.

    Args:
        month: 1 to 12.
        staged: See `stage_tables`.

    Returns:
        Some 28,000 flights with the columns of `source.TABLES`, in order of departure.
    """
    with _archive:
        time.sleep(POLITENESS)
        flights = pl.scan_parquet(staged["flights"]).filter(pl.col("month") == month).collect()
    if flights.is_empty():
        message = f"No flights in month {month}: `months` takes numbers from 1 to 12."
        raise ValueError(message)
    return flights


@task(timeout=60, tags=["polars"])
def join_month(flights: pl.DataFrame, staged: dict[str, str]) -> str:
    """Join a month of flights with weather, planes, airlines and airports, and store it as Parquet.

    Every join is many-to-one from the flights and keeps each of them, so no row is lost or doubled; polars verifies
    the "one". What may be missing stays null: the weather of 1,556 flights in the year (nothing was observed in that
    hour; half of them on December 31) and the plane of 52,606 (2,512 have no tail number; most others are American's
    and Envoy's, which report fleet numbers). Four airports in Puerto Rico and the Virgin Islands have no name and go
    by their codes. A missing airline or origin is an error.

    Args:
        flights: The flights of one month.
        staged: See `stage_tables`.

    Returns:
        The path of the month's file.

    Raises:
        ValueError: If an airline or origin is unknown, or the number of rows has changed.
    """
    observed = ["origin", "time_hour", "temp", "wind_speed", "precip", "visib"]
    weather = pl.read_parquet(staged["weather"], columns=observed)
    planes = pl.read_parquet(staged["planes"], columns=["tailnum", "year", "manufacturer", "model", "seats"])
    airlines = pl.read_parquet(staged["airlines"]).rename({"name": "carrier_name"})
    airports = pl.read_parquet(staged["airports"], columns=["faa", "name"])
    joined = (
        flights.join(weather, on=["origin", "time_hour"], how="left", validate="m:1")
        .join(planes.rename({"year": "plane_year"}), on="tailnum", how="left", validate="m:1")
        .join(airlines, on="carrier", how="left", validate="m:1")
        .join(airports.rename({"faa": "origin", "name": "origin_name"}), on="origin", how="left", validate="m:1")
        .join(airports.rename({"faa": "dest", "name": "dest_name"}), on="dest", how="left", validate="m:1")
        .with_columns(
            pl.date("year", "month", "day").alias("date"),
            pl.col("dest_name").fill_null(pl.col("dest")),
            pl.col("dep_time").is_null().alias("cancelled"),
            (pl.col("dep_time").is_not_null() & pl.col("arr_delay").is_null()).alias("diverted"),
            delays.WEATHER,
        )
    )
    unknown = joined.filter(pl.any_horizontal(pl.col("carrier_name", "origin_name").is_null()))
    if joined.height != flights.height or not unknown.is_empty():
        message = (
            f"{flights.height:,} flights became {joined.height:,} by joining; without a known airline or origin: "
            f"{unknown.select('carrier', 'origin').unique().rows()}"
        )
        raise ValueError(message)
    made = f"{staged['folder']}/months/{joined['date'][0]:%Y-%m}.parquet"
    with whole(made) as path:
        joined.write_parquet(path)
    return made


@task(timeout=60, tags=["polars"])
def summarise_delays(by: str, files: list[str], folder: str) -> pl.DataFrame:
    """Summarise all months with polars: one row a group, worst first. See `delays.summarise`."""
    summary = delays.summarise(files, delays.GROUPINGS[by])
    with whole(f"{folder}/delays_by_{by}.parquet") as path:
        summary.write_parquet(path)
    return summary


@task(timeout=60, tags=["duckdb"])
def summarise_airports(files: list[str], folder: str) -> pl.DataFrame:
    """Summarise all months with one SQL query in DuckDB: one row an origin or destination, worst first."""
    made = f"{folder}/delays_by_airport.parquet"
    with whole(made) as path:
        delays.summarise_airports(files, path)
    return pl.read_parquet(made)


@task(timeout=60)
def check_totals(months: list[int], staged: dict[str, str], summaries: dict[str, pl.DataFrame]) -> int:
    """Check that every summary, whichever engine made it, counts the same flights and the same minutes of delay.

    Returns:
        The number of flights.

    Raises:
        ValueError: If they differ, or if the whole year is not `source.FLIGHTS_IN_2013`.
    """
    flights = pl.scan_parquet(staged["flights"]).filter(pl.col("month").is_in(months))
    expected = flights.select(pl.len(), pl.col("arr_delay").cast(pl.Int64).sum()).collect().row(0)
    if months == YEAR and expected[0] != source.FLIGHTS_IN_2013:
        message = f"The year should have {source.FLIGHTS_IN_2013:,} flights; found {expected[0]:,}."
        raise ValueError(message)
    airports = summaries["airport"].partition_by("role", as_dict=True)
    parts = {name: part for name, part in summaries.items() if name != "airport"} | {
        role: part for (role,), part in airports.items()
    }
    for name, part in parts.items():
        found = part.select(pl.col("flights", "arr_delay_minutes").sum()).row(0)
        if found != expected:
            message = f"Flights and minutes of delay by {name}: expected {expected}, found {found}."
            raise ValueError(message)
    return int(expected[0])


@task(timeout=120, tags=["report"])
def draw_chart(by_hour: pl.DataFrame, folder: str) -> str:
    """Draw the chart of delays by month and hour, as SVG. Returns its path."""
    made = f"{folder}/chart.svg"
    with whole(made) as path:
        chart.draw(by_hour, path)
    return made


@task(timeout=60, tags=["report"])
def write_report(
    flights: int, summaries: dict[str, pl.DataFrame], day_notices: dict[str, str], drawing: str, folder: str
) -> str:
    """Write the report, one HTML file that needs nothing beside it. Returns its path."""
    made = f"{folder}/report.html"
    svg = Path(drawing).read_text(encoding="utf-8")
    page = report.render(flights, summaries, day_notices, svg, current.run_id)
    with whole(made) as path:
        path.write_text(page, encoding="utf-8")
    return made


@flow
def flights(out: str = "flights-report", months: list[int] = YEAR) -> dict[str, str | int]:
    """Make the report of the delays of 2013.

    Args:
        out: The folder for the report, the chart and the Parquet files.
        months: Which months to take in, from 1 to 12. None given means all.

    Returns:
        The number of flights, the regular carrier with the largest share of disrupted flights, the report's path.
    """
    months = sorted(set(months)) or YEAR
    day_notices = fetch_airport_notices.submit()
    staged = stage_tables(out)
    folder = staged["folder"]
    cut = cut_month.map(months, [staged] * len(months))
    files = list(join_month.map(cut, [staged] * len(months)))

    groupings = list(delays.GROUPINGS)
    made = summarise_delays.map(groupings, [files] * len(groupings), [folder] * len(groupings))
    summaries = dict(zip(groupings, made, strict=True)) | {"airport": summarise_airports(files, folder)}
    total = check_totals(months, staged, summaries)
    drawing = draw_chart(summaries["hour"], folder)
    page = write_report(total, summaries, day_notices, drawing, folder)

    print(f"{total:,} flights summarised. Open {page} in a browser.")
    regular = summaries["carrier"].filter(pl.col("flights") >= report.REGULAR * len(months))
    return {"flights": total, "worst_carrier": regular["carrier_name"][0], "report": page}


if __name__ == "__main__":
    flights()
