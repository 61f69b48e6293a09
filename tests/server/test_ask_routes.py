"""Questions over the API: shown, answered by those they are for, refused field by field."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ostinato.records import Run
from ostinato.states import State
from ostinato.timing import Ask

if TYPE_CHECKING:
    from tests.serving import Running

SCHEMA = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}, "note": {"type": "string", "maxLength": 5, "default": ""}},
    "required": ["ok"],
    "additionalProperties": False,
}


def an_ask(server: Running, **fields: Any) -> str:
    now = server.store.now()
    server.store.create(Run(id="run1", flow="ships", state=State.QUEUED, lineage="run1", created_at=now))
    values = {"id": "ask1", "title": "Ship it?", "schema": json.dumps(SCHEMA), "created_at": now}
    return server.store.put_ask(Ask(run_id="run1", flow="ships", **(values | fields))).id


def answer(server: Running, values: dict[str, Any], headers: dict[str, str] | None = None, **more: Any) -> Any:
    return server.http.post("/api/asks/ask1/answer", json={"values": values, **more}, headers=headers)


def test_a_question_is_listed_shown_and_answered(either: Running) -> None:
    an_ask(either)
    (listed,) = either.http.get("/api/asks").json()
    assert listed == either.http.get("/api/asks/ask1").json()
    assert (listed["title"], listed["form"], listed["answers"]) == ("Ship it?", SCHEMA, [])
    given = answer(either, {"ok": True}, by="ada")
    assert given.status_code == 200, given.text
    assert given.json()["state"] == "answered"
    assert [(each["by"], each["values"]) for each in given.json()["answers"]] == [("ada", {"ok": True})]
    assert either.http.get("/api/asks").json() == []
    assert len(either.http.get("/api/asks", params={"open": False}).json()) == 1
    again = answer(either, {"ok": True})
    assert (again.status_code, "answered already" in again.json()["detail"]) == (409, True)


def test_a_wrong_answer_is_refused_with_a_message_for_each_field(server: Running) -> None:
    an_ask(server)
    refused = answer(server, {"note": "too long", "more": 1})
    assert refused.status_code == 422
    fields = refused.json()["fields"]
    assert fields["ok"] == "is missing"
    assert fields["more"].startswith("is no field of this form.")
    assert "5 characters" in fields["note"]
    assert server.store.get_ask("ask1").answers == "[]"


def test_people_answer_under_their_own_names_whatever_they_say(server: Running) -> None:
    an_ask(server, needed=2)
    ada, bob = server.as_user("ada", "operator"), server.as_user("bob", "operator")
    for headers in (ada, ada, bob):
        assert answer(server, {"ok": True}, headers, by="somebody else").status_code == 200
    assert [each["by"] for each in json.loads(server.store.get_ask("ask1").answers)] == ["user:ada", "user:bob"]
    audited = [
        event.event for event in server.store.list_events(limit=1000) if event.event.kind == "audit.ask_answered"
    ]
    assert [json.loads(event.data)["actor"] for event in audited] == ["user:ada", "user:ada", "user:bob"]


@pytest.mark.parametrize(
    ("whom", "allowed"),
    [(None, ["op", "root"]), ("viewer", ["see", "op", "root"]), ("admin", ["root"]), ("see", ["see", "root"])],
)
def test_a_question_is_answered_by_those_it_is_for(server: Running, whom: str | None, allowed: list[str]) -> None:
    an_ask(server, whom=whom, needed=9)
    people = {"see": "viewer", "op": "operator", "root": "admin"}
    found = {
        name: answer(server, {"ok": True}, server.as_user(name, role)).status_code for name, role in people.items()
    }
    assert found == {name: 200 if name in allowed else 403 for name in people}


def test_the_stores_own_verb_is_no_way_around(server: Running) -> None:
    from ostinato.errors import AccessError, ParameterError
    from ostinato.store.remote import RemoteStore

    an_ask(server, whom="admin")
    token = server.as_user("op", "operator")["Authorization"].partition(" ")[2]
    store = RemoteStore(server.url, token=token)
    with pytest.raises(AccessError, match="is for admin"):
        store.answer("ask1", "user:root", '{"ok": true}')
    root = RemoteStore(server.url, token=server.as_user("root", "admin")["Authorization"].partition(" ")[2])
    with pytest.raises(ParameterError, match="is missing"):
        root.answer("ask1", "user:somebody", "{}")
    given = root.answer("ask1", "user:somebody", '{"ok": true}')
    assert json.loads(given.answers)[0]["by"] == "user:root"
    for each in (store, root):
        each.close()


def test_an_unknown_question_is_not_found(server: Running) -> None:
    assert server.http.get("/api/asks/nope").status_code == 404
    assert server.http.post("/api/asks/nope/answer", json={"values": {}}).status_code == 404
