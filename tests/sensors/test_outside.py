"""The sensors that are there already: files, objects, rows, URLs."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tests.postgres import postgres_server, postgres_template, postgres_url  # noqa: F401

from ostinato.errors import DefinitionError, SensorError
from ostinato.sensors import Sensor, SensorContext
from ostinato.sensors.outside import files, http, objects, rows
from ostinato.sensors.sensor import read_cursor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Watch:
    """A sensor that is looked at again and again, each time with the cursor of before, through JSON."""

    def __init__(self, sensor: Sensor[Any, Any]) -> None:
        self.sensor, self.cursor, self.skip = sensor, None, ""

    def look(self, later: float = 0.0) -> list[Any]:
        now = datetime.now(UTC) + timedelta(seconds=later)
        found = self.sensor.look(SensorContext(read_cursor(self.cursor), now=now))
        self.cursor, self.skip = found.cursor, found.skip
        self.keys = [request.key for request in found.requests]
        return [next(iter(request.parameters.values()), None) for request in found.requests]


# --- files


def left_alone(path: Path, text: str, *, seconds: float = 100.0) -> None:
    """Write a file that seems not to have been touched for a while; its own clock cannot be set back."""
    path.write_text(text)
    at = time.time() - seconds
    os.utime(path, (at, at))


def test_a_file_is_requested_once_and_again_when_it_has_changed(tmp_path: Path) -> None:
    watch = Watch(files(tmp_path / "*.csv", start="load", settle=0))
    assert watch.look() == []
    assert watch.skip == "nothing new"
    left_alone(tmp_path / "b.csv", "1", seconds=50)
    left_alone(tmp_path / "a.csv", "1", seconds=40)
    (tmp_path / "c.txt").write_text("not mine")
    (tmp_path / "d.csv").mkdir()
    assert watch.look() == [str(tmp_path / "b.csv"), str(tmp_path / "a.csv")]
    first = watch.keys[0]
    assert watch.look() == []
    left_alone(tmp_path / "b.csv", "12", seconds=30)
    assert watch.look() == [str(tmp_path / "b.csv")]
    assert watch.keys[0] != first
    (tmp_path / "b.csv").unlink()
    assert watch.look() == []
    left_alone(tmp_path / "b.csv", "12", seconds=30)
    assert watch.look() == [str(tmp_path / "b.csv")]


def test_a_file_that_grows_is_left_until_it_is_settled(tmp_path: Path) -> None:
    watch = Watch(files(str(tmp_path / "*.csv"), start="load", settle=2))
    path = tmp_path / "a.csv"
    path.write_text("1")
    assert watch.look() == []
    os.utime(path, (1_000_000_000, 1_000_000_000))  # an old time that it was copied with
    assert watch.look() == []
    assert watch.look(later=3) == [str(path)]
    path.write_text("12")
    assert watch.look() == []
    assert watch.look(later=3) == [str(path)]
    assert watch.look(later=3) == []


def test_what_is_there_already_may_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1")
    watch = Watch(files(tmp_path / "*.csv", start="load", settle=0, existing=False))
    assert watch.look() == []
    (tmp_path / "b.csv").write_text("1")
    assert watch.look() == [str(tmp_path / "b.csv")]


def test_more_files_than_a_look_takes_are_taken_by_the_next(tmp_path: Path) -> None:
    for n in range(1005):
        (tmp_path / f"{n}.csv").write_text("")
    watch = Watch(files(tmp_path / "*.csv", start="load", settle=0))
    assert [len(watch.look()) for _ in range(3)] == [1000, 5, 0]


# --- objects


def test_objects_under_a_prefix_are_requested_once_each(tmp_path: Path) -> None:
    import obstore
    from obstore.store import MemoryStore

    store = MemoryStore()
    watch = Watch(objects("in/", start="load", match="*.parquet", store=store))
    assert watch.look() == []
    obstore.put(store, "in/a.parquet", b"1")
    obstore.put(store, "in/b.txt", b"1")
    obstore.put(store, "out/c.parquet", b"1")
    assert watch.look() == ["in/a.parquet"]
    assert watch.look() == []
    obstore.put(store, "in/a.parquet", b"2")
    assert watch.look() == ["in/a.parquet"]
    (tmp_path / "d.parquet").write_bytes(b"1")
    assert Watch(objects(f"file://{tmp_path}", start="load")).look() == ["d.parquet"]


# --- rows


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Any]:
    def do(statement: str) -> None:
        if request.param == "sqlite":
            with sqlite3.connect(tmp_path / "shop.db") as db:
                db.execute(statement)
        else:
            with psycopg.connect(str(request.getfixturevalue("postgres_url"))) as db:
                db.execute(statement)

    url = f"sqlite:///{tmp_path}/shop.db"
    if request.param == "postgres":
        url = str(request.getfixturevalue("postgres_url"))
    do("CREATE TABLE orders (id integer, item text)")
    return url, do


def test_rows_beyond_the_cursor_are_requested_one_by_one(database: tuple[str, Any]) -> None:
    url, do = database
    watch = Watch(rows(url, "SELECT * FROM orders WHERE id > :cursor", cursor_column="id", start="load"))
    assert watch.look() == []
    do("INSERT INTO orders VALUES (2, '50% off'), (1, 'tea')")
    assert watch.look() == [{"id": 1, "item": "tea"}, {"id": 2, "item": "50% off"}]
    assert watch.look() == []
    do("INSERT INTO orders VALUES (3, 'milk')")
    assert watch.look() == [{"id": 3, "item": "milk"}]


def test_rows_of_a_look_may_make_one_run(database: tuple[str, Any]) -> None:
    url, do = database
    do("INSERT INTO orders VALUES (1, 'tea'), (2, 'milk')")
    watch = Watch(
        rows(url, "SELECT id FROM orders WHERE id > :cursor", cursor_column="id", start="load", together=True)
    )
    assert watch.look() == [[{"id": 1}, {"id": 2}]]
    assert watch.look() == []


def test_rows_of_one_cursor_are_never_torn_apart(database: tuple[str, Any]) -> None:
    url, do = database
    do("INSERT INTO orders VALUES " + ", ".join(f"({n // 2}, 'x{n}')" for n in range(1, 1100)))
    query = "SELECT * FROM orders WHERE id > :cursor"
    watch = Watch(rows(url, query, cursor_column="id", start="load", since=-1))
    found = [watch.look() for _ in range(3)]
    items = [row["item"] for look in found for row in look]
    assert sorted(items) == sorted(f"x{n}" for n in range(1, 1100))
    assert [len(look) for look in found] == [999, 100, 0]
    do("DELETE FROM orders")
    do("INSERT INTO orders VALUES " + ", ".join(f"(9, 'y{n}')" for n in range(1100)))
    with pytest.raises(SensorError, match="More than 1,000 rows have id = 9"):
        Watch(rows(url, query, cursor_column="id", start="load")).look()


def test_a_query_without_a_cursor_is_refused() -> None:
    with pytest.raises(DefinitionError, match="must have :cursor in it"):
        rows("sqlite:///x.db", "SELECT 1", cursor_column="id", start="load")


# --- a URL


class Page(BaseHTTPRequestHandler):
    body, etag, status, asked = b"{}", "", 200, 0

    def do_GET(self) -> None:
        kind = type(self)
        kind.asked += 1
        fresh = kind.etag and self.headers.get("If-None-Match") == kind.etag
        self.send_response(304 if fresh else kind.status)
        if kind.etag:
            self.send_header("ETag", kind.etag)
        self.send_header("Content-Length", "0" if fresh else str(len(kind.body)))
        self.end_headers()
        if not fresh:
            self.wfile.write(kind.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served() -> Iterator[tuple[str, type[Page]]]:
    kind = type("Page", (Page,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", kind
        finally:
            server.shutdown()
            thread.join()


def test_a_url_is_requested_when_what_it_gives_has_changed(served: tuple[str, type[Page]]) -> None:
    url, page = served
    watch = Watch(http(url, start="load", parameter="url"))
    assert watch.look() == [url]
    assert watch.look() == []
    assert watch.skip == "the same as before"
    page.body, page.etag = b"2", '"two"'
    assert watch.look() == [url]
    assert watch.look() == []
    assert watch.skip == "not modified"


def test_only_a_value_in_it_may_count(served: tuple[str, type[Page]]) -> None:
    url, page = served
    page.body = b'{"data": [{"v": 1}], "at": 5}'
    watch = Watch(http(url, start="load", path="data.0.v", parameter="version"))
    assert watch.look() == [1]
    page.body = b'{"data": [{"v": 1}], "at": 6}'
    assert watch.look() == []
    page.body = b'{"data": [{"v": 2}], "at": 6}'
    assert watch.look() == [2]
    page.body = b'{"data": []}'
    with pytest.raises(SensorError, match="has nothing at 'data.0.v': '0' is not there"):
        watch.look()


def test_an_answer_that_is_an_error_is_told(served: tuple[str, type[Page]]) -> None:
    url, page = served
    page.status = 503
    with pytest.raises(SensorError, match="answers 503"):
        Watch(http(url, start="load")).look()
    with pytest.raises(SensorError, match="cannot be asked"):
        Watch(http("http://127.0.0.1:9/", start="load")).look()
