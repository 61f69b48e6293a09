"""`ostinato simulate`: of what is deployed, and of a project that is not; as a table, as JSON, as a chart."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

PIPE = """
from ostinato import flow
from ostinato.limits import Limit
from ostinato.schedules import Cron, On

@flow(schedule=Cron("*/10 * * * *"), limits=Limit("db", 1))
def load(): ...

@flow(schedule=Cron("0 * * * *"), limits=Limit("db", 1))
def report(): ...

@flow(schedule=On(load))
def after(): ...

@flow(schedule=Cron("0 0 * * *", paused=True))
def asleep(): ...
"""
SPAN = ("--from", "2026-01-05T00:00+00:00", "--to", "2026-01-06T00:00+00:00", "--workers", "1", "--slots", "2")


@pytest.fixture
def project(cli):
    cli.write("pipe/flows.py", PIPE)
    return cli


def test_a_project_is_simulated_before_it_is_deployed(project):
    said = project(
        "simulate", "pipe", *SPAN, "--duration", "report=35m", "--chart", "terminal", COLUMNS="100", TZ="UTC"
    )
    assert said.code == 0, said.err
    assert "2026-01-05 00:00 to 2026-01-06 00:00 on 1 worker with 2 slots" in said.out
    assert "limit db" in said.out
    assert "slots in use 2 " in " ".join(said.out.split())
    assert "┤" in said.out
    assert "Paused, so nothing comes of them: asleep." in said.out
    assert "60 s each are assumed: after, asleep, load. (--duration after=10m says it.)" in said.out
    assert not (project.folder / "home" / "ostinato.db").exists()


def test_json_has_everything(project):
    found = project("simulate", "pipe", *SPAN, "--duration", "load=2m", "--json").data
    by_name = {each["deployment"]: each for each in found["deployments"]}
    assert (by_name["load"]["runs"], by_name["report"]["runs"], by_name["asleep"]["runs"]) == (144, 24, 0)
    assert by_name["load"]["first_at"] == "2026-01-05T00:00:00.000000Z"
    assert by_name["load"]["seconds"] == 120
    assert len(found["played"]) == found["runs"] == 144 + 24 + by_name["after"]["runs"]
    assert found["stretches"][0]["at"] == "2026-01-05T00:00:00.000000Z"
    assert [each["name"] for each in found["bindings"]] == ["limit db"]
    assert found["bindings"][0]["waited"] > 0
    again = project("simulate", "pipe", *SPAN, "--duration", "load=2m", "--json").data
    assert {**again, "took": 0} == {**found, "took": 0}


def test_what_is_deployed_is_simulated_with_its_past(project):
    assert project("deploy", "pipe").code == 0
    said = project("simulate", *SPAN, "--duration", "load=9m", "--limit", "db=99", "--pool", "default=1", "--json")
    found = said.data
    assert {each["deployment"] for each in found["deployments"]} == {"load", "report", "after", "asleep"}
    assert "pool default" in [each["name"] for each in found["bindings"]]
    assert "limit db" not in [each["name"] for each in found["bindings"]]
    assert project("runs", "list", "--json").data == []


def test_a_chart_is_drawn_in_a_file(project):
    said = project("simulate", "pipe", *SPAN, "--duration", "report=35m", "--chart", "load.svg")
    assert said.code == 0, said.err
    root = ET.parse(project.folder / "load.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "slots in use, of 2" in texts
    assert any("runs on 1 worker with 2 slots" in (text or "") for text in texts)
    assert len(list(root.iter("{http://www.w3.org/2000/svg}path"))) == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--to", "2020-01-01"], "--to is not after --from"),
        (["--duration", "laod=1m"], "There is no flow or deployment 'laod'. Did you mean 'load'"),
        (["--duration", "load"], "--duration 'load' is not NAME=VALUE"),
        (["--pool", "gpu=2"], "There is no work pool 'gpu'"),
        (["--limit", "db=none"], "--limit takes a number of slots, 1 or more, not 'none'"),
        (["--chart", "load.png"], "--chart is `terminal` or a file that ends in .svg, not 'load.png'"),
        (["--workers", "0"], "--workers and --slots are 1 or more, not 0"),
    ],
)
def test_what_makes_no_sense_is_refused(project, given, message):
    said = project("simulate", "pipe", *given)
    assert said.code == 1
    assert message in said.err


def test_a_project_with_nothing_scheduled_says_so(cli):
    cli.write("bare/flows.py", "from ostinato import flow\n@flow\ndef one(): ...\n")
    said = cli("simulate", "bare")
    assert said.code == 0
    assert "Nothing is scheduled: give a flow schedule=Cron(...)" in said.out
