"""Automations over the API and the command line, at a real server with its loops."""

from __future__ import annotations

import json
import time

import pytest
from tests.automations.listening import listening
from tests.postgres import postgres_server, postgres_template, postgres_url  # noqa: F401
from tests.serving import running

from ostinato.cli.app import main
from ostinato.records import Event
from ostinato.settings import Settings

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:apprise", "ignore::DeprecationWarning:markdown")


@pytest.fixture
def site():
    with listening() as found:
        yield found


@pytest.fixture
def server(tmp_path):
    with running(Settings(home=str(tmp_path / "home"), durability="crash-safe")) as found:
        yield found


@pytest.fixture
def cli(server, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("OSTINATO_API", server.url)
    monkeypatch.setenv("OSTINATO_HOME", str(tmp_path / "elsewhere"))

    def call(*words, code=0):
        found = main(["automations", *words])
        said = capsys.readouterr()
        assert found == code, said
        return said.out if not code else said.err

    return call


def put(server, site, name="alarm", **more):
    wanted = {"when": {"type": "Happened", "kind": "a"}, "then": [{"type": "Webhook", "url": site.url}]} | more
    answer = server.http.put(f"/api/automations/{name}", json=wanted)
    assert answer.status_code == 200, answer.text
    return answer.json()


def until(condition, seconds=15):
    limit = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.005)
    return found


def test_an_event_that_is_emitted_is_delivered_by_the_server(server, site):
    put(server, site)
    server.store.emit([Event(at=server.store.now(), kind="a", run_id="", key="7", data='{"n": 1}')])
    server.serving.served.changed()
    until(lambda: site.got)
    assert site.got[0]["data"] == {"n": 1}

    def firing():
        found = server.http.get("/api/firings").json()["items"][0]
        return found if found["state"] == "done" else None

    found = until(firing)
    assert (found["automation"], found["key"], found["steps"][0]["note"]) == ("alarm", "a:7", "answered 200")
    assert server.http.get(f"/api/firings/{found['id']}").json() == found
    shown = server.http.post(f"/api/firings/{found['id']}/acknowledge").json()
    assert shown["acknowledged_by"] == "local"


def test_an_automation_is_made_changed_and_removed_by_api(server, site):
    shown = put(server, site, once_per=60, description="d")
    assert (shown["name"], shown["when"], shown["project"], shown["spec"]["once_per"]) == (
        "alarm",
        "event a",
        None,
        60.0,
    )
    assert put(server, site, name="team/other")["name"] == "team/other"
    assert server.http.get("/api/automations/team/other").json()["name"] == "team/other"
    listed = server.http.get("/api/automations", params={"limit": 1}).json()
    assert [each["name"] for each in listed["items"]] == ["alarm"]
    rest = server.http.get("/api/automations", params={"cursor": listed["next"]}).json()
    assert ([each["name"] for each in rest["items"]], rest["next"]) == (["team/other"], None)
    assert server.http.post("/api/automations/pause/team/other").json()["paused"] is True
    assert server.http.post("/api/automations/resume/team/other").json()["paused"] is False
    assert server.http.post("/api/automations/silence/alarm", json={"seconds": 60}).json()["silenced_until"]
    assert server.http.post("/api/automations/silence/alarm", json={"seconds": 0}).json()["silenced_until"] is None
    assert server.http.delete("/api/automations/team/other").status_code == 204
    assert server.http.get("/api/automations/team/other").status_code == 404
    audits = [each["kind"] for each in server.http.get("/api/events", params={"kind": "audit."}).json()["items"]]
    assert audits.count("audit.automation_changed") == 2
    assert "audit.automation_paused" in audits


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"when": {"type": "RunFaild"}, "then": [{"type": "CancelRun"}]}, "Did you mean 'RunFailed'?"),
        ({"when": {"type": "RunFailed"}, "then": [{"type": "Notify", "to": "ops", "body": "{x}"}]}, "there is no {x}"),
        ({"when": {"type": "RunFailed"}, "then": []}, "then"),
        ({"when": {"type": "RunFailed"}, "then": [{"type": "CancelRun"}], "whn": 1}, "whn"),
    ],
)
def test_bad_ones_are_refused_by_the_api_with_what_to_do(server, wanted, said):
    answer = server.http.put("/api/automations/x", json=wanted)
    assert answer.status_code in (400, 422)
    assert said in answer.text
    assert server.store.list_automations() == []


def test_a_viewer_reads_and_an_operator_acts(server, site, tmp_path):
    put(server, site)
    admin, viewer = server.as_user("ada", "admin"), server.as_user("vic", "viewer")
    server.serving.served.is_open = False
    assert admin
    assert server.http.get("/api/automations", headers=viewer).status_code == 200
    for path in ("pause/alarm", "resume/alarm"):
        assert server.http.post(f"/api/automations/{path}", headers=viewer).status_code == 403
    assert server.http.get("/api/automations").status_code == 401


def test_secrets_in_addresses_are_not_shown(server, site, cli):
    put(server, site, then=[{"type": "Notify", "to": "json://u:s3cret@127.0.0.1:9/"}])
    for text in (
        server.http.get("/api/automations").text,
        cli("list"),
        cli("show", "alarm"),
        cli("list", "--json"),
        cli("test", "alarm", "--event", '{"kind": "a"}', "--json"),
    ):
        assert "s3cret" not in text
        assert "json://…" in text


# --- the command line


def test_an_event_is_played_through_and_nothing_is_sent(server, site, cli):
    put(server, site, then=[{"type": "Webhook", "url": site.url, "body": {"n": "{data.n}"}}])
    found = json.loads(cli("test", "alarm", "--event", '{"kind": "a", "key": "7", "data": {"n": 5}}', "--json"))
    (verdict,) = found["verdicts"]
    assert (verdict["state"], verdict["key"], verdict["steps"][0]["body"]) == ("pending", "a:7", {"n": 5})
    assert "It does not fire." in cli("test", "alarm", "--event", '[{"kind": "b"}]')
    assert site.got == []
    assert server.store.list_firings() == []


def test_what_is_played_is_sent_only_when_that_is_asked_for(server, site, cli, tmp_path):
    put(server, site)
    (tmp_path / "event.json").write_text('{"kind": "a", "key": "7"}')
    assert "Webhook: answered 200" in cli("test", "alarm", "--event", str(tmp_path / "event.json"), "--send")
    assert len(site.got) == 1
    site.statuses = [500]
    assert "Not all of it could be done" in cli("test", "alarm", "--event", '{"kind": "a"}', "--send", code=1)


def test_a_run_is_played_through(server, cli):
    server.deploy("weather")
    run = server.start()
    server.http.put(
        "/api/automations/held",
        json={"when": {"type": "RunIs", "states": ["queued"]}, "then": [{"type": "CancelRun"}]},
    )
    found = json.loads(cli("test", "held", "--run", run["id"], "--json"))
    assert [verdict["key"] for verdict in found["verdicts"]] == ["weather"]
    assert found["concerned"] == 1
    assert server.http.get(f"/api/runs/{run['id']}").json()["state"] == "queued"
    played = server.http.post("/api/automations/test/held", json={"run_id": run["id"]}).json()
    assert played == {key: value for key, value in found.items() if key != "sent"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("show", "alrm"), "no automation 'alrm'. Did you mean 'alarm'?"),
        (("test", "alarm"), "Say what to play"),
        (("test", "alarm", "--event", "{"), "is neither JSON nor a file"),
        (("test", "alarm", "--event", '{"knd": "a"}'), "An event to play is JSON like"),
        (("silence", "alarm", "--for", "long"), "no span of time"),
        (("ack", "f9"), "There is no firing 'f9'"),
        (("firings", "alrm"), "Did you mean 'alarm'?"),
    ],
)
def test_what_is_typed_wrongly_is_told(server, site, cli, words, said):
    put(server, site)
    assert said in cli(*words, code=1)


def test_an_automation_is_looked_after_from_the_command_line(server, site, cli, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"when": {"type": "RunFailed"}, "then": {"type": "CancelRun"}}))
    assert "Automation mine is there" in cli("add", "mine", str(tmp_path / "a.json"), "--about", "why")
    assert "run failed or crashed" in cli("list")
    assert "is paused" in cli("pause", "mine")
    assert "paused" in cli("list")
    assert "from now on" in cli("resume", "mine")
    assert "does nothing until" in cli("silence", "mine", "--for", "2h")
    assert "silenced until" in cli("list")
    assert "not silenced" in cli("silence", "mine", "--for", "0")
    assert "CancelRun" in cli("show", "mine")
    assert "Nothing has fired" in cli("firings")
    assert "is removed" in cli("remove", "mine")
    assert json.loads(cli("list", "--json")) == []
