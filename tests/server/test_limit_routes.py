"""Limits over the API: who holds, who waits, and what is declared by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.store.builders import a_run, new_run

from ostinato.limits import Entrance, Limit, to_json

if TYPE_CHECKING:
    from tests.serving import Running

DB = Limit("db", 1, key="tenant")


def test_limits_are_listed_and_shown(either: Running) -> None:
    run = a_run(either.store)
    passing = DB.passing({"tenant": "a/b"})
    either.store.enter(run.id, run.epoch, [Entrance(seq, [passing]) for seq in (1, 2)])
    (row,) = either.http.get("/api/limits").json()
    assert (row["gate"], row["limit"], row["slots"], row["held"], row["waiting"]) == ("db[a/b]", "db", 1, 1, 1)
    shown = either.http.get("/api/limits/db").json()
    (gate,) = shown["gates"]
    assert [(one["run_id"], one["flow"], one["seq"]) for one in gate["holders"]] == [(run.id, "f", 1)]
    assert [one["seq"] for one in gate["line"]] == [2]
    assert either.http.get("/api/limits/db[a/b]").json()["gates"][0]["gate"] == "db[a/b]"
    assert either.http.get("/api/limits/bd").status_code == 404


def test_a_limit_declared_by_hand_lets_runs_in(either: Running) -> None:
    passing = Limit("api", 1).passing({})
    runs = [either.store.create(new_run(either.store, pool="p", gates=to_json([passing]))) for _ in range(3)]
    assert len(either.store.list_tickets()) == 1
    assert either.http.put("/api/limits/api", json={"slots": 3}).status_code == 204
    assert {ticket.run_id for ticket in either.store.list_tickets()} == {run.id for run in runs}
    assert either.http.get("/api/limits/api").json()["by_hand"]["slots"] == 3
    assert either.http.delete("/api/limits/api").status_code == 204
    assert either.http.delete("/api/limits/api").status_code == 404


def test_a_limit_that_makes_no_sense_is_refused(server: Running) -> None:
    assert server.http.put("/api/limits/api", json={"rate": "fast"}).status_code in (400, 422)
    assert server.http.put("/api/limits/api", json={}).status_code in (400, 422)
    assert server.http.put("/api/limits/api", json={"slots": -1}).status_code == 422
    assert server.http.put("/api/limits/api", json={"weights": {"x": 0}, "slots": 1}).status_code in (400, 422)
