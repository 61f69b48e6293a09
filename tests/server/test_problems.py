"""Whatever goes wrong is told in one shape, with a sentence that helps."""

from __future__ import annotations

import logging
import resource
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from ostinato.errors import ResultError, StoreUnavailableError
from ostinato.io.results import hasher
from ostinato.server import blobs
from ostinato.server.routes import about

if TYPE_CHECKING:
    import httpx
    from tests.serving import Running


def told(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    shape: dict[str, Any] = answer.json()
    assert shape["status"] == status
    assert {"type", "title", "status", "detail"} <= set(shape) <= {"type", "title", "status", "detail", "fields"}
    assert shape["detail"].endswith((".", "?", "…")) or "fields" in shape
    return shape


def test_an_unknown_path_is_told(server: Running) -> None:
    assert "/api/openapi.json" in told(server.http.get("/api/nothing"), 404)["detail"]
    told(server.http.get("/elsewhere"), 404)
    told(server.http.get("/page/../secret"), 404)


def test_a_wrong_method_is_told_with_the_right_ones(server: Running) -> None:
    answer = server.http.delete("/api/info")
    assert "GET" in told(answer, 405)["detail"]
    assert "GET" in answer.headers["allow"]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"nonsense", b'{"deployment": NaN}', b"[" * 100_000])
def test_a_body_that_is_no_json_is_refused(server: Running, body: bytes) -> None:
    answer = server.http.post("/api/runs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422), answer.text
    told(answer, answer.status_code)


def test_a_body_of_the_wrong_shape_is_told_field_by_field(server: Running) -> None:
    body = {"deployment": "", "tags": "x", "priority": 1000, "surplus": 1}
    fields = told(server.http.post("/api/runs", json=body), 422)["fields"]
    assert set(fields) == {"deployment", "tags", "priority", "surplus"}


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "state=done", "created_since=yesterday"])
def test_a_query_that_does_not_fit_is_told_field_by_field(server: Running, query: str) -> None:
    fields = told(server.http.get(f"/api/runs?{query}"), 422)["fields"]
    assert [name.partition(".")[0] for name in fields] == [query.partition("=")[0]]


@pytest.mark.parametrize("cursor", ["!", "ä", "AAAA", "LTE", "x" * 299])
def test_a_cursor_that_was_made_up_is_refused_or_finds_nothing(server: Running, cursor: str) -> None:
    for path in ("/api/events", "/api/runs", "/api/deployments"):
        assert server.http.get(path, params={"cursor": cursor}).status_code in (200, 400)
    assert server.http.get("/api/events", params={"cursor": "!"}).status_code == 400


def test_an_unknown_run_is_told(server: Running) -> None:
    for path in ("", "/task-runs", "/logs", "/waits", "/why", "/task-runs/0/attempts"):
        shape = told(server.http.get(f"/api/runs/0000000000000000{path}"), 404)
        assert shape["type"] == "urn:ostinato:UnknownRunError"
    for verb in ("cancel", "retry", "resume"):
        told(server.http.post(f"/api/runs/0000000000000000/{verb}"), 404)


def test_an_unknown_name_is_told_with_the_nearest(server: Running) -> None:
    server.deploy("weather")
    shape = told(server.http.get("/api/deployments/wether"), 404)
    assert shape["type"] == "urn:ostinato:UnknownNameError"
    assert "weather" in shape["detail"]
    told(server.http.delete("/api/projects/none"), 404)
    told(server.http.post("/api/workers/none/drain"), 404)
    told(server.http.delete("/api/tokens/none"), 404)
    told(server.http.patch("/api/users/none", json={}), 404)


def test_a_body_that_says_it_is_too_large_is_refused_unread(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", server.serving.port), timeout=10) as plain:
        plain.sendall(
            b"POST /api/runs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: 99999999999\r\n\r\n{"
        )
        assert plain.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_a_body_that_does_not_say_how_large_it_is_is_cut_off(server: Running) -> None:
    def endless() -> Any:
        for _ in range(12):
            yield b" " * (1 << 20)

    answer = server.http.post("/api/runs", content=endless(), headers={"Content-Type": "application/json"})
    assert "8,388,608" in told(answer, 413)["detail"]


def test_another_protocol_is_refused_with_who_is_older(server: Running) -> None:
    newer = told(server.http.get("/api/info", headers={"Ostinato-Protocol": "99"}), 426)
    assert "server is the older" in newer["detail"]
    assert newer["type"] == "urn:ostinato:ProtocolError"
    assert (
        "client is the older" in told(server.http.get("/api/info", headers={"Ostinato-Protocol": "0"}), 426)["detail"]
    )
    told(server.http.get("/api/info", headers={"Ostinato-Protocol": "new"}), 426)
    assert server.http.get("/api/info", headers={"Ostinato-Protocol": "1"}).status_code == 200


def test_a_database_that_is_away_is_told_as_503(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise StoreUnavailableError("The database cannot be reached.")

    monkeypatch.setattr(server.store, "info", away)
    assert told(server.http.get("/api/ready"), 503)["type"] == "urn:ostinato:StoreUnavailableError"


def test_readiness_does_not_wait_for_a_database_that_does_not_answer(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    monkeypatch.setattr(server.store, "info", lambda: answers.wait(60))
    monkeypatch.setattr(about, "_SOON", 0.1)
    for _ in range(30):  # more than there are threads: one look is enough for all who ask
        assert "has not answered for" in told(server.http.get("/api/ready"), 503)["detail"]
    assert server.http.get("/api/runs").status_code == 200
    answers.set()


def test_a_blob_for_which_there_is_no_room_is_refused_with_507(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put(data: memoryview) -> str:
        piece = data[:10]  # as one that writes piece by piece holds when it fails
        raise ResultError(f"The disk is full after {len(piece)} bytes.")

    data = bytes(12 << 20)
    path = f"/api/blobs/{hasher(data).hexdigest()}"
    monkeypatch.setattr(server.serving.served.results, "put", put)
    assert "The disk is full" in told(server.http.put(path, content=data), 507)["detail"]
    monkeypatch.setattr(blobs, "_IN_MEMORY", 1 << 20)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8 << 20, hard))
    try:
        assert "Make room in its" in told(server.http.put(path, content=data), 507)["detail"]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_nobody_foresaw_is_told_by_a_number_that_is_in_the_log(
    server: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise ZeroDivisionError("the secret part")

    monkeypatch.setattr(server.store, "list_workers", broken)
    with caplog.at_level(logging.ERROR, "ostinato.server"):
        shape = told(server.http.get("/api/workers"), 500)
    assert "secret" not in str(shape)
    number = shape["detail"].split()[-1].rstrip(".")
    assert number in caplog.text
    assert "the secret part" in caplog.text
