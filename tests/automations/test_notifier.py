"""Carrying out what was fired: retried, shown, done once, and never in the way of anything else."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time

import msgspec
import pytest
from tests.automations.conftest import Post, add, emit, fail, progress
from tests.automations.listening import listening
from tests.store.builders import a_deployed, a_project, new_run

from ostinato.automations import (
    Automation,
    CancelRun,
    Emit,
    Escalate,
    Happened,
    Notify,
    Pause,
    Resume,
    RunFailed,
    Start,
    Webhook,
)
from ostinato.loops.notifier import _LEASE, DELAYS
from ostinato.records import RunFilter
from ostinato.runtime.delivering import Delivery
from ostinato.states import State

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:apprise", "ignore::DeprecationWarning:markdown")
SCHEMA = '{"type": "object", "properties": {"n": {"type": "integer"}, "who": {"type": "string"}}, "required": []}'


@pytest.fixture
def site():
    with listening() as found:
        yield found


def fired(here: Post, *then, when=None, deliver=True):
    """Add an automation, have it fire, carry out what is due; the firing."""
    add(here.store, Automation(when=when or Happened("a"), then=then))
    emit(here.store, "a", key="7", n=5, who="ada")
    return here.run(deliver=deliver)[0]


def again(here: Post):
    asyncio.run(here.deliver())
    return here.store.list_firings()[0]


def test_somebody_is_told_through_apprise(post, site):
    here = post()
    firing = fired(here, Notify(site.apprise, title="{automation} {key}", body="{data.who}: {summary}"))
    assert (firing.state, progress(firing)[0].get("error")) == ("done", None)
    assert [(got["title"], got["message"]) for got in site.got] == [("alarm 7", "ada: a with key '7' happened.")]
    assert progress(firing)[0]["note"] == "told json://…"
    assert "127.0.0.1" not in progress(firing)[0]["note"]


def test_addresses_come_from_the_servers_environment(post, site, monkeypatch):
    here = post()
    monkeypatch.setenv("OSTINATO_CHANNEL_OPS", site.apprise)
    monkeypatch.setenv("MY_HOOK", site.url)
    firing = fired(here, Notify("ops"), Webhook("env:MY_HOOK"), Notify("env:NOT_THERE"), Notify("no-such"))
    assert len(site.got) == 2
    errors = [step.get("error") for step in progress(firing)]
    assert errors[:2] == [None, None]
    assert "needs the variable NOT_THERE" in errors[2]
    assert "channel 'no-such' needs the variable OSTINATO_CHANNEL_NO_SUCH" in errors[3]
    monkeypatch.setenv("NOT_THERE", site.apprise)  # somebody sets it, and restarts the server


def test_a_notifier_that_fails_is_retried_and_shown(post, site, clock):
    here = post()
    site.statuses = [500, 503]
    firing = fired(here, Notify(site.apprise))
    (step,) = progress(firing)
    assert (firing.state, step["attempts"]) == ("pending", 1)
    assert "500" in step["error"]
    assert firing.next_at == clock.now() + DELAYS[0] * 1e6
    assert len(site.got) == 1
    assert again(here) == firing  # it is not due yet
    clock.move(DELAYS[0])
    assert len(site.got) == 1
    assert progress(again(here))[0]["attempts"] == 2
    clock.move(DELAYS[1])
    firing = again(here)
    assert (firing.state, firing.next_at, progress(firing)[0]["attempts"]) == ("done", None, 3)
    assert progress(firing)[0]["error"] is None


def test_a_notifier_that_always_fails_is_given_up_and_that_is_an_event(post, site, clock):
    here = post()
    site.statuses = [500] * 20
    firing = fired(here, Notify(site.apprise))
    for delay in DELAYS:
        clock.move(delay)
        firing = again(here)
    assert (firing.state, firing.next_at, len(site.got)) == ("failed", None, 1 + len(DELAYS))
    told = [stored.event for stored in here.store.list_events(None) if stored.event.kind == "automation.failed"]
    assert [json.loads(event.data)["firing"] for event in told] == [firing.id]
    clock.move(10_000)
    again(here)
    assert len(site.got) == 1 + len(DELAYS)


def test_what_can_never_succeed_is_not_tried_again(post, clock):
    here = post()
    firing = fired(here, Notify("nosuchscheme://x"), Start("nothing"), CancelRun())
    assert firing.state == "failed"
    errors = [step["error"] for step in progress(firing)]
    assert "no address that Apprise knows" in errors[0]
    assert "no deployment 'nothing'" in errors[1]
    assert "about no run" in errors[2]


def test_one_that_hangs_holds_up_neither_the_loop_nor_the_others(post, site, clock):
    here = post(patience=0.3)
    site.hangs = True
    with listening() as good:
        add(here.store, Automation(when=Happened("a"), then=[Notify(site.apprise), Webhook(good.url)]), "hangs")
        add(here.store, Automation(when=Happened("b"), then=Webhook(good.url)), "goes")

        async def body():
            emit(here.store, "a")
            await here.judge()
            here.notifier.fired()
            await here.notifier.look()
            while not site.entered.is_set():
                await asyncio.sleep(0.002)
            emit(here.store, "b")
            await here.judge()
            here.notifier.fired()
            before = time.monotonic()
            await here.notifier.look()
            while len(good.got) < 2:
                assert time.monotonic() - before < 5
                await asyncio.sleep(0.002)
            await here.notifier.settled()

        asyncio.run(body())
        states = {firing.automation: firing for firing in here.store.list_firings()}
        assert states["goes"].state == "done"
        stuck, done = progress(states["hangs"])
        assert (stuck["state"], stuck["error"], done["state"]) == ("pending", "No answer within 0.3 s.", "done")
        assert here.notifier.stuck == 1
        site.hangs = False
        site.released.set()
        clock.move(DELAYS[0])
        asyncio.run(here.deliver())
        assert here.store.get_firing(states["hangs"].id).state == "done"
        assert len(good.got) == 2


def test_an_answer_that_comes_late_frees_its_place(post, site):
    here = post(patience=0.2)
    site.hangs = True
    add(here.store, Automation(when=Happened("a"), then=Webhook(site.url)))
    emit(here.store, "a")

    async def body():
        await here.judge()
        await here.deliver()
        assert here.notifier.stuck == 1
        site.released.set()
        while here.notifier.stuck:
            await asyncio.sleep(0.002)

    asyncio.run(asyncio.wait_for(body(), 20))


def test_of_two_servers_exactly_one_delivers(post, site):
    one, two = post("one"), post("two")
    add(one.store, Automation(when=Happened("a"), then=Webhook(site.url)))
    for _ in range(12):
        emit(one.store, "a")
    one.run(deliver=False)

    async def both():
        await asyncio.gather(one.deliver(), two.deliver())
        await asyncio.gather(one.deliver(), two.deliver())

    asyncio.run(both())
    assert len(site.got) == 12
    assert len({header["Idempotency-Key"] for header in site.headers}) == 12
    assert {firing.state for firing in one.store.list_firings()} == {"done"}


class Killed(BaseException):
    """The server dies here."""


def die(post: Post, where: str, monkeypatch, when=lambda *_: True):
    """Carry out what is due; at a call of the store the server dies, so that nothing more of it happens."""

    async def body():
        dead = asyncio.Event()
        real = getattr(type(post.store), where)

        def call(self, *args, **kwargs):
            if dead.is_set() or when(*args):
                dead.set()
                raise Killed
            return real(self, *args, **kwargs)

        with monkeypatch.context() as broken:
            broken.setattr(type(post.store), where, call)
            post.notifier.fired()
            await post.notifier.look()
            tasks = list(post.notifier._busy.values())
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(body())


def test_a_server_killed_between_judging_and_delivering_loses_nothing(post, site, clock):
    one = post("one")
    firing = fired(one, Webhook(site.url), deliver=False)
    assert (firing.state, site.got) == ("pending", [])
    assert again(post("two")).state == "done"
    assert len(site.got) == 1


def test_a_server_killed_while_it_delivers_is_followed_by_another_when_its_lease_is_over(
    post, site, clock, monkeypatch
):
    one, two = post("one"), post("two")
    firing = fired(one, Webhook(site.url), deliver=False)
    die(one, "put_firing", monkeypatch, when=lambda changed: json.loads(changed.progress)[0]["state"] == "done")
    assert len(site.got) == 1
    claimed = one.store.get_firing(firing.id)
    assert (progress(claimed)[0]["state"], claimed.next_at) == ("trying", clock.now() + _LEASE * 1e6)
    assert progress(again(two))[0]["state"] == "trying"
    clock.move(_LEASE)
    assert again(two).state == "done"
    assert [header["Idempotency-Key"] for header in site.headers] == [f"{firing.id}:0"] * 2  # the other side can tell


def test_steps_that_were_done_are_not_repeated_after_a_kill(post, site, clock, monkeypatch):
    """Two steps; the server dies when it has noted the first."""
    one, two = post("one", patience=0.5), post("two")
    with listening() as slow:
        slow.hangs = True
        fired(one, Webhook(site.url), Webhook(slow.url), deliver=False)

        def second(changed):
            return [step["state"] for step in json.loads(changed.progress)] == ["done", "pending"]

        die(one, "put_firing", monkeypatch, when=second)
        assert [step["state"] for step in progress(one.store.list_firings()[0])] == ["done", "trying"]
        slow.hangs = False
        slow.released.set()
        clock.move(_LEASE)
        assert again(two).state == "done"
        assert (len(site.got), len(slow.got)) == (1, 2)


def test_one_that_kills_the_server_each_time_is_given_up(post, site, clock, monkeypatch):
    here = post()
    fired(here, Webhook(site.url), deliver=False)
    for _ in range(1 + len(DELAYS)):
        here.notifier._busy.clear()
        die(here, "put_firing", monkeypatch, when=lambda changed: json.loads(changed.progress)[0]["state"] == "done")
        clock.move(_LEASE)
    firing = again(here)
    assert (firing.state, progress(firing)[0]["error"]) == ("failed", "The server ended each time while it tried.")


def test_a_flow_is_started_once_with_what_the_event_says(post, clock, monkeypatch):
    here, there = post("one"), post("two")
    here.store.put_project(a_project(), [a_deployed("repair", schema=SCHEMA)])
    firing = fired(
        here, Start("repair", parameters={"n": "{data.n}", "who": "x{data.who}"}, tags="auto"), deliver=False
    )
    die(here, "put_firing", monkeypatch, when=lambda changed: json.loads(changed.progress)[0]["state"] == "done")
    clock.move(_LEASE)
    done = again(there)
    (run,) = here.store.list_runs(RunFilter())
    assert here.house.results.load(run.parameters) == {"n": 5, "who": "xada"}
    assert (run.created_by, run.tags, json.loads(run.trigger)) == (
        "automation:alarm",
        ["auto"],
        {"automation": "alarm", "firing": firing.id},
    )
    assert progress(done)[0]["note"] == f"run {run.id}"


def test_parameters_that_are_refused_are_shown_field_by_field(post):
    here = post()
    here.store.put_project(a_project(), [a_deployed("repair", schema=SCHEMA)])
    firing = fired(here, Start("repair", parameters={"n": "{data.who}"}))
    assert firing.state == "failed"
    assert "n: must be integer" in progress(firing)[0]["error"]


def test_a_run_it_has_started_itself_does_not_start_another(post):
    here = post()
    here.store.put_project(a_project(), [a_deployed("repair")])
    add(here.store, Automation(when=RunFailed(), then=Start("repair")))
    fail(here.store)
    here.run()
    (run,) = here.store.list_runs(RunFilter(deployment="repair"))
    fail(here.store, created_by=run.created_by)
    assert len(here.run()) == 1


def test_a_deployment_is_held_back_and_a_run_is_cancelled(post):
    here = post()
    here.store.put_project(a_project(), [a_deployed("etl"), a_deployed("web", paused=True)])
    queued = here.store.create(new_run(here.store, flow="etl", deployment="etl", pool="default"))
    add(here.store, Automation(when=Happened("run.queued"), then=[Pause(), Resume("web"), CancelRun()]))
    emitted = next(stored for stored in here.store.list_events(queued.id) if stored.event.kind == "run.queued")
    here.store.emit([msgspec.structs.replace(emitted.event)])
    (firing,) = here.run()
    assert [step["note"] for step in progress(firing)] == ["paused etl", "resumed web", f"cancelled run {queued.id}"]
    assert here.store.get_deployed("etl").paused
    assert not here.store.get_deployed("web").paused
    assert here.store.get_run(queued.id).state is State.CANCELLED
    here.store.emit([msgspec.structs.replace(emitted.event)])
    (firing,) = [each for each in here.run() if each.id != firing.id]
    assert progress(firing)[2]["note"] == f"run {queued.id} had ended"


def test_an_event_is_emitted_once_though_the_server_is_killed(post, clock, monkeypatch):
    here, there = post("one"), post("two")
    fired(here, Emit("orders.stuck", key="k{key}", data={"n": "{data.n}"}), deliver=False)
    die(here, "put_firing", monkeypatch, when=lambda changed: json.loads(changed.progress)[0]["state"] == "done")
    clock.move(_LEASE)
    assert progress(again(there))[0]["note"] == "emitted before"
    found = [stored.event for stored in here.store.list_events(None) if stored.event.kind == "orders.stuck"]
    assert [(event.key, json.loads(event.data)["n"]) for event in found] == [("k7", 5)]


# --- escalation


def test_it_escalates_unless_somebody_has_acknowledged(post, site, clock):
    here = post()
    firing = fired(here, Notify(site.apprise, title="first"), Escalate(600, Notify(site.apprise, title="second")))
    assert (firing.state, len(site.got), firing.next_at) == ("pending", 1, clock.now() + 600 * 10**6)
    clock.move(599)
    again(here)
    assert len(site.got) == 1
    clock.move(1)
    assert again(here).state == "done"
    assert [got["title"] for got in site.got] == ["first", "second"]


def test_it_does_not_escalate_once_somebody_looks_after_it(post, site, clock):
    here = post()
    firing = fired(here, Notify(site.apprise), Escalate(600, Notify(site.apprise)))
    here.store.acknowledge(firing.id, "ada")
    clock.move(600)
    firing = again(here)
    assert (firing.state, firing.next_at, len(site.got)) == ("done", None, 1)
    assert [step["state"] for step in progress(firing)] == ["done", "skipped"]


def test_an_acknowledgement_during_a_delivery_is_kept(post, site, clock):
    here = post()
    site.hangs = True
    fired(here, Webhook(site.url), Escalate(600, Webhook(site.url)), deliver=False)

    async def body():
        here.notifier.fired()
        await here.notifier.look()
        while not site.entered.is_set():
            await asyncio.sleep(0.002)
        here.store.acknowledge(here.store.list_firings()[0].id, "ada")
        site.released.set()
        await here.notifier.settled()

    asyncio.run(asyncio.wait_for(body(), 20))
    firing = here.store.list_firings()[0]
    assert (firing.acknowledged_by, progress(firing)[0]["state"]) == ("ada", "done")
    clock.move(600)
    assert progress(again(here))[1]["state"] == "skipped"


# --- bounds


def test_many_firings_are_carried_out_a_few_at_a_time_and_all_of_them(post, site):
    here = post()
    add(here.store, Automation(when=Happened("a"), then=Webhook(site.url)))
    for _ in range(40):
        emit(here.store, "a")
    here.run(deliver=False)

    async def body():
        here.notifier.loop.start()
        here.notifier.fired()
        while any(firing.state == "pending" for firing in here.store.list_firings(limit=100)):
            assert len(here.notifier._busy) <= 16
            await asyncio.sleep(0.005)
        await here.notifier.stop()

    asyncio.run(asyncio.wait_for(body(), 60))
    assert len(site.got) == 40


def test_deliveries_leave_no_thread_behind(post, site):
    here, before = post(), set(threading.enumerate())
    fired(here, Webhook(site.url), Notify(site.apprise))
    left = [thread for thread in threading.enumerate() if thread.name == "ostinato-delivery" and thread not in before]
    for thread in left:
        thread.join(10)
    assert not any(thread.is_alive() for thread in left)


def test_nothing_of_the_environment_gets_into_an_error(post, monkeypatch):
    monkeypatch.setenv("HOOK", "http://user:s3cret@127.0.0.1:9/x?token=s3cret")
    monkeypatch.setenv("OSTINATO_CHANNEL_OPS", "json://user:s3cret@127.0.0.1:9/x")
    here = post()
    firing = fired(here, Webhook("env:HOOK"), Notify("ops"))
    assert "s3cret" not in firing.progress
    assert os.environ["HOOK"]


def test_a_delivery_says_what_the_other_side_said(post, site):
    here = post()
    site.statuses = [422]
    firing = fired(here, Webhook(site.url, body={"x": "{data.n}"}, headers={"X-Token": "abc"}))
    assert progress(firing)[0]["error"] == "It answered 422 Unprocessable Entity: no"
    assert site.got == [{"x": 5}]
    assert site.headers[0]["X-Token"] == "abc"
    assert Delivery(here.store, here.house.results)
