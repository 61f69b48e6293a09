"""Consumers in a real server: woken by what is stored, idle otherwise."""

from __future__ import annotations

import json
import statistics
from typing import TYPE_CHECKING

import httpx
from tests.process import until

from ostinato.records import Event
from ostinato.runtime.finding import store_for
from ostinato.schedules import On, kind_of, to_spec
from ostinato.timing import Schedule

if TYPE_CHECKING:
    from tests.sensors.conftest import System


def consume(system: System, name: str, when: On) -> None:
    system.store.put_schedule(Schedule(name=name, deployment="load", kind=kind_of(when), spec=to_spec(when)))


def test_an_event_starts_its_run_at_once(either_system: System) -> None:
    system = either_system
    system.deploy()
    system.serve()
    consume(system, "landed", On("landed"))
    until(lambda: system.schedule("landed").next_at is None, "the server to know it", 10)
    served = store_for(system.bench.settings)
    waits = []
    for n in range(20):
        at = served.now()
        served.emit([Event(at=at, kind="landed", run_id="", data=json.dumps({"n": n}), key="")])
        until(lambda n=n: len(system.runs("load")) == n + 1, "the run", 5)  # type: ignore[misc]
        waits.append((system.runs("load")[0].created_at - at) / 1000)
    served.close()
    assert statistics.median(waits) < 100, f"{waits} ms; a poll would take seconds"


def test_nobody_reads_events_while_nothing_happens(system: System) -> None:
    system.deploy()
    system.serve()
    consume(system, "landed", On("landed"))
    until(lambda: system.schedule("landed").next_at is None, "the server to know it", 10)
    url = system.bench.settings.api
    rounds = lambda: _rounds(httpx.get(f"{url}/metrics").text)  # noqa: E731
    before = rounds()
    assert before >= 1
    surveys = _rounds(httpx.get(f"{url}/metrics").text, "surveyor")
    until(lambda: _rounds(httpx.get(f"{url}/metrics").text, "surveyor") >= surveys + 3, "three surveys", 30)
    assert rounds() - before <= 1


def _rounds(text: str, name: str = "consumer") -> float:
    lines = [line for line in text.splitlines() if f'"{name}"' in line and "_count" in line]
    return sum(float(line.rpartition(" ")[2]) for line in lines)
