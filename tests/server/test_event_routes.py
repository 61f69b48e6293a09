"""Events over the API: told by whoever may, filtered, read on from a point."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from ostinato.clock import to_rfc3339

if TYPE_CHECKING:
    from tests.serving import Running


def test_an_event_is_told_and_found(either: Running) -> None:
    answer = either.http.post("/api/events", json={"kind": "orders.landed", "key": "4711", "data": {"rows": 7}})
    assert answer.status_code == 201, answer.text
    assert answer.json()["kind"] == "orders.landed"
    (found,) = either.http.get("/api/events", params={"kind": "orders."}).json()["items"]
    assert (found["kind"], found["key"], found["data"], found["run_id"]) == ("orders.landed", "4711", {"rows": 7}, None)
    either.http.post("/api/events", json={"kind": "orders.left"})
    items = either.http.get("/api/events", params={"kind": "orders.", "after": found["id"]}).json()["items"]
    assert [(item["kind"], item["key"], item["data"]) for item in items] == [("orders.left", "", None)]


def test_events_are_filtered_by_key_and_instant(either: Running) -> None:
    instants = []
    for n in range(5):
        instants.append(either.store.now())
        either.http.post("/api/events", json={"kind": "orders.landed", "key": str(n % 2), "data": n})
        time.sleep(0.002)
    keyed = either.http.get("/api/events", params={"kind": "orders.", "key": "1"}).json()["items"]
    assert [item["data"] for item in keyed] == [1, 3]
    since = either.http.get("/api/events", params={"kind": "orders.", "since": to_rfc3339(instants[3])}).json()["items"]
    assert [item["data"] for item in since] == [3, 4]
    pages, cursor = [], None
    while True:
        page = either.http.get("/api/events", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        pages += [item["data"] for item in page["items"] if item["kind"] == "orders.landed"]
        if (cursor := page["next"]) is None:
            break
    assert pages == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"kind": "run.failed"}, "made by Ostinato itself"),
        ({"kind": "ask.answered", "key": "x"}, "asks answer"),
        ({"kind": "has space"}, "is a word"),
        ({"kind": "a", "key": "line\nbreak"}, "printable"),
        ({"kind": "a", "data": "x" * 300_000}, "store it, and emit where it is"),
    ],
)
def test_what_is_no_event_of_a_user_is_refused(server: Running, body: dict[str, str], says: str) -> None:
    answer = server.http.post("/api/events", json=body)
    assert answer.status_code == 400
    assert says in answer.json()["detail"]


def test_a_viewer_tells_nothing(server: Running) -> None:
    headers = server.as_user("ada", "viewer")
    assert server.http.post("/api/events", json={"kind": "a"}, headers=headers).status_code == 403
    assert server.http.get("/api/events", headers=headers).status_code == 200
