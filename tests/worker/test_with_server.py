"""Workers of a real server: runs come by long poll, and their processes hold nothing but their run's token."""

from __future__ import annotations

import os
import signal
import statistics
import threading
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.process import until

from ostinato.server.serving import Serving
from ostinato.states import State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.worker.conftest import Bench


@pytest.fixture
def served(any_bench: Bench) -> Iterator[Bench]:
    """A bench whose workers know the address of a server only; the test itself looks into the database."""
    serving = Serving(any_bench.settings, port=0)
    up = threading.Event()
    thread = threading.Thread(target=serving.run, args=(lambda _: up.set(),), name="test-server")
    thread.start()
    assert up.wait(20)
    any_bench.settings = msgspec.structs.replace(any_bench.settings, database="", api=serving.url)
    try:
        yield any_bench
    finally:
        any_bench.end_workers()
        serving.stop()
        thread.join(20)
        assert not thread.is_alive()


def start(bench: Bench, flow: str, **parameters: object) -> str:
    """Have the server queue a run, so that it knows."""
    from ostinato.runtime.finding import store_for

    direct, bench.store = bench.store, store_for(bench.settings)
    try:
        return bench.queue(flow, **parameters)  # type: ignore[arg-type]
    finally:
        bench.store.close()
        bench.store = direct


def test_a_run_is_carried_out_through_the_server(served: Bench) -> None:
    served.work()
    assert served.value(served.ended(start(served, "adds", x=41))) == 42


def test_a_warm_run_begins_at_once(served: Bench) -> None:
    served.work(slots=2)
    served.ended(start(served, "now"))
    waits = []
    for _ in range(20):
        run = served.ended(start(served, "now"))
        waits.append((served.value(run) - run.created_at) / 1000)
    assert statistics.median(waits) < 60, "milliseconds; bench/ measures it, this only sees that nothing polls"


def test_a_run_process_holds_no_secret_of_its_worker(served: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSTINATO_DATABASE", "sqlite:////secret.db")
    served.work()
    found = served.value(served.ended(start(served, "knows")))
    assert found == {"OSTINATO_API": served.settings.api, "token": ""}


def test_low_descriptors_may_be_closed(served: Bench) -> None:
    worker = served.work(slots=1)
    before = served.value(served.ended(start(served, "tells_process")))
    run = served.ended(start(served, "closes_everything"))
    assert (served.value(run), run.epoch) == (2, 1)
    assert served.value(served.ended(start(served, "tells_process")))[0] == before[0]
    assert len(worker.launcher.process_ids) == 1


def test_a_killed_process_is_given_back_through_the_server(served: Bench) -> None:
    worker = served.work(slots=1)
    run_id = start(served, "goes_on")
    served.begun("go waits")
    os.kill(worker.launcher.process_ids[0], signal.SIGKILL)
    served.begun("go waits", 2)
    (served.folder / "ledger.go").touch()
    assert served.value(served.ended(run_id)) == 2
    assert served.lines().count("first") == 1


def test_a_cancel_reaches_a_run_through_the_server(served: Bench) -> None:
    served.work(slots=1)
    run_id = start(served, "holds")
    served.begun("holds")
    served.store.request_cancel(run_id)
    assert served.ended(run_id).state is State.CANCELLED


def test_a_dead_worker_is_noticed_and_another_goes_on_with_nobody_looking(served: Bench) -> None:
    process = served.work_apart(slots=1)
    run_id = start(served, "goes_on")
    served.begun("go waits")
    process.kill()
    process.wait(10)
    served.work(slots=1)
    served.begun("go waits", 2)
    (served.folder / "ledger.go").touch()
    assert served.value(served.ended(run_id)) == 2
    assert served.lines().count("first") == 1


def test_a_draining_worker_leaves_its_long_poll(served: Bench) -> None:
    process = served.work_apart(slots=1)
    until(lambda: [worker for worker in served.store.list_workers() if worker.kind == "worker"], "it to register")
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    until(lambda: not [worker for worker in served.store.list_workers() if worker.kind == "worker"], "it to leave")
