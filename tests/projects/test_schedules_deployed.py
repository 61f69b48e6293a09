"""Schedules on their way from a decorator to the rows of the store."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.projects.folder import FLOW, look, write

from ostinato import Deployment, flow
from ostinato.authoring.manifest import merge, merge_timing, same_timing
from ostinato.authoring.timetable import timetable
from ostinato.errors import DefinitionError
from ostinato.runtime.deploying import deploy
from ostinato.schedules import Every, On
from ostinato.timing import AutomationRow, Schedule, ScheduleFilter, Timing
from ostinato.work import Deployed

if TYPE_CHECKING:
    from pathlib import Path

    from ostinato.io.results import ResultStore
    from ostinato.store.store import Store

TIMED = """
from datetime import date
from ostinato import Deployment, flow
from ostinato.schedules import Cron, Every, On

@flow(schedule=Cron("0 6 * * *", timezone="Europe/Oslo", tags=["b", "a"]), owners=["ada"])
def daily(day: date = date(2026, 1, 1)): ...

@flow(schedule=[Every(hours=1, name="often", parameters={"n": 2}), On("landed", paused=True), Every(hours=2)])
def several(n: int = 1): ...

@flow
def plain(n: int): ...

nightly = Deployment(plain, "nightly", {"n": 3}, schedule=Cron("0 1 * * *", parameters={"n": "4"}))
quiet = Deployment(daily, "quiet")
own = Deployment(several, schedule=Every(hours=5))
"""


def test_flows_and_deployments_have_schedules() -> None:
    hourly = Every(hours=1)

    @flow(schedule=hourly, owners="ada")
    def one(n: int = 1) -> None: ...

    assert one.options.schedule == (hourly,)
    assert one.options.owners == ("ada",)
    assert one.with_options(schedule=[hourly, On("x")]).options.schedule == (hourly, On("x"))
    assert one.with_options(schedule=None).options.schedule == ()
    assert Deployment(one).schedules == (hourly,)
    assert Deployment(one, "variant").schedules == ()
    assert Deployment(one, "variant", schedule=On("x")).schedules == (On("x"),)


@pytest.mark.parametrize(
    ("schedule", "says"),
    [
        ("0 6 * * *", r"Write Cron\('0 6 \* \* \*'\)"),
        ([Every(hours=1), 3], "schedule must be Cron"),
        (
            Every(hours=1, parameters={"cty": "Oslo"}),
            "gives a parameter 'cty', which one does not take.*Did you mean 'city'",
        ),
        ([Every(hours=1, name="a"), On("x", name="a")], "Two schedules are called 'a'"),
    ],
)
def test_schedules_that_make_no_sense_are_refused_where_they_are_given(schedule: Any, says: str) -> None:
    def one(city: str = "Oslo") -> None: ...

    for make in (
        lambda: flow(schedule=schedule)(one),
        lambda: flow(one).with_options(schedule=schedule),
        lambda: Deployment(flow(one), schedule=schedule),
    ):
        with pytest.raises(DefinitionError, match=says):
            make()


def test_scan_finds_schedules_beside_what_they_start(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": TIMED})
    found = look(tmp_path)
    assert found.errors == {}
    rows = {one.name: one for one in found.schedules}
    assert sorted(rows) == ["daily", "plain/nightly", "several"]
    daily = rows["daily"]
    assert (daily.deployment, daily.kind, daily.spec) == (
        "daily",
        "time",
        '{"cron":"0 6 * * *","timezone":"Europe/Oslo"}',
    )
    assert (daily.tags, daily.parameters, daily.paused) == (["a", "b"], "{}", False)
    assert json.loads(rows["plain/nightly"].parameters) == {"n": 4}
    assert rows["several"].spec == '{"every":18000}'  # of the deployment without a name, instead of the flow's
    (deployed,) = (one for one in found.deployed if one.name == "daily")
    assert json.loads(deployed.options)["owners"] == ["ada"]


def test_several_schedules_have_names_and_numbers(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"a.py": TIMED.replace("own = ", "_ = ''; ").replace("; Deployment(several", "; (lambda *a, **k: 0)(several")},
    )
    rows = {one.name: one for one in look(tmp_path).schedules if one.deployment == "several"}
    assert {name: (one.kind, one.paused, one.parameters) for name, one in rows.items()} == {
        "several:often": ("time", False, '{"n":2}'),
        "several:2": ("event", True, "{}"),
        "several:3": ("time", False, "{}"),
    }


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("@flow(schedule=Every(hours=1))\ndef go(city: str): ...", "gives no value for city, and there is no default"),
        ("@flow(schedule=Every(hours=1, parameters={'n': 'x'}))\ndef go(n: int = 1): ...", "n: "),
        ("@flow(schedule=On('flow:go'))\ndef go(): ...", "its own end would start it again"),
        ("@flow(schedule=Every(hours=1) | On('flow:go'))\ndef go(): ...", "its own end would start it again"),
    ],
)
def test_schedules_that_could_start_nothing_are_reported_and_the_flow_stays(
    tmp_path: Path, source: str, says: str
) -> None:
    head = "from ostinato import flow\nfrom ostinato.schedules import Every, On\n\n"
    write(tmp_path, {"a.py": head + source + "\n"})
    found = look(tmp_path)
    assert says in found.errors["a.py"]
    assert [one.name for one in found.deployed] == ["go"]
    assert found.schedules == []


def test_a_bad_schedule_is_an_error_of_its_file_with_the_line(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "a.py": "from ostinato import flow\nfrom ostinato.schedules import Cron\n\n@flow(schedule=Cron('61 * * * *'))\ndef go(): ...\n"
        },
    )
    error = look(tmp_path).errors["a.py"]
    assert "the minute 61 is not in 0 to 59" in error
    assert 'a.py", line 4' in error or "line 4" in error


# --- stored


def names(store: Store) -> dict[str, str]:
    return {one.name: one.spec for one in store.list_schedules(ScheduleFilter(project="weather"))}


def test_deploy_stores_schedules_and_notices_that_only_they_have_changed(
    store: Store, results: ResultStore, root: Path
) -> None:
    write(root, {"a.py": TIMED})
    assert deploy(store, results, root, bundle=False).stored
    assert sorted(names(store)) == ["daily", "plain/nightly", "several"]
    assert not deploy(store, results, root, bundle=False).stored
    write(root, {"a.py": TIMED.replace("0 1 * * *", "0 2 * * *")})
    assert deploy(store, results, root, bundle=False).stored
    assert names(store)["plain/nightly"] == '{"cron":"0 2 * * *"}'
    write(root, {"a.py": FLOW.format(name="daily")})
    deploy(store, results, root, bundle=False)
    assert names(store) == {}


def test_deploy_keeps_the_schedules_of_a_broken_module(store: Store, results: ResultStore, root: Path) -> None:
    write(root, {"a.py": TIMED, "b.py": FLOW.format(name="other")})
    deploy(store, results, root, bundle=False)
    store.pause_schedule("daily", paused=True)
    good = names(store)
    write(root, {"a.py": "import ostinato\nraise ValueError('half a thought')\n"})
    assert deploy(store, results, root, bundle=False).broken
    assert names(store) == good
    assert store.get_schedule("daily").paused
    write(root, {"a.py": TIMED})
    deploy(store, results, root, bundle=False)
    assert names(store) == good


def item(name: str, file: str) -> Deployed:
    return Deployed(name=name, flow=name, project="p", target=f"/{file}:{name}", options=json.dumps({"file": file}))


def test_merging_keeps_schedules_whose_file_is_in_error_and_drops_others() -> None:
    stored = Timing(
        schedules=[Schedule(name=n, deployment=n, spec="{}") for n in ("a", "b", "gone")],
        automations=[AutomationRow(name="alarm", spec="{}")],
    )
    deployed = [item("a", "a.py"), item("b", "b.py")]
    found = Timing(schedules=[Schedule(name="b:new", deployment="b", spec="{}")])
    for errors, kept in (({"a.py": "Traceback"}, ["a", "b:new"]), ({"b.py": "Traceback"}, ["b:new"]), ({}, ["b:new"])):
        merged = merge_timing(stored, found, merge(deployed, deployed, errors), errors)
        assert [one.name for one in merged.schedules] == kept
        assert [one.name for one in merged.automations] == (["alarm"] if errors else [])
        assert not same_timing(stored, merged)
    assert same_timing(stored, Timing(schedules=stored.schedules[::-1], automations=stored.automations))


def test_what_an_event_brings_needs_no_default() -> None:
    @flow(schedule=On("orders.landed"))
    def load(event: dict[str, Any], days: int = 1) -> None: ...

    (row,) = timetable(Deployment(load), "shop")
    assert (row.kind, row.parameters) == ("event", "{}")
