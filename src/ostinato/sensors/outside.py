"""Sensors that are there already: for files, objects in a bucket, rows of a database, and what a URL gives.

```python
landing = files("/in/*.csv", start=load, parameter="path")
bucket = objects("s3://landing/orders/", start=load, parameter="key")
orders = rows("postgresql://…", "SELECT * FROM orders WHERE id > :cursor", cursor_column="id", start=load)
rates = http("https://example.com/rates.json", start=load, path="date")
```

Each has the options of `ostinato.sensors.sensor` too, and is called like the variable that holds it unless `name` is
given. What is there when it looks for the first time counts as new; ``existing=False`` lets it begin with what comes.
"""

from __future__ import annotations

import fnmatch
import glob
import hashlib
import json
import os
import sqlite3
import stat
import time
import urllib.error
import urllib.request
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final, Unpack

from ostinato.errors import DefinitionError, SensorError
from ostinato.outcomes import Skip
from ostinato.sensors.sensor import RunRequest, Sensor, SensorContext, sensor_options, target_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import timedelta
    from typing import TypedDict

    from ostinato.sensors.sensor import Startable

    class Options(TypedDict, total=False):
        """The options of all sensors."""

        every: float | timedelta
        name: str | None
        timeout: float | timedelta
        pool: str | None
        paused: bool
        description: str | None

    Outside = Sensor[[SensorContext], Iterator[RunRequest | Skip]]

_MOST: Final = 1000
"""Runs that one look requests at most; the next look goes on."""
_LONGEST_BODY: Final = 64 * 1024 * 1024


def _made(look: Callable[[SensorContext], Iterator[RunRequest | Skip]], what: str, options: Options) -> Outside:
    if options.get("description") is None:
        options["description"] = what
    return Sensor(look, sensor_options(**options))


def _new(
    context: SensorContext, now: Mapping[str, str], request: Callable[[str, str], RunRequest], *, existing: bool
) -> Iterator[RunRequest | Skip]:
    """Request a run for each name that is new or has another mark than before; forget those that are gone.

    The cursor holds the mark of each name that is there. A name is in it only once its run was requested.
    """
    if context.cursor is None and not existing:
        context.cursor = {"seen": dict(now)}
        yield Skip(f"it begins with what comes after the {len(now)} that are there")
        return
    known: dict[str, str] = (context.cursor or {}).get("seen", {})
    fresh = [name for name, mark in now.items() if known.get(name) != mark][:_MOST]
    chosen = set(fresh)
    context.cursor = {
        "seen": {name: now[name] if name in chosen else known[name] for name in now if name in chosen or name in known}
    }
    if not fresh:
        yield Skip("nothing new")
    for name in fresh:
        yield request(name, now[name])


# --- files


def files(
    pattern: str | os.PathLike[str],
    *,
    start: str | Startable,
    parameter: str = "path",
    settle: float = 2.0,
    existing: bool = True,
    **options: Unpack[Options],
) -> Outside:
    """Make a sensor that starts a run for each file that is new or has changed.

    A file that is still being written is left for a later look: one whose content, name or times were touched within
    the last `settle` seconds. Run keys are made of path, time and size, so each version of a file has one run.

    Args:
        pattern: As `glob` has it, ``**`` for any folders.
        start: What is started.
        parameter: The parameter that is given the file's path.
        settle: Seconds that a file must have been left alone.
        existing: Whether files that are there at the first look count.
        **options: As of `ostinato.sensors.sensor`.

    Raises:
        DefinitionError: If a value makes no sense.
    """
    target, shown = target_name(start), os.fspath(pattern)
    if settle < 0:
        raise DefinitionError(f"files(settle=...) must not be negative, got {settle!r}.")

    def request(path: str, mark: str) -> RunRequest:
        return RunRequest(target, parameters={parameter: path}, key=_key(path, mark))

    def look(context: SensorContext) -> Iterator[RunRequest | Skip]:
        known: dict[str, str] = (context.cursor or {}).get("seen", {})
        yield from _new(context, _settled(shown, context.now.timestamp() - settle, known), request, existing=existing)

    return _made(look, f"Watches the files {shown}.", options)


def _settled(pattern: str, latest: float, known: Mapping[str, str]) -> dict[str, str]:
    """Return the files that nobody has touched since `latest`, the oldest first, each with its time and size.

    One that was known and is being written again keeps its old mark until it is left alone.
    """
    found = []
    for path in glob.glob(pattern, recursive=True):  # noqa: PTH207  # the user's pattern is the whole of it
        try:
            facts = os.stat(path)  # noqa: PTH116  # there may be very many
        except OSError:
            continue  # it has just gone
        if not stat.S_ISREG(facts.st_mode):
            continue
        # a copied file may bear an old time, or one to come, but the system notes when it was touched
        touched = max(facts.st_ctime, facts.st_mtime if facts.st_mtime <= time.time() else 0.0)
        mark = f"{facts.st_mtime_ns}:{facts.st_size}"
        if touched <= latest or known.get(path) == mark:
            found.append((facts.st_mtime_ns, path, mark))
        elif path in known:
            found.append((facts.st_mtime_ns, path, known[path]))
    return {path: mark for _, path, mark in sorted(found)}


def _key(name: str, mark: str) -> str:
    """Make a run key; a long name stands in it by its digest."""
    shown = name if len(name) <= 300 else hashlib.blake2b(name.encode(), digest_size=16).hexdigest()  # noqa: PLR2004
    return f"{shown}@{mark}"


# --- objects in a bucket


def objects(
    url: str,
    *,
    start: str | Startable,
    parameter: str = "key",
    match: str = "*",
    existing: bool = True,
    store: Any = None,
    **options: Unpack[Options],
) -> Outside:
    """Make a sensor that starts a run for each object under a prefix that is new or has changed.

    It needs ``pip install 'ostinato[buckets]'``, for `obstore`, which takes credentials from the environment.

    Args:
        url: ``s3://bucket/prefix``, ``gs://…``, ``az://…``, ``file:///folder``.
        start: What is started.
        parameter: The parameter that is given the object's path, as it is below `url`.
        match: Which names count, ``*`` for anything: ``*.parquet``.
        existing: Whether objects that are there at the first look count.
        store: An `obstore` store of your own, instead of one made of `url`, which is then the prefix in it.
        **options: As of `ostinato.sensors.sensor`.
    """
    target = target_name(start)

    def request(path: str, mark: str) -> RunRequest:
        return RunRequest(target, parameters={parameter: path}, key=_key(path, mark))

    def look(context: SensorContext) -> Iterator[RunRequest | Skip]:
        yield from _new(context, _listed(url, match, store), request, existing=existing)

    return _made(look, f"Watches the objects {url}.", options)


def _listed(url: str, match: str, store: Any) -> dict[str, str]:
    try:
        import obstore
        from obstore.store import from_url
    except ImportError:
        raise SensorError("Watching objects needs obstore. Install it: pip install 'ostinato[buckets]'") from None
    opened, prefix = (from_url(url), None) if store is None else (store, url or None)
    found = []
    for page in obstore.list(opened, prefix=prefix):
        for each in page:
            if fnmatch.fnmatchcase(each["path"], match):
                mark = each.get("e_tag") or f"{each['last_modified'].timestamp()}:{each['size']}"
                found.append((each["last_modified"], each["path"], str(mark)))
    return {path: mark for _, path, mark in sorted(found)}


# --- rows of a database


def rows(
    url: str,
    query: str,
    *,
    cursor_column: str,
    start: str | Startable,
    parameter: str = "row",
    together: bool = False,
    since: Any = 0,
    **options: Unpack[Options],
) -> Outside:
    """Make a sensor that starts a run for each row that a query finds, or one for all of a look.

    The cursor is the greatest value of `cursor_column`. So that column must grow in the order in which rows become
    visible: a row that appears later with a smaller value is not seen.

    Args:
        url: ``postgresql://…`` or ``sqlite:////path.db``.
        query: With ``:cursor`` in it: ``SELECT * FROM orders WHERE id > :cursor``.
        cursor_column: The column that `:cursor` is compared with.
        start: What is started.
        parameter: The parameter that is given the row, by column; the list of rows with `together`.
        together: Whether all rows of a look make one run.
        since: What `:cursor` is at the first look.
        **options: As of `ostinato.sensors.sensor`.

    Raises:
        DefinitionError: If the query has no ``:cursor``.
    """
    target = target_name(start)
    if ":cursor" not in query:
        raise DefinitionError(
            f"The query of rows(...) must have :cursor in it, so that a look finds what is new: {query}"
        )

    def look(context: SensorContext) -> Iterator[RunRequest | Skip]:
        cursor = since if context.cursor is None else context.cursor
        found = _whole(_fetch(url, query, cursor_column, cursor), cursor_column)
        if not found:
            yield Skip("no new rows")
            return
        context.cursor = found[-1][cursor_column]
        if together:
            marks = f"{found[0][cursor_column]}..{found[-1][cursor_column]}"
            yield RunRequest(target, parameters={parameter: found}, key=_key(cursor_column, marks))
            return
        for row in found:
            digest = hashlib.blake2b(repr(sorted(row.items())).encode(), digest_size=8).hexdigest()
            yield RunRequest(target, parameters={parameter: row}, key=_key(str(row[cursor_column]), digest))

    return _made(look, f"Watches the rows of {query}", options)


def _fetch(url: str, query: str, column: str, cursor: Any) -> list[dict[str, Any]]:
    """Fetch the first rows in the order of the cursor's column, one more than are taken."""
    quoted = '"' + column.replace('"', '""') + '"'
    wrapped = f"SELECT * FROM ({query.rstrip().rstrip(';')}) AS found ORDER BY {quoted} LIMIT {_MOST + 1}"  # noqa: S608  # the user's own query
    if url.startswith("sqlite:"):
        path = url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute(wrapped, {"cursor": cursor})]
    try:
        import psycopg
        from psycopg.rows import dict_row
    except ImportError:
        raise SensorError("Watching rows of PostgreSQL needs psycopg: pip install 'ostinato[postgres]'") from None
    named = wrapped.replace("%", "%%").replace(":cursor", "%(cursor)s")
    with psycopg.connect(url, row_factory=dict_row, autocommit=True) as connection:
        return list(connection.execute(named, {"cursor": cursor}).fetchall())


def _whole(found: Sequence[dict[str, Any]], column: str) -> list[dict[str, Any]]:
    """Cut what is more than a look takes, but never between rows of one value: the next look begins after it."""
    if len(found) <= _MOST:
        return list(found)
    last = found[-1][column]
    kept = [row for row in found if row[column] != last]
    if not kept:
        raise SensorError(f"More than {_MOST:,} rows have {column} = {last!r}: choose a column that tells them apart.")
    return kept


# --- what a URL gives


def http(
    url: str,
    *,
    start: str | Startable,
    path: str | None = None,
    parameter: str | None = None,
    headers: Mapping[str, str] | None = None,
    existing: bool = True,
    **options: Unpack[Options],
) -> Outside:
    """Make a sensor that starts a run whenever what a URL gives has changed.

    It asks with ``If-None-Match`` and ``If-Modified-Since`` where the server has named an ETag or a time; what counts
    is the body, or a value in it.

    Args:
        url: ``http://…`` or ``https://…``.
        start: What is started.
        path: Of a JSON body, the value that counts: ``data.version``, ``items.0.id``.
        parameter: The parameter that is given that value, or without `path` the URL; None for no parameter.
        headers: Sent along.
        existing: Whether what is there at the first look counts.
        **options: As of `ostinato.sensors.sensor`.

    Raises:
        DefinitionError: If it is no such URL.
    """
    target = target_name(start)
    if not url.startswith(("http://", "https://")):
        raise DefinitionError(f"http(...) watches http:// and https:// addresses, got {url!r}.")

    def look(context: SensorContext) -> Iterator[RunRequest | Skip]:
        before: dict[str, Any] = context.cursor or {}
        answer = _ask(url, {**(headers or {}), **_conditions(before)})
        if answer is None:
            yield Skip("not modified")
            return
        body, marks = answer
        value = _value_at(body, path, url) if path is not None else url
        digest = hashlib.blake2b(json.dumps(value).encode() if path is not None else body, digest_size=16).hexdigest()
        context.cursor = {**marks, "digest": digest}
        if before.get("digest") == digest:
            yield Skip("the same as before")
        elif not before and not existing:
            yield Skip("it begins with the next change")
        else:
            # not keyed by content: what comes back to an old value has changed too
            yield RunRequest(target, parameters={} if parameter is None else {parameter: value})

    return _made(look, f"Watches {url}.", options)


def _conditions(before: Mapping[str, Any]) -> dict[str, str]:
    names = {"etag": "If-None-Match", "last_modified": "If-Modified-Since"}
    return {header: before[name] for name, header in names.items() if before.get(name)}


def _ask(url: str, headers: Mapping[str, str]) -> tuple[bytes, dict[str, str]] | None:
    """Return the body and its marks; None where it has not changed."""
    request = urllib.request.Request(url, headers={"User-Agent": "ostinato", **headers})  # noqa: S310  # checked above
    try:
        with urllib.request.urlopen(request) as answer:  # noqa: S310  # checked above; the look's own timeout holds
            body = answer.read(_LONGEST_BODY + 1)
            marks = {"etag": answer.headers.get("ETag"), "last_modified": answer.headers.get("Last-Modified")}
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 304:  # noqa: PLR2004  # Not Modified
                return None
            raise SensorError(f"{url} answers {error.code} {error.reason}.") from None
    except OSError as error:
        raise SensorError(f"{url} cannot be asked: {getattr(error, 'reason', error)}.") from None
    if len(body) > _LONGEST_BODY:
        raise SensorError(f"{url} gives more than {_LONGEST_BODY:,} bytes: too much to be watched.")
    return body, {name: value for name, value in marks.items() if value}


def _value_at(body: bytes, path: str, url: str) -> Any:
    try:
        value: Any = json.loads(body)
    except ValueError:
        raise SensorError(f"{url} gives no JSON, so there is nothing at {path!r}.") from None
    for step in path.split("."):
        try:
            value = value[int(step)] if isinstance(value, list) else value[step]
        except (KeyError, IndexError, ValueError, TypeError):
            raise SensorError(f"What {url} gives has nothing at {path!r}: {step!r} is not there.") from None
    return value
