"""`ostinato schedules …`, against a database and through a server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.serving import running
from tests.store.builders import a_deployed, a_project, new_run

from ostinato.clock import SECOND
from ostinato.schedules import Cron, Every, to_spec
from ostinato.settings import Settings
from ostinato.store.open import open_store
from ostinato.timing import Decision, Schedule, Tick, Timing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.conftest import Shell

    from ostinato.store.store import Store

SCHEMA = json.dumps({"type": "object", "properties": {"city": {"type": "string"}}})


@pytest.fixture
def stored(cli: Shell) -> Iterator[Store]:
    store = open_store(f"sqlite:///{cli.folder}/home/ostinato.db", durability="crash-safe")
    declared = [
        Schedule(name="f", deployment="f", spec=to_spec(Cron("30 2 * * *", timezone="Europe/Oslo")), tags=["t"]),
        Schedule(name="f:often", deployment="f", spec=to_spec(Every(minutes=5)), parameters='{"city": "Oslo"}'),
        Schedule(name="watch", deployment="f", kind="sensor", spec='{"every": 30}'),
    ]
    store.put_project(a_project(), [a_deployed("f", schema=SCHEMA)], Timing(schedules=declared))
    yield store
    store.close()


def test_schedules_are_listed_and_shown_with_what_comes_next(cli: Shell, stored: Store):
    listed = cli("schedules", "list").out
    assert "f:often" in listed
    assert "watch" not in listed  # a sensor has commands of its own
    assert [row["name"] for row in cli("schedules", "list", "--json").data] == ["f", "f:often"]
    shown = cli("schedules", "show", "f", "--json").data
    assert (shown["deployment"], shown["kind"], shown["project"], shown["why"]) == ("f", "time", "p", [])
    assert len(shown["preview"]) == 3
    assert "02:30" in cli("schedules", "show", "f").out
    assert "Did you mean 'f:often'" in cli("schedules", "show", "f:ofen").err


def test_a_preview_marks_what_the_clocks_do_to_it(cli: Shell, stored: Store):
    spring = cli("schedules", "preview", "f", "--from", "2026-03-28T00:00+01:00", "-n", "3", "--json").data
    assert [item["local"] for item in spring] == [
        "2026-03-28 02:30:00+01:00",
        "2026-03-29 03:00:00+02:00",
        "2026-03-30 02:30:00+02:00",
    ]
    assert "do not exist on this day" in spring[1]["note"]
    assert "from 02:00 up to 03:00" in spring[1]["note"]
    assert spring[0]["note"] is None
    autumn = cli("schedules", "preview", "f", "--from", "2026-10-24T12:00+02:00", "-n", "2", "--json").data
    assert [item["local"] for item in autumn] == ["2026-10-25 02:30:00+02:00", "2026-10-26 02:30:00+01:00"]
    assert "comes twice" in autumn[0]["note"]
    assert "comes twice" in cli("schedules", "preview", "f", "--from", "2026-10-24", "-n", "3").out


def test_a_flow_that_is_not_deployed_can_be_previewed(cli: Shell):
    cli.write("later.py", """
        from ostinato import flow
        from ostinato.schedules import Cron

        @flow(schedule=Cron("0 6 * * *"))
        def morning() -> int:
            return 1
    """)  # fmt: skip
    found = cli("schedules", "preview", "later.py:morning", "--from", "2026-01-01", "-n", "2", "--json")
    assert found.code == 0, found.err
    assert [item["scheduled_at"][:16] for item in found.data] == ["2026-01-01T06:00", "2026-01-02T06:00"]
    assert "no schedule" in cli("schedules", "preview", "shop.py:shop").err


def test_one_that_is_paused_says_so_by_whom_and_since_when(cli: Shell, stored: Store):
    assert "is paused" in cli("schedules", "pause", "f").out
    why = cli("schedules", "show", "f", "--json").data["why"]
    assert [each["reason"] for each in why] == ["paused"]
    assert why[0]["data"]["by"] == "local"
    assert why[0]["data"]["at"] is not None
    assert "ostinato schedules resume f" in cli("schedules", "show", "f").out
    assert "goes on, next at" in cli("schedules", "resume", "f").out
    assert cli("schedules", "show", "f", "--json").data["paused"] is False


def test_why_nothing_starts_is_told_from_what_is_on_record(cli: Shell, stored: Store):
    now, row = stored.now(), stored.get_schedule("f")
    run = new_run(stored, pool="default", deployment="f")
    missed = json.dumps({"count": 7, "first": now - 9 * SECOND, "last": now - 2 * SECOND, "more": False})
    ticks = [
        Tick(schedule="f", key="1", outcome="started", run_id=run.id),
        Tick(schedule="f", key="2", outcome="skipped", reason="missed", data=missed),
        Tick(schedule="f", key="3", outcome="skipped", reason="overlap"),
    ]
    stored.decide(
        [
            Decision(
                schedule="f",
                turn=row.turn,
                ticks=ticks,
                runs=[run],
                since=now,
                next_at=now - 60 * SECOND,
                trouble="The parameters are refused.",
            )
        ]
    )
    stored.pause_deployed("f", paused=True)
    reasons = {each["reason"]: each["text"] for each in cli("schedules", "show", "f", "--json").data["why"]}
    assert set(reasons) == {"deployment_paused", "trouble", "overdue", "missed", "overlap", "waiting"}
    assert "7 of its times" in reasons["missed"]
    assert f"ostinato runs why {run.id}" in reasons["waiting"]
    said = cli("schedules", "ticks", "f")
    assert "skipped (overlap)" in said.out
    assert [tick["key"] for tick in cli("schedules", "ticks", "f", "--json").data] == ["3", "2", "1"]
    assert "has not ticked" in cli("schedules", "ticks", "f:often").out


def test_one_is_added_by_hand_replayed_and_removed(cli: Shell, stored: Store):
    made = cli(
        "schedules", "add", "f", "--cron", "0 6 * * 1-5", "--timezone", "Europe/Oslo", "--jitter", "30s",
        "--catchup", "all", "-p", "city=Bergen", "--tag", "x", "--json",
    )  # fmt: skip
    assert made.code == 0, made.err
    assert (made.data["name"], made.data["project"], made.data["parameters"]) == ("f:added", None, {"city": "Bergen"})
    assert cli("schedules", "add", "f", "--every", "15min", "--json").data["name"] == "f:added-2"
    row = stored.get_schedule("f:added")
    assert (row.tags, row.kind) == (["x"], "time")
    assert "decides again" in cli("schedules", "replay", "f:added", "--since", "2026-01-01").out
    assert json.loads(stored.get_schedule("f:added").state)["generation"] == 1
    assert cli("schedules", "remove", "f:added", "--json").data == {"name": "f:added"}
    assert "project 'p' declares" in cli("schedules", "remove", "f").err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("add", "f"), "Say in one way when"),
        (("add", "f", "--cron", "* * * * *", "--every", "5min"), "cron and every"),
        (("add", "f", "--cron", "61 * * * *"), "61"),
        (("add", "f", "--cron", "0 0 30 2 *"), "never"),
        (("add", "f", "--cron", "0 6 * * *", "--timezone", "Europe/Osl"), "Europe/Oslo"),
        (("add", "g", "--cron", "0 6 * * *"), "no deployment 'g'"),
        (("add", "f", "--every", "5min", "-p", "city=5"), "must be string"),
        (("replay", "f"), "Say from where"),
        (("replay", "f", "--from-event", "3"), "driven by time"),
        (("replay", "f", "--since", "2999-01-01"), "not past"),
        (("preview", "watch"), "is a sensor"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_to_do(
    cli: Shell, stored: Store, arguments: tuple[str, ...], said: str
):
    found = cli("schedules", *arguments)
    assert found.code == 1
    assert said in found.err


def test_all_of_it_works_through_a_server(cli: Shell, tmp_path: Any):
    with running(Settings(home=str(tmp_path / "home2"), durability="crash-safe")) as server:
        server.deploy("weather", schema=SCHEMA)
        api = {"OSTINATO_API": server.url}
        assert cli("schedules", "add", "weather", "--every", "1h", **api).code == 0
        assert cli("schedules", "pause", "weather:added", **api).code == 0
        why = cli("schedules", "show", "weather:added", "--json", **api).data["why"]
        assert [each["reason"] for each in why] == ["paused"]
        assert len(cli("schedules", "preview", "weather:added", "--json", **api).data) == 10
        assert cli("schedules", "resume", "weather:added", **api).code == 0
        assert cli("schedules", "ticks", "weather:added", **api).code == 0
        assert cli("schedules", "list", "--json", **api).data[0]["name"] == "weather:added"
