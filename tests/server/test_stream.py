"""Live events: as they happen, from where one stopped, and never in the way of the server's end."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.process import until
from tests.serving import running

from ostinato.errors import StoreUnavailableError
from ostinato.records import Event
from ostinato.server.served import Signal

if TYPE_CHECKING:
    from tests.serving import Running

    from ostinato.settings import Settings


class Watching:
    """Somebody who watches in a thread."""

    def __init__(self, server: Running, headers: dict[str, str] | None = None, **params: Any) -> None:
        self.events: list[dict[str, Any]] = []
        self.ids: list[int] = []
        self.text = ""
        self.opened = threading.Event()
        self._server, self._headers, self._params = server, headers or {}, params
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()
        assert self.opened.wait(10)
        until(lambda: "retry:" in self.text, "the stream to begin")

    def _read(self) -> None:
        url = f"{self._server.url}/api/events/stream"
        with httpx.stream("GET", url, params=self._params, headers=self._headers, timeout=30) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            self.opened.set()
            for line in answer.iter_lines():
                self.text += line + "\n"
                if line.startswith("id: "):
                    self.ids.append(int(line[4:]))
                if line.startswith("data: "):
                    self.events.append(json.loads(line[6:]))

    @property
    def kinds(self) -> list[str]:
        return [event["kind"] for event in self.events]


def emit(server: Running, *kinds: str, run_id: str = "") -> None:
    server.store.emit([Event(at=server.store.now(), kind=kind, run_id=run_id) for kind in kinds])
    server.serving.served.changed()


def joined(server: Running, count: int = 1) -> None:
    until(lambda: len(server.serving.app.state.feed._watchers) == count, "watchers to be there")


def test_events_arrive_as_they_happen(either: Running) -> None:
    either.deploy("weather")
    watching = Watching(either)
    joined(either)
    started = time.monotonic()
    run = either.start()
    until(lambda: "audit.run_started" in watching.kinds, "an event")
    assert time.monotonic() - started < 0.5
    assert all(event["id"] == number for event, number in zip(watching.events, watching.ids, strict=True))
    assert any(event["run_id"] == run["id"] for event in watching.events)


def test_what_was_before_is_not_sent_unless_it_is_asked_for(server: Running) -> None:
    emit(server, "a.one", "a.two", "a.three")
    watching = Watching(server)
    joined(server)
    emit(server, "a.four")
    until(lambda: watching.events, "an event")
    assert watching.kinds == ["a.four"]


def test_a_stream_goes_on_after_the_last_event_one_has(either: Running) -> None:
    emit(either, "a.one", "a.two", "a.three")
    numbers = {stored.event.kind: stored.id for stored in either.store.list_events()}
    other = Watching(either)
    joined(either)
    watching = Watching(either, {"Last-Event-ID": str(numbers["a.one"])})
    joined(either, 2)
    emit(either, "a.four")
    until(lambda: len(watching.events) >= 3, "three events")
    assert watching.kinds == ["a.two", "a.three", "a.four"]
    until(lambda: other.events, "the other's")
    assert other.kinds == ["a.four"]


def test_nothing_is_lost_or_sent_twice_to_one_who_comes_while_events_pour_in(server: Running) -> None:
    sent = []

    def pour() -> None:
        while len(sent) < 600:  # fewer in all than a watcher's buffer holds
            emit(server, "a.drop", "a.drop", "a.drop")
            sent.append(3)

    thread = threading.Thread(target=pour)
    thread.start()
    watchers = [Watching(server, {"Last-Event-ID": "0"}, kind="a.") for _ in range(4)]
    thread.join()
    for watching in watchers:
        until(lambda: len(watching.events) >= sum(sent), "all events")  # noqa: B023  # called here
        assert len(watching.ids) == len(set(watching.ids)) == sum(sent)
        assert watching.ids == sorted(watching.ids)


def test_an_event_that_comes_while_one_catches_up_is_sent_once(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    emit(server, "a.one")
    feed = server.serving.app.state.feed
    page = feed._page

    async def late(run_id: str | None, after: int) -> Any:
        if after == 0:
            emit(server, "a.late")
            while not any(watcher.buffer for watcher in feed._watchers):
                await asyncio.sleep(0)
        return await page(run_id, after)

    monkeypatch.setattr(feed, "_page", late)
    watching = Watching(server, {"Last-Event-ID": "0"})
    until(lambda: "a.late" in watching.kinds, "the late event")
    emit(server, "a.last")
    until(lambda: "a.last" in watching.kinds, "the last event")
    assert watching.kinds == ["a.one", "a.late", "a.last"]


def test_a_change_between_a_look_and_the_wait_for_the_next_is_not_missed() -> None:
    async def look() -> bool:
        signal = Signal()
        signal.bind(asyncio.get_running_loop())
        seen = signal.count
        signal.set()
        return await signal.wait(0.01, seen=seen)

    assert asyncio.run(look())


def test_a_stream_is_cut_off_when_the_database_goes_away(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> Any:
        raise StoreUnavailableError("The database cannot be reached.")

    monkeypatch.setattr(server.store, "list_events", away)
    with (
        pytest.raises(httpx.RemoteProtocolError),
        httpx.stream("GET", f"{server.url}/api/events/stream", timeout=10) as answer,
    ):
        answer.read()


def test_only_what_is_wanted_is_sent(server: Running) -> None:
    watching = Watching(server, kind="a.", run="r1")
    joined(server)
    emit(server, "a.one", "b.one", run_id="r1")
    emit(server, "a.two", run_id="r2")
    emit(server, "a.three", run_id="r1")
    until(lambda: len(watching.events) >= 2, "two events")
    assert watching.kinds == ["a.one", "a.three"]


def test_events_of_another_server_arrive_too(settings: Settings) -> None:
    with running(settings) as one, running(settings) as other:
        watching = Watching(one)
        joined(one)
        emit(other, "a.one")
        until(lambda: watching.events, "the event of the other server", 5)
        assert watching.kinds == ["a.one"]


def test_a_stream_that_is_quiet_is_kept_open(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ostinato.server.stream.HEARTBEAT", 0.1)
    watching = Watching(server)
    until(lambda: ": still here" in watching.text, "a sign of life")


def test_one_who_is_too_slow_is_sent_away(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ostinato.server.stream._BUFFER", 10)
    watching = Watching(server)
    joined(server)
    emit(server, *["a.flood"] * 50)
    until(lambda: not watching.thread.is_alive(), "the stream to end")


def test_the_server_ends_at_once_though_many_watch(settings: Settings) -> None:
    with running(settings) as server:
        watchers = [Watching(server) for _ in range(5)]
        joined(server, 5)
        started = time.monotonic()
        server.stop()
        assert time.monotonic() - started < 2
        for watching in watchers:
            until(lambda: not watching.thread.is_alive(), "the stream to end")  # noqa: B023  # called here
