"""`ostinato limits`, and what `runs why` says of a run that a limit holds back."""

from __future__ import annotations

import pytest
from tests.store.builders import a_run, new_run

from ostinato.limits import Entrance, Limit, Overlap, to_json
from ostinato.store.open import open_store

DB = Limit("db", 1)


@pytest.fixture
def stored(cli):
    store = open_store(f"sqlite:///{cli.folder}/home/ostinato.db", durability="crash-safe", lease=600)
    yield store
    store.close()


def limited(store, *passings):
    return store.create(new_run(store, pool="default", gates=to_json(passings)))


def test_limits_are_listed_and_shown_with_who_holds_and_who_waits(cli, stored):
    assert "There is no limit yet" in cli("limits", "list").out
    run = a_run(stored)
    stored.enter(run.id, run.epoch, [Entrance(seq, [DB.passing({})]) for seq in (3, 4, 5)])
    (row,) = cli("limits", "list", "--json").data
    assert (row["gate"], row["slots"], row["held"], row["waiting"], row["by_hand"]) == ("db", 1, 1, 2, False)
    assert "db" in cli("limits", "list").out
    (gate,) = cli("limits", "show", "db", "--json").data["gates"]
    assert [holder["seq"] for holder in gate["holders"]] == [3]
    assert [waiter["seq"] for waiter in gate["line"]] == [4, 5]
    shown = cli("limits", "show", "db").out
    assert "db: 1 slot; 1 held, 2 waiting" in shown
    assert shown.index("holds") < shown.index("1.") < shown.index("2.")


def test_a_limit_set_by_hand_lets_in_who_waits_and_is_forgotten_again(cli, stored):
    first, second = limited(stored, DB.passing({})), limited(stored, DB.passing({}))
    assert "2 slots" in cli("limits", "set", "db", "--slots", "2").out
    assert {ticket.run_id for ticket in stored.list_tickets()} == {first.id, second.id}
    assert cli("limits", "list", "--json").data[0]["by_hand"]
    cli("limits", "set", "db", "--rate", "100/m", "--burst", "5", "--weight", "gold=3")
    (row,) = stored.list_limits()
    assert (row.slots, round(row.rate or 0, 3), row.burst, row.weights) == (2, 1.667, 5, '{"gold":3.0}')
    assert "as code says" in cli("limits", "remove", "db").out
    assert stored.list_gates("db")[0].slots == 1


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("set", "db"), "Say what is to change"),
        (("set", "db", "--rate", "fast"), '"100/m"'),
        (("set", "db", "--slots", "-1"), "0 (nobody passes) or more"),
        (("set", "db", "--slots", "1", "--weight", "gold"), "gold=3"),
        (("set", "other", "--about", "x"), "would limit nothing"),
        (("show", "dbb"), "Did you mean 'db'?"),
        (("remove", "db"), "Nobody has declared"),
    ],
)
def test_what_makes_no_sense_is_refused(cli, stored, args, says):
    limited(stored, DB.passing({}))
    said = cli("limits", *args)
    assert said.code != 0
    assert says in said.err


def test_why_names_the_limit_who_holds_it_and_how_many_come_before(cli, stored):
    first, second, third = (limited(stored, DB.passing({})) for _ in range(3))
    why = cli("runs", "why", third.id).out
    assert f"The only slot of limit db is taken, by {first.id}" in why
    assert "1 waits for it before this run." in why
    assert "ostinato limits set db --slots 2" in why
    facts = cli("runs", "why", second.id, "--json").data["facts"]
    assert (facts["gate"], facts["held_by"], facts["ahead"]) == ("db", [first.id], 0)


def test_why_names_the_run_that_another_overlaps(cli, stored):
    overlap = Overlap("queue").passing("nightly", {})
    first, second = limited(stored, overlap), limited(stored, overlap)
    assert f"Another run of nightly is under way, {first.id}" in cli("runs", "why", second.id).out
    skipped = limited(stored, Overlap("skip").passing("nightly", {}))
    assert "Another run of it was under way" in cli("runs", "why", skipped.id).out


FLOWS = """
from ostinato import flow
from ostinato.authoring.deployment import Deployment
from ostinato.limits import Limit, Overlap

@flow(limits=Limit("db", 2, key="tenant"), overlap=Overlap("skip", key="tenant"))
def nightly(tenant: str = "acme") -> None: ...

free = Deployment(nightly, name="free", overlap="allow")
"""


def test_what_a_flow_says_of_limits_and_overlap_reaches_the_runs_that_are_started(cli, stored):
    folder = cli.folder / "project"
    folder.mkdir()
    (folder / "flows.py").write_text(FLOWS)
    assert cli("deploy", str(folder)).code == 0
    first = cli("start", "nightly", "--json").data
    second = cli("start", "nightly", "--json").data
    other = cli("start", "nightly", "-p", "tenant=globex", "--json").data
    free = cli("start", "nightly/free", "--json").data
    states = [stored.get_run(each["id"]).state for each in (first, second, other, free)]
    assert states == ["queued", "skipped", "queued", "queued"], states
    held = {passage.gate for passage in stored.list_passages() if passage.held}
    assert held == {"db[acme]", "db[globex]", "overlap:nightly[acme]", "overlap:nightly[globex]"}
