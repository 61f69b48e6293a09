"""A worker may be started before its server."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from tests.chaos.system import Program, free_port
from tests.process import environment, until

from ostinato.store.open import open_store

if TYPE_CHECKING:
    from pathlib import Path


def test_a_worker_waits_for_a_server_that_is_not_there_yet(tmp_path: Path) -> None:
    port, database = free_port(), f"sqlite:///{tmp_path}/test.db"
    env = environment(tmp_path / "home", OSTINATO_DATABASE=database)
    worker = Program("worker", ["worker", "--slots", "1"], env | {"OSTINATO_API": f"http://127.0.0.1:{port}"}, tmp_path)
    server = Program("server", ["server", "--port", str(port)], env, tmp_path)
    try:
        worker.start()
        until(lambda: "Waiting for the server" in worker.tail(), worker.tail)
        server.start()
        store = open_store(database)
        until(lambda: [each.slots for each in store.list_workers()] == [1], worker.tail)
        store.close()
    finally:
        worker.kill()
        server.kill()


def test_a_worker_that_waits_for_its_server_can_be_told_to_end(tmp_path: Path) -> None:
    env = environment(tmp_path / "home", OSTINATO_API=f"http://127.0.0.1:{free_port()}")
    worker = Program("worker", ["worker", "--slots", "1"], env, tmp_path)
    try:
        worker.start()
        until(lambda: "Waiting for the server" in worker.tail(), worker.tail)
        assert worker.process is not None
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(20) == 0, worker.tail()
    finally:
        worker.kill()
