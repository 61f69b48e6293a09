"""The loop that reads events for the automations: nothing is passed over, nothing counts twice, whoever dies."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.automations.conftest import add, emit, fail
from tests.loops.conftest import House, play
from tests.store.builders import a_deployed, a_project, ended, new_run

from ostinato.automations import Absent, Automation, CancelRun, Count, Emit, Happened, Longer, Notify, RunFailed
from ostinato.automations.automation import row_of
from ostinato.clock import SECOND
from ostinato.loops import automator as automating
from ostinato.loops.automator import Automator, Panel
from ostinato.records import Event
from ostinato.timing import AutomationRow

LANDED = Automation(when=Happened("orders.landed"), then=Notify("ops"))


def keys(firings):
    return sorted(firing.key for firing in firings)


def test_a_failed_run_becomes_a_firing_with_what_is_known_of_it(post):
    here = post()
    add(here.store, Automation(when=RunFailed(), then=CancelRun(), name="alarm"))
    run = fail(here.store, deployment="etl/night")
    (firing,) = here.run(deliver=False)
    assert (firing.automation, firing.key, firing.state, firing.next_at) == (
        "alarm",
        "etl/night",
        "pending",
        here.store.now(),
    )
    values = json.loads(firing.data)["values"]
    assert (values["run_id"], values["flow"], values["automation"], values["firing"]) == (
        run.id,
        "etl",
        "alarm",
        firing.id,
    )


def test_what_happened_before_an_automation_is_no_concern_of_its(post):
    here = post()
    emit(here.store, key="before")
    add(here.store, LANDED)
    emit(here.store, key="after")
    assert keys(here.run(deliver=False)) == ["orders.landed:after"]


def test_each_automation_begins_where_it_was_made_though_all_are_read_together(post):
    here = post()
    add(here.store, LANDED, "first")
    emit(here.store, key="1")
    add(here.store, LANDED, "second")
    emit(here.store, key="2")
    found = sorted((firing.automation, firing.key) for firing in here.run(deliver=False))
    assert found == [("first", "orders.landed:1"), ("first", "orders.landed:2"), ("second", "orders.landed:2")]


def test_one_that_is_added_later_sees_what_happened_since_though_it_was_read_already(post):
    """The automator has read on in memory; it learns of the new one only after that."""
    here = post()
    add(here.store, LANDED, "first")
    here.run(deliver=False)

    async def body():
        add(here.store, LANDED, "second")
        emit(here.store, key="x")
        await here.automator.look()  # as the stored signal has it: no survey has told of the second one
        await here.judge()

    asyncio.run(body())
    assert sorted(firing.automation for firing in here.store.list_firings()) == ["first", "second"]


def test_events_that_came_while_no_server_was_there_are_read_by_the_next(post, clock):
    here = post("one")
    add(here.store, Automation(when=Count(Happened("orders.landed"), 3), then=Notify("ops")))
    emit(here.store)
    emit(here.store)
    assert here.run(deliver=False) == []
    emit(here.store)
    clock.move(60)
    there = post("two")
    assert len(there.run(deliver=False)) == 1


def test_of_two_servers_one_leads_and_the_other_takes_over(post, clock):
    one, two = post("one"), post("two")
    add(one.store, LANDED)
    emit(one.store, key="1")
    one.run(deliver=False)
    emit(one.store, key="2")
    assert len(two.run(deliver=False)) == 1  # the first still leads
    clock.move(11)
    assert keys(two.run(deliver=False)) == ["orders.landed:1", "orders.landed:2"]
    emit(one.store, key="3")
    clock.move(11)
    assert len(one.run(deliver=False)) == 3


def test_a_server_that_was_asleep_while_another_led_counts_nothing_twice(post, clock, monkeypatch):
    """It still believes that it leads, and what it remembers is old."""
    monkeypatch.setattr(Automator, "_lead", lambda _self: True)
    one, two = post("one"), post("two")
    add(one.store, Automation(when=Count(Happened("orders.landed"), 2), then=Notify("ops")))
    for turn in range(10):
        emit(one.store, key=str(turn))
        (one if turn % 3 else two).run(deliver=False)
    assert len(one.store.list_firings()) == 5
    assert one.store.list_automations()[0].turn >= 10


def test_a_server_that_dies_before_its_judgement_is_stored_has_done_nothing(post, clock, monkeypatch):
    here = post("one")
    add(here.store, Automation(when=Count(Happened("orders.landed"), 2), then=Notify("ops")))
    emit(here.store)
    here.run(deliver=False)
    emit(here.store)
    with monkeypatch.context() as broken:
        broken.setattr(type(here.store), "judge", lambda *_a, **_k: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            here.run(deliver=False)
    assert here.store.list_firings() == []
    clock.move(60)
    assert len(post("two").run(deliver=False)) == 1


def test_many_events_are_read_in_pages_and_in_order(post, monkeypatch):
    monkeypatch.setattr(automating, "_PAGE", 7)
    here = post()
    add(here.store, Automation(when=Count(Happened("orders.landed"), 10), then=Notify("ops")))
    here.store.emit([Event(at=n, kind="orders.landed", run_id="", key=str(n)) for n in range(95)])
    firings = here.run(deliver=False)
    assert [json.loads(firing.data)["values"]["key"] for firing in reversed(firings)] == [
        str(n) for n in range(9, 95, 10)
    ]


def test_an_absence_is_told_by_time_alone(post, clock):
    here = post()
    add(here.store, Automation(when=Absent("heart.beat", within=60), then=Notify("ops")))
    here.run(deliver=False)
    assert here.store.survey().next_alarm_at == clock.now() + 60 * SECOND
    assert here.automator._panel.next_alarm() == clock.now() + 60 * SECOND
    clock.move(30)
    emit(here.store, "heart.beat")
    here.run(deliver=False)
    clock.move(59)
    assert here.run(deliver=False) == []
    clock.move(1)
    assert len(here.run(deliver=False)) == 1
    assert here.store.survey().next_alarm_at == here.store.list_firings()[0].next_at


def test_the_usual_duration_is_learned_from_the_runs_there_are(post, clock):
    here = post()
    for _ in range(6):
        ended(here.store, flow="etl", deployment="etl", started_at=0, finished_at=10 * SECOND)
    add(here.store, Automation(when=Longer(times=3), then=Notify("ops")))
    run = here.store.create(new_run(here.store, flow="etl", deployment="etl", started_at=clock.now()))
    here.store.emit([Event(at=clock.now(), kind="run.started", run_id=run.id)])
    here.run(deliver=False)
    clock.move(29)
    assert here.run(deliver=False) == []
    clock.move(1)
    assert keys(here.run(deliver=False)) == ["etl"]


def test_owners_are_those_of_the_deployment(post):
    here = post()
    deployed = [a_deployed("etl", options='{"owners": ["ada"]}'), a_deployed("web", options='{"owners": ["bob"]}')]
    here.store.put_project(a_project(), deployed)
    add(here.store, Automation(when=RunFailed(), then=Notify("ops"), owner="ada"))
    for name in ("web", "etl", None):
        fail(here.store, deployment=name)
    assert keys(here.run(deliver=False)) == ["etl"]


def test_one_that_cannot_be_read_is_shown_as_such_and_holds_up_nobody(post):
    here = post()
    here.store.put_automation(AutomationRow(name="newer", spec='{"when": {"type": "Telepathy"}, "then": []}'))
    add(here.store, LANDED)
    emit(here.store, key="x")
    assert keys(here.run(deliver=False)) == ["orders.landed:x"]
    by_name = {row.name: row.trouble for row in here.store.list_automations()}
    assert "no trigger 'Telepathy'" in by_name["newer"]
    assert by_name["alarm"] is None
    turn = here.store.list_automations()[1].turn
    emit(here.store, key="y")
    here.run(deliver=False)
    assert here.store.list_automations()[1].turn == turn


def test_a_paused_automation_is_shown_nothing(post):
    here = post()
    add(here.store, LANDED)
    here.store.pause_automation("alarm", paused=True)
    emit(here.store, key="1")
    here.run(deliver=False)
    here.store.pause_automation("alarm", paused=False)
    emit(here.store, key="2")
    assert keys(here.run(deliver=False)) == ["orders.landed:2"]


def test_silenced_and_repeated_firings_are_on_record_with_nothing_to_do(post):
    here = post()
    add(here.store, Automation(when=Happened("a"), then=Notify("ops"), once_per=60))
    emit(here.store, "a")
    emit(here.store, "a")
    here.run(deliver=False)
    here.store.pause_automation("alarm", paused=False, silenced_until=here.store.now() + SECOND)
    emit(here.store, "a", key="other")
    states = {(firing.state, firing.next_at is None) for firing in here.run(deliver=False)}
    assert states == {("pending", False), ("duplicate", True), ("silenced", True)}


def test_while_there_is_no_automation_nothing_is_read(post, monkeypatch):
    here = post()
    monkeypatch.setattr(type(here.store), "list_events", None)
    monkeypatch.setattr(type(here.store), "lead", None)
    emit(here.store)
    assert here.run(deliver=False) == []


def test_how_far_it_has_read_is_stored_now_and_then_though_nothing_came_of_it(post, monkeypatch):
    here = post()
    add(here.store, LANDED)
    here.run(deliver=False)
    read = here.store.reader_at("automator")
    emit(here.store, "other.thing")
    here.run(deliver=False)
    assert here.store.reader_at("automator") == read
    monkeypatch.setattr(automating, "_MOVE_AFTER", 0)
    emit(here.store, "other.thing")
    here.run(deliver=False)
    assert here.store.reader_at("automator") > read


def test_an_event_wakes_the_automator_at_once(url, clock, tmp_path, post):
    """No survey is made meanwhile: what is stored says so itself."""
    heard = []
    here = post()

    class Waking(House):
        def on_stored(self, hear):
            heard.append(hear)

    async def body():
        house = Waking(here.store, tmp_path)
        add(here.store, LANDED)
        loop = Automator(house)
        loop.heard(here.store.survey())
        await loop.look()
        loop.loop.start()
        emit(here.store, key="x")
        heard[0]()
        while not here.store.list_firings():
            await asyncio.sleep(0.002)
        await loop.loop.stop()
        house.close()

    play(body)


def test_two_automations_do_not_wake_each_other_without_end(post):
    here = post()
    for name, other in (("a", "b"), ("b", "a")):
        add(here.store, Automation(when=Happened(f"x.{name}"), then=Emit(f"x.{other}")), name)
    here.store.emit([Event(at=here.store.now(), kind="x.a", run_id="", key="")])
    for _ in range(6):
        here.run()
    assert len(here.store.list_firings()) == 6  # they do as they were told, one step at a time, and nobody is held up


def test_a_panel_begins_where_the_oldest_of_its_automations_does(post):
    here = post()
    for _ in range(20):
        emit(here.store)
    assert here.store.reader_at("automator") > 0
    for _ in range(20):
        emit(here.store)
    here.store.put_automation(row_of(LANDED, "late"))
    panel = Panel(here.store)
    assert panel.at == here.store.list_automations()[0].after > panel.read
