"""`ostinato sensors …`, on a database and through a server; and the routes under ``/api/sensors``."""

from __future__ import annotations

import json

import pytest
from tests.serving import running

from ostinato.settings import Settings
from ostinato.store.open import open_store
from ostinato.timing import Schedule, Timing
from ostinato.work import Deployed, Project

MODULE = """
from ostinato import Skip, flow
from ostinato.sensors import RunRequest, sensor

@flow
def load(n: int) -> None: ...

@sensor(every=5, cursor=1)
def counts(context):
    if context.cursor > 90:
        return Skip("there are no more")
    context.cursor += 1
    return RunRequest(load, parameters={"n": context.cursor}, key=f"n{context.cursor}")

@sensor
def breaks():
    raise ValueError("no share")
"""


@pytest.fixture
def stored(cli):
    store = open_store(f"sqlite:///{cli.folder}/home/ostinato.db", durability="crash-safe")
    options = json.dumps({"timeout": 60, "every": 5})
    deployed = Deployed(
        name="counts", flow="counts", project="demo", target="/demo/w.py:counts", kind="sensor", options=options,
        description="Look for numbers.",
    )  # fmt: skip
    flow = Deployed(name="load", flow="load", project="demo", target="/demo/w.py:load")
    row = Schedule(name="counts", deployment="counts", kind="sensor", spec='{"every": 5}', cursor="1")
    store.put_project(Project(name="demo", root="/demo", host="box"), [deployed, flow], Timing(schedules=[row]))
    yield store
    store.close()


def test_a_sensor_is_looked_at_here_and_nothing_is_started(cli):
    (cli.folder / "numbers_here.py").write_text(MODULE)
    made = json.loads(cli("sensors", "test", "numbers_here.py:counts", "--json").out)
    assert made == {
        "sensor": "counts",
        "requests": [{"start": "load", "parameters": {"n": 2}, "key": "n2", "tags": [], "partition": None}],
        "skip": None,
        "cursor": 2,
    }
    shown = cli("sensors", "test", "numbers_here.py:counts", "--cursor", "99").out
    assert "counts requests nothing: there are no more" in shown
    assert "Nothing was started" in shown
    broken = cli("sensors", "test", "numbers_here.py:breaks")
    assert (broken.code, broken.out) == (1, "")
    assert "ValueError: no share" in broken.err
    assert "ostinato/" not in broken.err
    assert "no sensor 'count'" in cli("sensors", "test", "numbers_here.py:count").err


def test_sensors_are_listed_paused_resumed_and_reset(cli, stored):
    assert "counts" in cli("sensors", "list").out
    (found,) = json.loads(cli("sensors", "list", "--json").out)
    assert (found["name"], found["cursor"], found["every"], found["paused"]) == ("counts", 1, 5, False)
    assert "counts is paused" in cli("sensors", "pause", "counts").out
    assert stored.get_schedule("counts").paused
    assert "is looked at again" in cli("sensors", "resume", "counts").out
    cli("sensors", "reset", "counts", "--cursor", '{"at": 5}')
    assert stored.get_schedule("counts").cursor == '{"at":5}'
    assert "none" in cli("sensors", "reset", "counts").out
    assert stored.get_schedule("counts").cursor is None
    assert "Look for numbers." in cli("sensors", "show", "counts").out
    assert "has not been looked at" in cli("sensors", "ticks", "counts").out
    assert "Did you mean 'counts'" in cli("sensors", "show", "count").err


def test_a_sensor_is_not_started_like_a_flow(cli, stored):
    assert "counts is a sensor" in cli("start", "counts").err


def test_the_api_tells_of_sensors_and_sets_their_cursor(tmp_path):
    settings = Settings(home=str(tmp_path / "home"), durability="crash-safe")
    with running(settings) as server:
        deployed = Deployed(name="s", flow="s", project="demo", target="/d/w.py:s", kind="sensor", pool="nobody")
        rows = [Schedule(name="s", deployment="s", kind="sensor", spec='{"every": 3600}', paused=True)]
        server.store.put_project(Project(name="demo", root="/d", host="b"), [deployed], Timing(schedules=rows))
        (item,) = server.http.get("/api/sensors").json()["items"]
        assert (item["name"], item["paused"], item["cursor"]) == ("s", True, None)
        assert server.http.post("/api/sensors/s/reset", json={"cursor": [1]}).json()["cursor"] == [1]
        assert server.http.get("/api/sensors/s").json()["cursor"] == [1]
        assert server.http.post("/api/sensors/s/resume").json()["paused"] is False
        assert server.http.post("/api/sensors/s/pause").json()["paused"] is True
        assert server.http.get("/api/sensors/t").status_code == 404
        viewer = server.as_user("eve", "viewer")
        assert server.http.get("/api/sensors", headers=viewer).status_code == 200
        assert server.http.post("/api/sensors/s/reset", json={}, headers=viewer).status_code == 403
        kinds = [found.event.kind for found in server.store.list_events()]
        assert {"audit.sensor_reset", "audit.sensor_paused", "audit.sensor_resumed"} <= set(kinds)
