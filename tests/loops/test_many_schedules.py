"""Very many schedules due at one instant, two real servers of one PostgreSQL, and kill -9 in the middle."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from tests.postgres import postgres_server, postgres_template, postgres_url  # noqa: F401
from tests.process import environment, until
from tests.store.builders import a_deployed, a_project

from ostinato.clock import SECOND
from ostinato.records import RunFilter
from ostinato.schedules import Cron, to_spec
from ostinato.store.open import open_store
from ostinato.timing import Schedule, Timing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ostinato.store.store import Store


class Server:
    """``ostinato server`` as a process."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder, self._url = folder, url
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        env = environment(self._folder / "home", OSTINATO_DATABASE=self._url)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ostinato", "server", "--port", "0"],
            cwd=self._folder, env=env, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert self.process.stdout is not None
        assert self.process.stdout.readline()  # it says where it listens once it does

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(30)
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None


@pytest.fixture
def servers(tmp_path: Path, postgres_url: str) -> Iterator[list[Server]]:
    both = [Server(tmp_path, postgres_url) for _ in range(2)]
    yield both
    for one in both:
        one.kill()


def looked_at(store: Store, instant: int) -> bool:
    """Tell whether every schedule has been decided up to an instant."""
    following = store.survey().next_look_at
    return following is not None and following > instant


def started(store: Store) -> dict[int, Counter[str]]:
    """Count the runs by what they were meant for and by whom they were made."""
    found: dict[int, Counter[str]] = {}
    before = None
    while page := store.list_runs(RunFilter(limit=5000, before=before)):
        for run in page:
            assert run.scheduled_at is not None
            assert run.created_by is not None
            found.setdefault(run.scheduled_at, Counter())[run.created_by] += 1
        before = page[-1].id
    return found


def run_through(servers: list[Server], url: str, *, count: int, every: int, rounds: int) -> None:
    store = open_store(url)
    try:
        spec = to_spec(Cron(f"*/{every} * * * * *", catchup="all"))
        names = [f"s{number:05}" for number in range(count)]
        schedules = [Schedule(name=name, deployment="f", spec=spec) for name in names]
        store.put_project(a_project(), [a_deployed("f")], Timing(schedules=schedules))
        begin = store.now()
        for one in servers:
            one.start()
        until(lambda: looked_at(store, begin), "the first look", 60)
        instant = 0
        for number in range(rounds):
            now = store.now()
            instant = now - now % (every * SECOND) + every * SECOND
            if instant - now < 2 * SECOND:
                instant += every * SECOND
            time.sleep(
                (instant - store.now()) / SECOND + 0.03 * (number % 4)
            )  # the instant itself is what is waited for
            victim = servers[number % 2]
            victim.kill()
            until(lambda at=instant: looked_at(store, at), "the server that is left to do all of it", 60)
            victim.start()
        found = started(store)
        expected = {f"schedule:{name}" for name in names}
        last = max(found)
        wanted = list(range(begin - begin % (every * SECOND) + every * SECOND, instant + 1, every * SECOND))
        assert [at for at in wanted if at not in found] == []
        for at in (at for at in found if at < last):
            assert set(found[at]) == expected
        assert all(count == 1 for by_name in found.values() for count in by_name.values())
        counts = store.info().counts
        assert counts["tick"] >= len(wanted) * count
    finally:
        store.close()


def test_each_of_many_schedules_fires_once_though_servers_are_killed_in_the_middle(
    servers: list[Server], postgres_url: str
):
    run_through(servers, postgres_url, count=500, every=5, rounds=3)


@pytest.mark.soak
def test_each_of_ten_thousand_schedules_fires_once_though_servers_are_killed_in_the_middle(
    servers: list[Server], postgres_url: str
):
    run_through(servers, postgres_url, count=10_000, every=20, rounds=6)
