"""Limits over processes: real ones that share a database, one of them killed; and runs that wait without one."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.inside import Home
from tests.process import Ledger, Script, environment, until
from tests.runtime.fleet import Fleet, close_all

from ostinato import flow, task
from ostinato.limits import Limit, Overlap
from ostinato.outcomes import Skip
from ostinato.states import State
from ostinato.timing import LimitRow

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = Path(__file__).with_name("limited_script.py")


def most_at_once(lines: list[str], dead: str = "") -> int:
    """Count how many held the slot at the same time; what a dead process held it gave up when another began."""
    inside: set[str] = set()
    most = 0
    for line in lines:
        what, _, who = line.partition(" ")
        if what == "in":
            inside.add(who)
        else:
            inside.discard(who)
        most = max(most, len({each for each in inside if not dead or not each.startswith(dead)}))
    return most


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def shared(tmp_path: Path, ledger: Ledger) -> dict[str, str]:
    return environment(tmp_path / "home", LEDGER=str(ledger.path), OSTINATO_DISPLAY="none", OSTINATO_LEASE="2")


def test_three_processes_never_hold_more_than_there_is_and_one_that_is_killed_gives_its_slots_back(shared, ledger):
    scripts = [Script(SCRIPT, "many", name, "25", env=shared) for name in ("a", "b", "c")]
    until(lambda: len(ledger) >= 12)
    killed = scripts[0]
    assert killed.kill()
    for script in scripts[1:]:
        assert script.wait(60) == 0, script.err
    lines = ledger.lines()
    assert most_at_once(lines, dead=str(killed.process.pid)) == 2
    assert sum(line.startswith("out") and " a " not in line for line in lines) == 50
    home = Home(Path(shared["OSTINATO_HOME"]))
    with home.session() as (session, _):
        left = session.store.list_passages()
        assert [passage for passage in left if passage.held] == []
        assert all((gate.held, gate.waiting) == (0, 0) for gate in session.store.list_gates())


def test_a_script_waits_for_the_limit_of_its_flow_and_says_so(shared, ledger):
    shown = shared | {"OSTINATO_DISPLAY": "plain"}
    first = Script(SCRIPT, "alone", "stuck", env=shared)
    until(lambda: len(ledger) == 1)
    second = Script(SCRIPT, "alone", "next", env=shown)
    home = Home(Path(shared["OSTINATO_HOME"]))
    with home.session() as (session, _):
        until(lambda: [p for p in session.store.list_passages("alone") if not p.held])
    assert len(ledger) == 1
    assert first.kill()
    assert second.wait(60) == 0, second.err
    assert f"waits for a slot of alone, held by {home.runs()[-1].id}" in second.err
    assert [line.split()[2] for line in ledger.lines()] == ["stuck", "next", "next"]


# --- runs inside the test's own process

ONE = Limit("one", 1)
HELD = threading.Event()
GO = threading.Event()
RAN: list[Any] = []


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    HELD.clear(), GO.clear(), RAN.clear()
    yield
    GO.set()
    close_all()


@task(limits=ONE)
def hold(x: int) -> int:
    HELD.set()
    assert GO.wait(20)
    RAN.append(("hold", x))
    return x


@task(limits=ONE)
def need(x: int) -> int:
    RAN.append(("need", x))
    return x


@flow
def holds() -> int:
    return hold(1)


@flow
def needs() -> int:
    return need(2)


@flow
def needs_three() -> int:
    return sum(need.map(range(3)))


@flow
async def aneeds() -> int:
    @task(limits=ONE)
    async def aneed(x: int) -> int:
        RAN.append(("need", x))
        return x

    return sum(await asyncio.gather(aneed(1), aneed(1), aneed(1)))


@pytest.mark.parametrize(("waits", "result"), [(needs, 2), (needs_three, 3), (aneeds, 3)], ids=str)
def test_a_run_that_waits_long_for_a_slot_gives_up_its_process_and_comes_back(waiting_home, waits, result):
    fleet = Fleet(waiting_home, holds, waits)
    fleet.order(holds)
    with fleet.serving("default", threads=1):
        assert HELD.wait(20)
        run = fleet.order(waits)
        suspended, ending = fleet.carry_out()
        assert (ending.how, suspended.state, suspended.reason) == ("suspended", State.WAITING, "limit"), ending
        assert RAN == []
        GO.set()
        until(lambda: fleet.store.get_run(run.id).state is State.SUCCEEDED, "the run to come back")
    assert RAN[0] == ("hold", 1)
    assert fleet.store.list_passages() == []
    rows = waiting_home.task_runs(run.id)
    assert {(row.state, row.attempt) for row in rows} == {(State.SUCCEEDED, 1)}


def test_a_run_that_is_cancelled_while_a_task_run_waits_leaves_the_line(home, monkeypatch):
    fleet = Fleet(home, holds, needs)
    fleet.order(holds)
    with fleet.serving("default", threads=2):
        assert HELD.wait(20)
        run = fleet.order(needs)
        until(lambda: [p for p in fleet.store.list_passages("one") if not p.held], "it to stand in line")
        fleet.store.request_cancel(run.id)
        until(lambda: fleet.store.get_run(run.id).state is State.CANCELLED, "it to be cancelled")
        assert [p.held for p in fleet.store.list_passages("one")] == [True]
        GO.set()
    assert RAN == [("hold", 1)]


@flow(limits=ONE)
def both() -> int:
    return need(3)


def test_a_task_run_passes_a_limit_that_its_run_holds(home):
    assert home.run(both) == 3
    with home.session() as (session, _):
        assert session.store.list_passages() == []


def test_more_slots_by_hand_let_more_of_one_process_in(home):
    together = threading.Barrier(3, timeout=20)

    @task(limits=Limit("wide", 1))
    def meet(x: int) -> int:
        together.wait()
        return x

    @flow
    def meeting() -> int:
        return sum(meet.map(range(3)))

    with home.session() as (session, _):
        session.store.put_limit(LimitRow(name="wide", slots=3))
    assert home.run(meeting) == 3


@flow(overlap="skip")
def lonely() -> str:
    HELD.set()
    assert GO.wait(20)
    return "done"


def test_a_script_run_that_would_overlap_is_skipped(home):
    first = threading.Thread(target=lambda: RAN.append(home.run(lonely)))
    first.start()
    assert HELD.wait(20)
    assert isinstance(home.run(lonely), Skip)
    GO.set()
    first.join(20)
    assert RAN == ["done"]
    assert sorted((run.state, run.reason) for run in home.runs()) == [("skipped", "overlap"), ("succeeded", None)]


def test_a_limit_that_names_no_parameter_is_refused():
    with pytest.raises(Exception, match="names no parameter"):
        flow(overlap=Overlap("queue", key="tenat"))(lambda tenant: tenant)
