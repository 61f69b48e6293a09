"""Projects, deployments, work pools, queues and workers over the API, and the figures for Prometheus."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.serving import SCHEMA

from ostinato.records import Worker
from ostinato.work import Offer

if TYPE_CHECKING:
    from tests.serving import Running

MANIFEST: dict[str, Any] = {
    "root": "/demo",
    "errors": {"bad.py": "Traceback …\nSyntaxError: <script>"},
    "deployments": [
        {"name": "weather", "flow": "weather", "target": "/demo/flows.py:weather", "schema": SCHEMA},
        {
            "name": "weather/small",
            "flow": "weather",
            "target": "/demo/flows.py:weather",
            "schema": SCHEMA,
            "pool": "gpu",
        },
    ],
}


def test_a_manifest_is_deployed_and_listed(either: Running) -> None:
    answer = either.http.put("/api/projects/demo", json=MANIFEST)
    assert answer.status_code == 200, answer.text
    assert [one["name"] for one in answer.json()] == ["weather", "weather/small"]
    assert either.http.get("/api/projects").json()[0]["errors"] == MANIFEST["errors"]
    first = either.http.get("/api/deployments", params={"limit": 1}).json()
    rest = either.http.get("/api/deployments", params={"limit": 1, "cursor": first["next"]}).json()
    assert [first["items"][0]["name"], rest["items"][0]["name"], rest["next"]] == ["weather", "weather/small", None]
    one = either.http.get("/api/deployments/weather/small").json()
    assert (one["pool"], one["schema"]) == ("gpu", SCHEMA)


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"$ref": "http://127.0.0.1:1/x.json"}}},
        {"properties": {"a": {"$ref": "file:///etc/passwd"}}},
        {"properties": {"a": {"type": "nonsense"}}},
        {"properties": {"a": {"pattern": "("}}},
        {"properties": ["a"]},
        {"required": 3},
    ],
)
def test_a_schema_that_cannot_be_used_is_refused(server: Running, schema: object) -> None:
    flow = {"name": "w", "flow": "w", "target": "t", "schema": schema}
    answer = server.http.put("/api/projects/demo", json={"root": "/", "deployments": [flow]})
    assert answer.status_code == 400
    assert "w's parameters" in answer.json()["detail"]
    assert server.store.list_projects() == []


def test_a_paused_deployment_keeps_its_runs_until_it_is_resumed(either: Running) -> None:
    either.http.put("/api/projects/demo", json=MANIFEST)
    run = either.start("weather/small")
    assert either.http.post("/api/deployments/pause/weather/small").json()["paused"] is True
    ticket = either.store.find_ticket(run["id"])
    assert ticket is not None
    assert ticket.paused
    assert either.http.post("/api/deployments/resume/weather/small").json()["paused"] is False


def test_a_project_is_removed_and_its_runs_stay(either: Running) -> None:
    either.http.put("/api/projects/demo", json=MANIFEST)
    run = either.start()
    assert either.http.delete("/api/projects/demo").status_code == 204
    assert either.http.get("/api/deployments").json()["items"] == []
    assert either.http.get(f"/api/runs/{run['id']}").status_code == 200


def test_pools_and_queues_are_declared_and_tell_what_waits(either: Running) -> None:
    either.http.put("/api/projects/demo", json=MANIFEST)
    either.start("weather/small")
    assert either.http.put("/api/pools/gpu", json={"slots": 2, "description": "the good ones"}).status_code == 204
    assert either.http.put("/api/pools/gpu/queues/fast", json={"priority": 10}).status_code == 204
    pool = next(pool for pool in either.http.get("/api/pools").json() if pool["name"] == "gpu")
    assert (pool["slots"], pool["waiting"], pool["workers"]) == (2, 1, 0)
    queues = either.http.get("/api/pools/gpu/queues").json()
    assert [(queue["name"], queue["priority"], queue["waiting"]) for queue in queues] == [
        ("default", 0, 1),
        ("fast", 10, 0),
    ]
    assert either.http.delete("/api/pools/gpu").status_code == 400
    assert either.http.put("/api/pools/gpu/queues/fast", json={"priority": 1000}).status_code == 422


def register(server: Running) -> None:
    now = server.store.now()
    server.store.register(
        Worker(
            id="w1", kind="worker", host="box/1/2", pid=7, pid_started="", version="1", started_at=now, expires_at=now,
            pools=["gpu"], slots=4, resources='{"cpu": 8}',
        )
    )  # fmt: skip


def test_workers_are_listed_and_drained(either: Running) -> None:
    register(either)
    worker = either.http.get("/api/workers").json()[0]
    assert (worker["host"], worker["slots"], worker["runs"], worker["resources"]) == ("box", 4, 0, {"cpu": 8.0})
    assert either.http.post("/api/workers/w1/drain").status_code == 204
    assert either.http.get("/api/workers").json()[0]["draining"] is True


def test_metrics_can_be_read_by_prometheus(either: Running) -> None:
    either.http.put("/api/projects/demo", json=MANIFEST)
    either.start("weather/small")
    register(either)
    either.http.get("/api/runs/unknown")
    body = msgspec.msgpack.encode(["w1", Offer(pools=["gpu"], slots=1), 0.0])
    assert either.http.post("/api/store/claim", content=body).status_code == 200
    either.start("weather/small")
    text = either.http.get("/metrics").text
    found = {
        (sample.name, json.dumps(sample.labels, sort_keys=True)): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["ostinato_runs_waiting", '{"pool": "gpu", "queue": "default"}'] == 1
    assert found["ostinato_claims_total", "{}"] == 1
    assert found["ostinato_runs_held", '{"pool": "gpu"}'] == 1
    assert found["ostinato_workers", '{"kind": "worker"}'] == 1
    assert found["ostinato_worker_slots", "{}"] == 4
    assert found["ostinato_requests_total", '{"method": "GET", "route": "/api/runs/{run_id}", "status": "404"}'] == 1
    assert any(name == "ostinato_loop_seconds_count" for name, _ in found)


def test_metrics_do_not_grow_with_what_callers_make_up(server: Running) -> None:
    for n in range(20):
        server.http.get(f"/made/up/{n}")
        server.http.get(f"/api/runs/{n}")
    text = server.http.get("/metrics").text
    assert "made" not in text
    assert "/api/runs/7" not in text


def test_the_server_says_what_it_is_and_whether_it_can_work(either: Running) -> None:
    info = either.http.get("/api/info").json()
    assert info["dialect"] in ("sqlite", "postgresql", "postgres")
    assert (info["open"], info["you"], info["role"], info["protocol"]) == (True, "local", "admin", 1)
    assert either.http.get("/api/health").json() == either.http.get("/api/ready").json() == {"status": "ok"}
