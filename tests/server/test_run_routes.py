"""Runs over the API: started, listed, looked at, stopped, on both databases."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from tests.serving import carried_out

from ostinato.work import Queue

if TYPE_CHECKING:
    import pytest
    from tests.serving import Running


def pages(server: Running, path: str, **params: Any) -> list[list[Any]]:
    """Read all pages."""
    found, cursor = [], None
    while True:
        page = server.http.get(path, params={**params, **({"cursor": cursor} if cursor else {})}).json()
        found.append(page["items"])
        cursor = page["next"]
        if cursor is None:
            return found


def test_a_start_makes_a_run_in_the_deployments_pool(either: Running) -> None:
    either.deploy("weather", pool="gpu", queue="fast", priority=7)
    run = either.start(tags=["mine"])
    assert (run["state"], run["pool"], run["queue"], run["priority"]) == ("queued", "gpu", "fast", 7)
    assert run["parameters"] == {"cities": ["Oslo"]}
    assert run["tags"] == ["weather", "mine"]
    assert run["created_by"] == "local"
    ticket = either.store.find_ticket(run["id"])
    assert ticket is not None
    assert ticket.pool == "gpu"


def test_a_queue_that_nobody_has_declared_is_refused_with_the_nearest_and_how_to_declare_it(either: Running) -> None:
    either.deploy("weather", pool="gpu")
    either.deploy("weather", "tides", pool="gpu", queue="coded")
    either.store.put_queue(Queue(pool="gpu", name="nightly"))
    either.store.put_queue(Queue(pool="default", name="mine"))
    for name in ("nightly", "coded", "default"):
        assert either.start(queue=name)["queue"] == name
    runs = len(either.http.get("/api/runs").json()["items"])
    for name, more, told in (
        ("nightli", {}, "Work pool gpu has no queue 'nightli'. Did you mean 'nightly'? Declare it: ostinato pools create gpu nightli"),
        ("nightly", {"pool": "default"}, "Work pool default has no queue 'nightly'."),
        ("mine", {}, "Work pool gpu has no queue 'mine'."),
    ):  # fmt: skip
        order = {"deployment": "weather", "parameters": {"cities": []}, "queue": name, **more}
        answer = either.http.post("/api/runs", json=order)
        assert answer.status_code == 422
        problem = answer.json()
        assert problem["detail"].startswith(told)
        assert problem["type"] == "urn:ostinato:ParameterError"
        assert f"has no queue {name!r}" in problem["fields"]["queue"]
    assert len(either.http.get("/api/runs").json()["items"]) == runs


def test_a_start_with_a_key_is_made_once(either: Running) -> None:
    either.deploy("weather")
    order = {"deployment": "weather", "parameters": {"cities": []}, "key": "monday"}
    first = either.http.post("/api/runs", json=order)
    second = either.http.post("/api/runs", json=order)
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["id"] == second.json()["id"]


def test_a_key_that_many_use_at_once_makes_one_run(either: Running) -> None:
    either.deploy("weather")
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: either.start(key="same")["id"], range(16)))
    assert len(set(found)) == 1


def test_a_later_start_is_scheduled_and_has_no_ticket(either: Running) -> None:
    either.deploy("weather")
    run = either.start(start_at="2099-01-01T00:00:00+01:00")
    assert run["state"] == "scheduled"
    assert run["scheduled_at"] == "2098-12-31T23:00:00.000000Z"
    assert either.store.find_ticket(run["id"]) is None
    waits = either.http.get(f"/api/runs/{run['id']}/waits").json()
    assert [wait["kind"] for wait in waits] == ["start"]


def test_wrong_parameters_are_refused_field_by_field_before_a_run_exists(server: Running) -> None:
    server.deploy("weather")
    wrong = {"days": 0, "place": {"x": "far"}, "citys": ["Oslo"]}
    answer = server.http.post("/api/runs", json={"deployment": "weather", "parameters": wrong})
    assert answer.status_code == 422
    problem = answer.json()
    assert problem["type"] == "urn:ostinato:ParameterError"
    assert "bigger than or equal to 1" in problem["fields"]["days"]
    assert "Did you mean 'cities'?" in problem["fields"]["citys"]
    assert problem["fields"]["cities"] == "is missing"
    assert "place" in problem["fields"]
    assert server.http.get("/api/runs").json()["items"] == []


def test_a_deployments_own_parameters_hold_unless_a_start_says_otherwise(server: Running) -> None:
    server.deploy("weather", parameters='{"cities": ["Lima"], "days": 3}')
    answer = server.http.post("/api/runs", json={"deployment": "weather", "parameters": {"days": 4}})
    assert answer.json()["parameters"] == {"cities": ["Lima"], "days": 4}


def test_a_time_without_a_zone_is_refused(server: Running) -> None:
    server.deploy("weather")
    body = {"deployment": "weather", "parameters": {"cities": []}, "start_at": "2099-01-01T00:00:00"}
    answer = server.http.post("/api/runs", json=body)
    assert "start_at" in answer.json()["fields"]


def test_runs_are_listed_newest_first_page_by_page(either: Running) -> None:
    either.deploy("weather", "news")
    ids = [either.start("news" if n % 2 else "weather")["id"] for n in range(7)]
    found = pages(either, "/api/runs", limit=3)
    assert [len(page) for page in found] == [3, 3, 1]
    assert sorted(run["id"] for page in found for run in page) == sorted(ids)
    assert [run["id"] for page in found for run in page] == sorted(ids, reverse=True)
    assert {run["flow"] for page in pages(either, "/api/runs", flow="news", limit=2) for run in page} == {"news"}


def test_runs_are_found_by_what_they_are(either: Running) -> None:
    either.deploy("weather")
    mine = either.start(tags=["mine"])
    other = either.start()
    either.http.post(f"/api/runs/{other['id']}/cancel")

    def found(**params: Any) -> list[str]:
        return [run["id"] for run in either.http.get("/api/runs", params=params).json()["items"]]

    assert found(tag="mine") == [mine["id"]]
    assert found(state="cancelled") == [other["id"]]
    assert set(found(state=["cancelled", "queued"])) == {mine["id"], other["id"]}
    assert found(deployment="weather", pool="default", state="queued") == [mine["id"]]
    assert found(deployment="news") == found(pool="gpu") == found(parent=mine["id"]) == []
    assert found(created_since="2099-01-01T00:00:00Z") == []
    assert len(found(created_since="2020-01-01T00:00:00Z", top_level=True)) == 2


def test_a_run_is_told_with_its_task_runs_attempts_logs_and_events(either: Running) -> None:
    either.deploy("weather")
    run_id = either.start()["id"]
    carried_out(either, run_id)
    run = either.http.get(f"/api/runs/{run_id}").json()
    assert (run["state"], run["counts"]) == ("succeeded", {"succeeded": 3})
    found = pages(either, f"/api/runs/{run_id}/task-runs", limit=2)
    assert [[row["seq"] for row in page] for page in found] == [[0, 1], [2]]
    assert found[0][1]["upstream"] == [found[0][0]["id"]]
    assert found[1][0]["upstream_seqs"] == "0-1"
    attempts = either.http.get(f"/api/runs/{run_id}/task-runs/0/attempts").json()
    assert [attempt["state"] for attempt in attempts] == ["failed"]
    lines = either.http.get(f"/api/runs/{run_id}/logs", params={"level": 30}).json()["items"]
    assert [line["message"] for line in lines] == ["bad"] * 3
    text = either.http.get(f"/api/runs/{run_id}/logs", params={"text": True})
    assert text.headers["content-type"].startswith("text/plain")
    assert text.text.count("flows.fetch  fetched <b>Oslo</b>\n") == 3
    events = [event for page in pages(either, f"/api/runs/{run_id}/events", limit=1) for event in page]
    assert {"run.started", "run.claimed", "audit.run_started"} <= {event["kind"] for event in events}


def test_logs_are_read_on_where_the_page_before_ended(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ostinato.server.routes.runs._BATCHES", 2)
    server.deploy("weather")
    run_id = server.start()["id"]
    carried_out(server, run_id)
    assert [len(page) for page in pages(server, f"/api/runs/{run_id}/logs")] == [4, 2]
    text = server.http.get(f"/api/runs/{run_id}/logs", params={"text": True})
    rest = server.http.get(f"/api/runs/{run_id}/logs", params={"text": True, "cursor": text.headers["ostinato-next"]})
    assert (text.text.count("\n"), rest.text.count("\n")) == (4, 2)


def test_a_queued_run_is_cancelled_at_once(either: Running) -> None:
    either.deploy("weather")
    run = either.start()
    answer = either.http.post(f"/api/runs/{run['id']}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert either.store.find_ticket(run["id"]) is None


def test_many_who_cancel_at_once_end_a_run_once(either: Running) -> None:
    either.deploy("weather")
    run = either.start()
    gate = threading.Barrier(8)

    def cancel(_: int) -> int:
        gate.wait()
        return either.http.post(f"/api/runs/{run['id']}/cancel").status_code

    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(cancel, range(8)))
    assert statuses.count(200) == 1
    assert statuses.count(409) == 7
    kinds = [stored.event.kind for stored in either.store.list_events(run["id"])]
    assert kinds.count("run.cancelled") == 1


def test_a_run_that_failed_is_queued_again_by_retry(server: Running) -> None:
    server.deploy("weather")
    run_id = server.start()["id"]
    carried_out(server, run_id)
    answer = server.http.post(f"/api/runs/{run_id}/retry")
    assert answer.status_code == 409
    assert "nothing to retry" in answer.json()["detail"]
    again = server.http.post(f"/api/runs/{run_id}/rerun", json={"task": "fetch"})
    assert (again.status_code, again.json()["state"]) == (200, "queued")
    assert server.store.find_ticket(run_id) is not None


def test_a_run_that_is_held_cannot_be_run_again(server: Running) -> None:
    server.deploy("weather")
    run_id = server.start()["id"]
    carried_out(server, run_id, end=False)
    answer = server.http.post(f"/api/runs/{run_id}/rerun", json={"task": "fetch"})
    assert answer.status_code == 409


def test_a_task_run_is_marked_by_hand(server: Running) -> None:
    server.deploy("weather")
    run_id = server.start()["id"]
    carried_out(server, run_id)
    answer = server.http.post(f"/api/runs/{run_id}/task-runs/1/mark", json={"state": "succeeded", "value": {"rows": 0}})
    assert answer.status_code == 200, answer.text
    assert server.http.post(f"/api/runs/{run_id}/task-runs/1/mark", json={"state": "done"}).status_code == 400
    rows = server.http.get(f"/api/runs/{run_id}/task-runs").json()["items"]
    assert rows[1]["reason"] == "marked"


def test_a_queued_run_says_why(server: Running) -> None:
    server.deploy("weather")
    run_id = server.start()["id"]
    server.http.post("/api/deployments/pause/weather")
    why = server.http.get(f"/api/runs/{run_id}/why").json()
    assert why["state"] == "queued"
    assert any("paused" in sentence for sentence in why["because"])


def test_long_values_are_left_out_of_lists(server: Running) -> None:
    server.deploy("weather")
    run = server.start(parameters={"cities": ["x" * 10_000]})
    listed = server.http.get("/api/runs").json()["items"][0]
    assert listed["parameters"].endswith("bytes>")
    assert len(server.http.get(f"/api/runs/{run['id']}").json()["parameters"]["cities"][0]) == 10_000
