"""What is measured of the flights: the same measures in polars expressions and in DuckDB's SQL.

A flight is *late* if it arrives 15 minutes or more after its time, as the US Bureau of Transportation Statistics
counts it. It is *disrupted* if it is late, cancelled, or has no arrival on record (it was diverted, mostly).
Delays are in minutes and negative for early flights; their means leave out flights that did not fly.
"""

from pathlib import Path

import duckdb
import polars as pl

LATE = 15
"""Minutes after the scheduled arrival from which a flight counts as late."""

GROUPINGS = {
    "carrier": ["carrier", "carrier_name"],
    "month": ["month"],
    "hour": ["month", "hour"],
    "day": ["date"],
    "weather": ["weather"],
}
"""The summaries made with polars: the columns each is grouped by."""

_WET = pl.col("precip") > 0

WEATHER = (
    pl.when(pl.col("visib").is_null())
    .then(pl.lit("Not observed"))
    .when(_WET & (pl.col("temp") <= 32))  # noqa: PLR2004
    .then(pl.lit("Snow or freezing rain"))
    .when(_WET)
    .then(pl.lit("Rain"))
    .when(pl.col("visib") < 3)  # noqa: PLR2004
    .then(pl.lit("Visibility under 3 miles"))
    .when(pl.col("wind_speed") >= 25)  # noqa: PLR2004
    .then(pl.lit("Wind of 25 mph or more"))
    .otherwise(pl.lit("Fair"))
    .alias("weather")
)
"""The weather at the origin in the hour of the scheduled departure, in words. The first that fits."""

_DISRUPTED = (pl.col("arr_delay") >= LATE).fill_null(value=True)

MEASURES = (
    pl.len().cast(pl.Int64).alias("flights"),
    pl.col("cancelled").sum().cast(pl.Int64),
    pl.col("diverted").sum().cast(pl.Int64),
    pl.col("arr_delay").sum().cast(pl.Int64).alias("arr_delay_minutes"),
    pl.col("dep_delay").mean().alias("mean_dep_delay"),
    pl.col("arr_delay").mean().alias("mean_arr_delay"),
    pl.col("arr_delay").quantile(0.9, interpolation="linear").alias("p90_arr_delay"),
    pl.col("cancelled").mean().alias("cancelled_share"),
    (pl.col("arr_delay") >= LATE).mean().alias("late_share"),
    _DISRUPTED.mean().alias("disrupted_share"),
    _WET.mean().alias("wet_share"),
    pl.col("visib").min().alias("lowest_visib"),
    (pl.col("year") - pl.col("plane_year")).mean().alias("mean_plane_age"),
    pl.col("seats").is_not_null().mean().alias("plane_share"),
)
"""Counts, minutes, shares from 0 to 1; the weather known, the lowest visibility in miles; years of the planes known."""


def summarise(files: list[str], by: list[str]) -> pl.DataFrame:
    """Summarise the flights with polars, reading only the columns it takes.

    Args:
        files: Parquet files of joined months.
        by: The columns to group by.

    Returns:
        One row a group, worst first: the columns of `by`, then `MEASURES`.
    """
    return (
        pl.scan_parquet(files)
        .group_by(by)
        .agg(MEASURES)
        .sort("disrupted_share", *by, descending=[True] + [False] * len(by))
        .collect()
    )


BY_AIRPORT = f"""
    SELECT
        CASE grouping(origin) WHEN 0 THEN 'origin' ELSE 'destination' END AS role,
        coalesce(origin, dest)                                AS airport,
        coalesce(origin_name, dest_name)                      AS airport_name,
        count(*)                                              AS flights,
        count(*) FILTER (WHERE cancelled)                     AS cancelled,
        count(*) FILTER (WHERE diverted)                      AS diverted,
        coalesce(sum(arr_delay), 0)::BIGINT                   AS arr_delay_minutes,
        avg(dep_delay)                                        AS mean_dep_delay,
        avg(arr_delay)                                        AS mean_arr_delay,
        quantile_cont(arr_delay, 0.9)                         AS p90_arr_delay,
        avg(cancelled::INT)                                   AS cancelled_share,
        avg((arr_delay >= {LATE})::INT)                       AS late_share,
        avg(coalesce(arr_delay >= {LATE}, true)::INT)         AS disrupted_share,
        arg_max(carrier_name, arr_delay)                      AS worst_delay_by,
        max(arr_delay)                                        AS worst_delay
    FROM read_parquet($files)
    GROUP BY GROUPING SETS ((origin, origin_name), (dest, dest_name))
    ORDER BY role DESC, disrupted_share DESC, airport
"""  # noqa: S608
"""Origins and destinations in one pass over the files, worst first."""


def summarise_airports(files: list[str], made: Path) -> None:
    """Summarise the flights by airport with DuckDB, from Parquet files into a Parquet file.

    Args:
        files: Parquet files of joined months.
        made: The file to make: one row an origin and one a destination.
    """
    with duckdb.connect() as database:
        database.sql(BY_AIRPORT, params={"files": files}).write_parquet(str(made))
