"""`ostinato events emit`, `asks …`, `webhooks …`: against the database itself and over a server alike."""

from __future__ import annotations

import json
import re
from contextlib import closing

import pytest
from tests.serving import running
from tests.store.builders import claim, new_run

from ostinato.records import Commit, Run, Suspension, Wait
from ostinato.settings import Settings
from ostinato.states import State
from ostinato.store.open import open_store
from ostinato.timing import ANSWERED, Ask, event_key

SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}, "note": {"type": "string", "default": ""}},
        "required": ["ok"],
        "additionalProperties": False,
    }
)


@pytest.fixture(params=["database", "server"])
def stored(request, cli):
    """The store that the commands reach: by themselves, or through a server."""
    url = f"sqlite:///{cli.folder}/home/ostinato.db"
    with closing(open_store(url, durability="crash-safe")) as store:
        if request.param == "database":
            yield store
            return
        with running(Settings(home=str(cli.folder / "home"), durability="crash-safe")) as server:
            cli.environment["OSTINATO_API"] = server.url
            yield store


@pytest.fixture
def asked(stored) -> Run:
    """A run that waits for two people to answer, and for an event."""
    stored.create(new_run(stored, id="run1", flow="ships", pool="default"))
    (run,) = claim(stored)
    ask = Ask(
        id="ask1", run_id=run.id, flow="ships", title="Ship it?", description="All of it.", schema=SCHEMA, needed=2,
        created_at=stored.now(),
    )  # fmt: skip
    stored.put_ask(ask)
    keys = [event_key(ANSWERED, "ask1"), event_key("orders.landed", "47 11")]
    waits = [Wait(run_id=run.id, n=n, kind="event", key=key, created_at=stored.now()) for n, key in enumerate(keys)]
    stored.commit(run.id, run.epoch, Commit(suspend=Suspension(state=State.WAITING, reason="question", waits=waits)))
    return run


def test_an_event_is_told_and_wakes_who_waits_for_it(cli, stored, asked):
    said = cli("events", "emit", "orders.landed", "--key", "47 11", "--data", '{"rows": 7}', "--json")
    assert (said.data["kind"], said.data["key"]) == ("orders.landed", "47 11")
    assert stored.get_run("run1").state is State.QUEUED
    (line,) = [json.loads(line) for line in cli("events", "tail", "--kind", "orders.landed", "--json").out.splitlines()]
    assert (line["key"], line["data"]) == ("47 11", {"rows": 7})
    assert "47 11  rows=7" in cli("events", "tail", "--kind", "orders").out
    cli("events", "emit", "orders.list", "--data", "[1, 2]")
    assert "data=[1,2]" in cli("events", "tail", "--kind", "orders.list").out


def test_what_is_no_event_is_refused(cli, stored):
    assert "made by Ostinato itself" in cli("events", "emit", "run.failed").err
    assert "--data is no JSON" in cli("events", "emit", "x", "--data", "{").err


def test_a_question_is_listed_shown_and_answered_by_two(cli, stored, asked):
    assert [each["id"] for each in cli("asks", "list", "--json").data] == ["ask1"]
    assert re.search(r"ask1 +Ship it\? +ships +operators +0 of 2", cli("asks", "list").out)
    shown = cli("asks", "show", "ask1").out
    assert "All of it." in shown
    assert "ostinato asks answer ask1 -p ok=…" in shown
    refused = cli("asks", "answer", "ask1", "-p", "ok=perhaps", "-p", "nots=x").err
    assert "ok: must be boolean, got str ('perhaps')" in refused
    assert "nots: is no field of this form. Did you mean 'note'?" in refused
    first = cli("asks", "answer", "ask1", "-p", "ok=true", "-p", "note=5", "--by", "ada")
    assert "1 more person has to answer" in first.out
    done = cli("asks", "answer", "ask1", "--json-values", '{"ok": false}', "--by", "bob")
    assert "Run run1 of ships goes on" in done.out
    assert stored.get_run("run1").state is State.QUEUED
    answers = cli("asks", "show", "ask1", "--json").data["answers"]
    assert [(each["by"], each["values"]) for each in answers] == [
        ("ada", {"ok": True, "note": "5"}),
        ("bob", {"ok": False}),
    ]
    assert cli("asks", "list", "--json").data == []
    assert [each["state"] for each in cli("asks", "list", "--all", "--json").data] == ["answered"]
    assert "answered already" in cli("asks", "answer", "ask1", "-p", "ok=true").err


def test_why_names_what_is_waited_for_and_how_to_satisfy_it(cli, stored, asked):
    said = cli("runs", "why", "run1").out
    assert "waits for an operator to answer 'Ship it?'; 0 of 2 have answered" in said
    assert "ostinato asks show ask1" in said
    assert "waits for an event orders.landed with the key '47 11'" in said
    assert "ostinato events emit orders.landed --key '47 11'" in said
    facts = cli("runs", "why", "run1", "--json").data["facts"]
    assert facts["events"][0]["key"] == "47 11"
    assert facts["asks"][0]["id"] == "ask1"


def test_a_webhook_is_added_listed_and_removed(cli, stored):
    assert "There is no webhook yet" in cli("webhooks", "list").out
    made = cli("webhooks", "add", "orders", "--kind", "orders.landed", "--key-from", "data.id", "--json").data
    assert (made["scheme"], made["secret"][:6], made["address"][-20:]) == ("standard", "whsec_", "/api/webhooks/orders")
    assert stored.get_webhook("orders").secret == made["secret"]
    said = cli("webhooks", "add", "shop", "--kind", "shop.sold", "--header", "X-Shop", "--secret", "their own").out
    assert "their own" not in said
    assert stored.get_webhook("shop").secret == "their own"
    listed = cli("webhooks", "list", "--json")
    assert [(hook["name"], hook["scheme"], "secret" in hook) for hook in listed.data] == [
        ("orders", "standard", False),
        ("shop", "plain", False),
    ]
    assert "no webhook 'order'. Did you mean 'orders'?" in cli("webhooks", "remove", "order").err
    cli("webhooks", "remove", "orders")
    assert [hook.name for hook in stored.list_webhooks()] == ["shop"]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--kind", "x", "--scheme", "githb"], "Did you mean 'github'?"),
        (["--kind", "run.failed"], "made by Ostinato itself"),
    ],
)
def test_a_webhook_that_cannot_work_is_refused(cli, stored, more, says):
    assert says in cli("webhooks", "add", "orders", *more).err
