"""Schedules over the API."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ostinato.clock import SECOND, to_rfc3339
from ostinato.server import shapes_schedules as shapes

if TYPE_CHECKING:
    from tests.serving import Running

SCHEMA = json.dumps({"type": "object", "properties": {"city": {"type": "string"}}})


def added(server: Running, **wanted: Any) -> dict[str, Any]:
    server.deploy("weather", "w/small", schema=SCHEMA)
    answer = server.http.post("/api/schedules", json={"deployment": "weather", "every": 3600} | wanted)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_schedule_is_added_listed_looked_at_and_removed(either: Running) -> None:
    made = added(either, cron="0 6 * * *", every=None, timezone="Europe/Oslo", parameters={"city": "Oslo"}, jitter=5)
    shapes.Schedule.model_validate(made)
    assert (made["name"], made["kind"], made["parameters"]) == ("weather:added", "time", {"city": "Oslo"})
    added(either, deployment="w/small", name="w/small:b")
    first = either.http.get("/api/schedules", params={"limit": 1}).json()
    rest = either.http.get("/api/schedules", params={"limit": 1, "cursor": first["next"]}).json()
    assert [first["items"][0]["name"], rest["items"][0]["name"], rest["next"]] == ["w/small:b", "weather:added", None]
    one = either.http.get("/api/schedules/w/small:b").json()
    shapes.ScheduleDetails.model_validate(one)
    again = either.http.post("/api/schedules", json={"deployment": "weather", "name": "c", "spec": made["spec"]})
    assert again.json()["when"] == made["when"]
    assert either.http.delete("/api/schedules/w/small:b").status_code == 204
    assert either.http.get("/api/schedules/w/small:b").status_code == 404


def test_a_schedule_starts_runs_and_its_ticks_come_in_pages(either: Running) -> None:
    added(either, every=1)
    wait_for_ticks(either, 3)
    assert either.http.post("/api/schedules/pause/weather:added").json()["paused"] is True
    why = either.http.get("/api/schedules/weather:added").json()["why"]
    assert why[0]["reason"] == "paused"
    page = either.http.get("/api/ticks", params={"schedule": "weather:added", "limit": 2}).json()
    other = either.http.get("/api/ticks", params={"limit": 2, "cursor": page["next"]}).json()
    ticks = [shapes.Tick.model_validate(item) for item in (*page["items"], *other["items"])]
    instants = [tick.scheduled_at for tick in ticks]
    assert instants == sorted(set(instants), reverse=True)
    run = either.http.get(f"/api/runs/{ticks[0].run_id}").json()
    assert (run["created_by"], run["scheduled_at"]) == ("schedule:weather:added", ticks[0].scheduled_at)
    assert either.http.post("/api/schedules/resume/weather:added").json()["paused"] is False
    kinds = [each.event.kind for each in either.store.list_events() if each.event.kind.startswith("audit.schedule")]
    assert kinds == ["audit.schedule_changed", "audit.schedule_paused", "audit.schedule_resumed"]


def wait_for_ticks(server: Running, count: int) -> None:
    seen = 0
    signal = server.serving.served.stored
    while len(server.store.list_ticks()) < count:
        assert seen < 4000
        seen += 1
        server.http.get("/api/ticks")
    assert signal.count > 0


def test_a_preview_and_a_replay_go_where_they_are_told(server: Running) -> None:
    added(server, cron="30 2 * * *", every=None, timezone="Europe/Oslo", catchup="none", paused=True)
    plan = server.http.get(
        "/api/schedules/preview/weather:added", params={"after": "2026-03-28T12:00:00Z", "count": 2}
    ).json()
    assert [shapes.Foreseen.model_validate(item).local for item in plan] == [
        "2026-03-29 03:00:00+02:00",
        "2026-03-30 02:30:00+02:00",
    ]
    since = to_rfc3339(server.store.now() - 3600 * SECOND)
    assert server.http.post("/api/schedules/replay/weather:added", json={"since": since}).status_code == 200
    assert server.http.post("/api/schedules/replay/weather:added", json={}).status_code == 400
    assert server.http.post("/api/schedules/replay/weather:added", json={"from_event": 3}).status_code == 400


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        ({"cron": "nonsense"}, 400),
        ({"cron": "* * * * *", "every": 5}, 400),
        ({}, 400),
        ({"every": 5, "timezone": "Mars/Base"}, 400),
        ({"every": 5, "parameters": {"city": 5}}, 422),
        ({"every": 5, "deployment": "wether"}, 404),
        ({"every": 5, "what": 1}, 422),
        ({"spec": {"type": "Nonsense"}}, 400),
    ],
)
def test_what_makes_no_sense_is_refused(server: Running, wanted: dict[str, Any], status: int) -> None:
    server.deploy("weather", schema=SCHEMA)
    answer = server.http.post("/api/schedules", json={"deployment": "weather"} | wanted)
    assert answer.status_code == status, answer.text
    assert server.http.get("/api/schedules").json()["items"] == []


def test_a_viewer_looks_and_changes_nothing(server: Running) -> None:
    added(server)
    viewer = server.as_user("vera", "viewer")
    assert server.http.get("/api/schedules", headers=viewer).status_code == 200
    for method, path in (
        ("POST", "/api/schedules"),
        ("POST", "/api/schedules/pause/weather:added"),
        ("DELETE", "/api/schedules/weather:added"),
    ):
        body = {"deployment": "weather", "every": 5} if path.endswith("schedules") else None
        assert server.http.request(method, path, headers=viewer, json=body).status_code == 403
