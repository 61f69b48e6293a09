"""Schedules that a project brings over the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.serving import SCHEMA

from ostinato.timing import ScheduleFilter

if TYPE_CHECKING:
    from tests.serving import Running

FLOW = {"name": "weather", "flow": "weather", "target": "/demo/flows.py:weather", "schema": SCHEMA}


def manifest(**schedule: Any) -> dict[str, Any]:
    return {
        "root": "/demo",
        "deployments": [FLOW],
        "schedules": [{"name": "weather", "deployment": "weather", **schedule}],
    }


def test_a_manifest_brings_schedules(either: Running) -> None:
    spec = {"timezone": "Europe/Oslo", "cron": "0 6 * * *", "dst": "once"}
    answer = either.http.put(
        "/api/projects/demo", json=manifest(spec=spec, parameters={"city": "Oslo"}, tags=["b", "a"])
    )
    assert answer.status_code == 200, answer.text
    (stored,) = either.store.list_schedules(ScheduleFilter(project="demo"))
    assert (stored.name, stored.kind, stored.tags) == ("weather", "time", ["a", "b"])
    assert stored.spec == '{"cron":"0 6 * * *","timezone":"Europe/Oslo"}'
    either.http.put("/api/projects/demo", json={"root": "/demo", "deployments": [FLOW]})
    assert either.store.list_schedules(ScheduleFilter(project="demo")) == []


@pytest.mark.parametrize(
    ("schedule", "says"),
    [
        ({"spec": {"cron": "61 * * * *"}}, "the minute 61 is not in 0 to 59"),
        ({"spec": {"cron": "0 6 * * *", "timezone": "Oslo"}}, "Did you mean 'Europe/Oslo'"),
        ({"spec": {"evry": 5}}, "has one of cron, every"),
        ({"spec": {"every": 5}, "deployment": "wether"}, "Did you mean 'weather'"),
    ],
)
def test_a_manifest_with_a_schedule_of_nonsense_is_refused_whole(server: Running, schedule: Any, says: str) -> None:
    answer = server.http.put("/api/projects/demo", json=manifest(**schedule))
    assert answer.status_code in {400, 409, 422}
    assert says in answer.json()["detail"]
    assert server.store.list_projects() == []
