"""A server as a process: where it listens, how soon it answers, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import httpx
import msgspec
import psutil
import pytest
from tests.postgres import PostgresServer
from tests.process import environment, until
from tests.serving import running
from tests.store.builders import claim, queued

from ostinato.errors import UsageError
from ostinato.records import Worker
from ostinato.server.serving import Serving
from ostinato.states import State
from ostinato.store import migrate, wire
from ostinato.work import Offer, ProcessEnd

if TYPE_CHECKING:
    from pathlib import Path

    from ostinato.settings import Settings

SERVE = """
import sys
from ostinato.records import Worker
from ostinato.server.serving import Serving
from ostinato.settings import load_settings
Serving(load_settings(), port=0).run(lambda url: print(url, flush=True))
print("ended", flush=True)
"""


def process(home: Path, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SERVE],
        env=environment(home, **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_port_that_is_taken_is_told_with_who_has_it(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UsageError, match=rf"Port {port} on 127.0.0.1 is taken by process {os.getpid()} .*--port"):
            Serving(settings, port=port)


def test_a_second_server_on_a_port_touches_no_database(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        with pytest.raises(UsageError):
            Serving(settings, port=other.getsockname()[1])
        assert not settings.home_path.exists()


def test_a_server_ends_in_order_when_it_is_told_to(tmp_path: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        server = process(tmp_path)
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        assert httpx.get(f"{url}/api/ready").status_code == 200
        server.send_signal(number)
        out, err = server.communicate(timeout=10)
        assert (server.returncode, out.strip()) == (0, "ended"), err
        assert "Traceback" not in err


def test_a_server_answers_after_less_than_a_second_of_work(tmp_path: Path) -> None:
    took = []
    for _ in range(3):  # the first makes the bytecode and the database
        server = process(tmp_path, PYTHONDONTWRITEBYTECODE="", PYTHONPYCACHEPREFIX=str(tmp_path))
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        assert httpx.get(f"{url}/api/health").status_code == 200
        spent = psutil.Process(server.pid).cpu_times()
        took.append(spent.user + spent.system)
        server.terminate()
        server.communicate(timeout=10)
    assert min(took) < 1  # of processor time: the machine may have other things to do


def test_long_polls_are_sent_away_when_the_server_ends(settings: Settings) -> None:
    with running(settings) as server:
        now = server.store.now()
        worker = {"id": "w1", "kind": "worker", "host": "h", "pid": 1, "pid_started": "", "version": "1"}
        server.store.register(Worker(**worker, started_at=now, expires_at=now, pools=["default"], slots=1))
        body = msgspec.msgpack.encode(["w1", Offer(pools=["default"], slots=1), 30.0])
        answers: list[httpx.Response] = []

        def wait() -> None:
            url = f"{server.url}{wire.PATH}claim"
            answers.append(httpx.post(url, content=body, headers={"Content-Type": "application/msgpack"}, timeout=30))

        thread = threading.Thread(target=wait)
        thread.start()
        until(lambda: server.serving.served.dispatcher.waiting, "the long poll to wait")
        started = time.monotonic()
        server.stop()
        thread.join(5)
        assert time.monotonic() - started < 2
        assert [answer.status_code for answer in answers] == [503]


def test_a_server_that_could_not_open_its_store_lets_the_port_go(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    with pytest.raises(Exception, match="(?i)scheme|database"):
        Serving(msgspec.structs.replace(settings, database="nonsense://x"), port=port)
    socket.create_server(("127.0.0.1", port)).close()


def test_a_server_begins_a_lost_run_again_as_often_as_the_setting_says(settings: Settings) -> None:
    with running(msgspec.structs.replace(settings, max_recoveries=1)) as server:
        store = server.store
        run = queued(store)
        for state in (State.QUEUED, State.CRASHED):
            (claimed,) = claim(store)
            lost = store.give_back(
                claimed.worker_id or "", run.id, claimed.epoch, ProcessEnd(reason="killed", message="it")
            )
            assert lost.state is state
        assert lost.reason == "poisonous"


def test_a_server_waits_for_a_database_that_is_being_started(tmp_path: Path) -> None:
    own = PostgresServer()
    name = own.new_database()
    migrate.upgrade(own.url(name))
    own.halt()
    try:
        server = process(tmp_path, OSTINATO_DATABASE=own.url(name))
        with server:
            assert server.stderr is not None
            assert "Waiting for it" in server.stderr.readline()
            own.start()
            assert server.stdout is not None
            assert server.stdout.readline().startswith("http://127.0.0.1:")
            server.terminate()
    finally:
        own.stop()
