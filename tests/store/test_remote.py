"""The store over HTTP when something goes wrong: servers that restart, replies that are lost, tokens that do not fit."""

from __future__ import annotations

import gzip
import hashlib
import inspect
import itertools
import socket
import threading
import time
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.network import Proxy, ServerThread
from tests.process import Ledger, Script, environment, until
from tests.store.builders import a_run, a_task_run, a_worker, an_event, end, new_run

from ostinato import link
from ostinato.access import Role, Token
from ostinato.clock import SECOND
from ostinato.errors import (
    AccessError,
    ProtocolError,
    ResultError,
    SettingError,
    StaleEpochError,
    StoreError,
    StoreUnavailableError,
    UnknownRunError,
    UsageError,
)
from ostinato.io.results import ResultStore, hasher
from ostinato.link import Link
from ostinato.records import Commit, RunFilter
from ostinato.server.tokens import LIFETIME, sign_run
from ostinato.states import State
from ostinato.store import numbering, remote, wire
from ostinato.store.open import open_store
from ostinato.store.remote import RemoteStore
from ostinato.store.store import Store
from ostinato.work import Offer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ostinato.records import Run

OK = 200


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerThread]:
    """A server on a store of its own, its leases so long that no test meets their end."""
    path = f"sqlite:///{tmp_path}/ostinato.db"
    with ServerThread(lambda: open_store(path, durability="crash-safe", lease=600), tmp_path / "results") as running:
        yield running


@pytest.fixture
def proxy(server: ServerThread) -> Iterator[Proxy]:
    """A network in front of it."""
    with Proxy(server.port) as running:
        yield running


@pytest.fixture
def store(proxy: Proxy) -> Iterator[RemoteStore]:
    """A store behind that network."""
    opened = RemoteStore(proxy.url, patience=20)
    yield opened
    opened.close()


def token_of(server: ServerThread, run: Run, **more: float) -> str:
    """Make the token of a run."""
    return sign_run(server.store.secret("run_tokens"), run.id, time.time_ns() // 1000, **more)


def raw(port: int, request: bytes) -> bytes:
    """Send bytes and return what comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request)
        with connection.makefile("rb") as answer:
            head = list(iter(answer.readline, b"\r\n"))
            lengths = [int(line.split(b":")[1]) for line in head if line.lower().startswith(b"content-length")]
            return b"".join(head) + answer.read(lengths[0])


def post(server: ServerThread, verb: str, body: bytes, *headers: str) -> tuple[int, bytes]:
    """Ask for a verb without our own client; returns the status and all that came."""
    lines = [f"POST /api/store/{verb} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}", *headers]
    answer = raw(server.port, "\r\n".join([*lines, "", ""]).encode() + body)
    return int(answer[9:12]), answer


# --- the table of verbs


def test_verbs_are_those_of_the_protocol_with_the_same_arguments() -> None:
    methods = {name for name in dir(Store) if not name.startswith("_")}
    assert methods - set(wire.VERBS) == {"close", "watch", "secret", "get_webhook", "receive"}
    assert set(wire.VERBS) <= methods
    for name, verb in wire.VERBS.items():
        arguments = [argument for argument in inspect.signature(getattr(Store, name)).parameters if argument != "self"]
        assert list(verb.takes) == arguments + (["skip"] if name == "load" else [])


# --- a server that is away


def test_commits_outlive_a_restart_of_the_server_and_none_is_lost_or_doubled(
    server: ServerThread, store: RemoteStore
) -> None:
    run = a_run(store)
    restarts: list[int] = []

    def commit_on() -> Iterator[int]:
        for seq in itertools.count():
            store.commit(run.id, 1, Commit(task_runs=[a_task_run(run, seq)], events=[an_event(run, f"e.{seq}")]))
            yield seq
            if len(restarts) == 3 and seq > 50:
                return

    def restart() -> None:
        for number in range(3):
            server.restart()
            restarts.append(number)

    restarting = threading.Thread(target=restart)
    restarting.start()
    done = list(commit_on())
    restarting.join()
    assert [row.seq for row in store.load(run.id)] == done
    kinds = [stored.event.kind for stored in store.list_events(run.id, limit=100_000)]
    assert [kind for kind in kinds if kind.startswith("e.")] == [f"e.{seq}" for seq in done]


def test_commit_whose_reply_is_lost_is_written_once(proxy: Proxy, store: RemoteStore) -> None:
    run = a_run(store)
    store.commit(run.id, 1, Commit(task_runs=[a_task_run(run, 0)]))
    proxy.loses_replies = 1
    store.commit(run.id, 1, Commit(task_runs=[a_task_run(run, 1)], events=[an_event(run, "once")]))
    assert proxy.lost == 1
    assert [stored.event.kind for stored in store.list_events(run.id)].count("once") == 1
    assert store.get_run(run.id).commits == 2


def test_commit_that_ends_the_run_is_answered_again_when_its_reply_was_lost(proxy: Proxy, store: RemoteStore) -> None:
    run = a_run(store)
    proxy.loses_replies = 1
    end(store, run)
    assert proxy.lost == 1
    assert store.get_run(run.id).state is State.SUCCEEDED


def test_commit_that_arrives_late_is_not_written_over_a_newer_one(
    server: ServerThread, proxy: Proxy, store: RemoteStore
) -> None:
    run = a_run(store)
    store.commit(run.id, 1, Commit())
    proxy.passed.clear()
    store.commit(run.id, 1, Commit(task_runs=[a_task_run(run, state=State.RUNNING)], events=[an_event(run, "old")]))
    old = bytes(proxy.passed)
    store.commit(run.id, 1, Commit(task_runs=[a_task_run(run, state=State.SUCCEEDED)]))
    assert raw(server.port, old).startswith(b"HTTP/1.1 200")
    assert next(store.load(run.id)).state is State.SUCCEEDED
    assert [stored.event.kind for stored in store.list_events(run.id)].count("old") == 1


def test_create_and_reopen_whose_replies_are_lost_happen_once(proxy: Proxy, store: RemoteStore) -> None:
    a_worker(store)
    run = new_run(store, state=State.CRASHED)
    proxy.loses_replies = 1
    assert store.create(run).id == run.id
    proxy.loses_replies = 1
    assert store.reopen(run.id, "w1", epoch=0).epoch == 1
    assert proxy.lost == 2
    assert store.get_run(run.id).epoch == 1


def test_request_that_cannot_be_repeated_says_that_its_fate_is_unknown(proxy: Proxy, store: RemoteStore) -> None:
    run = a_run(store)
    proxy.loses_replies = 1
    with pytest.raises(StoreUnavailableError, match="not known whether it went through"):
        store.request_cancel(run.id)
    assert store.get_run(run.id).cancel_requested_at is not None


def test_runs_of_a_claim_whose_reply_is_lost_go_back_to_the_queue(proxy: Proxy, store: RemoteStore) -> None:
    a_worker(store)
    run = store.create(new_run(store, pool="p"))
    proxy.loses_replies = 1
    offer = Offer(pools=["p"], slots=1)
    with pytest.raises(StoreUnavailableError, match="not known"):
        store.claim("w1", offer)
    assert store.get_run(run.id).state is State.RUNNING
    (claim,) = store.claim("w1", offer, wait=5)
    assert (claim.run.id, claim.run.recoveries) == (run.id, 0)
    assert claim.run.epoch > 1, "who heard of it after all would be refused"
    assert claim.token.startswith("ostr_")


def test_journal_that_breaks_off_is_taken_up_again(
    proxy: Proxy, store: RemoteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run(store)
    monkeypatch.setattr(wire, "_PAGE", 7)
    rows = [a_task_run(run, seq, inputs=bytes(range(256)) * 40) for seq in range(300)]
    store.commit(run.id, 1, Commit(task_runs=rows))
    found = []
    for row in store.load(run.id):
        found.append(row.seq)
        if row.seq in (3, 100):
            proxy.cut()
    assert found == list(range(300))


def test_server_that_is_not_there_is_named_with_what_to_do(server: ServerThread) -> None:
    url = server.url
    server.stop()
    with pytest.raises(StoreUnavailableError, match=f"{url} cannot be reached.*ostinato server.*OSTINATO_API"):
        RemoteStore(url, patience=0).now()
    with pytest.raises(SettingError, match="http://HOST:PORT"):
        RemoteStore("http://")


def test_store_asks_the_next_of_several_servers_while_one_is_away(server: ServerThread, tmp_path: Path) -> None:
    path = f"sqlite:///{tmp_path}/ostinato.db"
    other = ServerThread(lambda: open_store(path, durability="crash-safe", lease=600), tmp_path / "results")
    store = RemoteStore(f"{server.url}, {other.url}/", patience=20)
    results = ResultStore(f"{server.url}/api/blobs,{other.url}/api/blobs")
    run = a_run(store)
    digest = results.put(b"kept by both")
    server.stop()
    store.commit(run.id, run.epoch, Commit(task_runs=[a_task_run(run)]))
    assert results.get(digest) == b"kept by both"
    server.start()
    other.stop()
    assert [row.run_id for row in store.load(run.id)] == [run.id]
    assert results.get(digest) == b"kept by both"
    server.stop()
    with pytest.raises(StoreUnavailableError, match=f"{server.url} or {other.url} cannot be reached"):
        RemoteStore(f"{server.url},{other.url}", patience=0).now()
    store.close()


def test_beat_gives_up_in_time_for_its_lease(proxy: Proxy) -> None:
    store = RemoteStore(proxy.url, lease=0.6)
    a_worker(store)
    proxy.refuses = True
    proxy.cut()
    begun = time.monotonic()
    with pytest.raises(StoreUnavailableError):
        store.beat("w1")
    assert time.monotonic() - begun < 0.6


FLOW = """
import sys, time
from pathlib import Path
from ostinato import flow, task
from tests.process import write_line

@task
def step(n: int) -> int:
    write_line(sys.argv[1], str(n))
    time.sleep(0.005)
    return n

@flow
def steps() -> int:
    return sum(step(n) for n in range(400))

if __name__ == "__main__":
    print("sum", steps())
"""


def test_run_in_a_process_of_its_own_outlives_a_restart_of_its_server(server: ServerThread, tmp_path: Path) -> None:
    ledger, path = Ledger(tmp_path / "ledger"), tmp_path / "steps.py"
    path.write_text(FLOW)
    script = Script(path, str(ledger.path), env=environment(tmp_path / "home", OSTINATO_API=server.url))
    until(lambda: len(ledger) > 20 or not script.is_running, "the run to be under way")
    server.stop()
    server.start()
    assert script.wait() == 0, script.err
    assert "sum 79800" in script.out
    assert sorted(map(int, ledger.lines())) == list(range(400)), "each task ran once"
    (run,) = server.store.list_runs(RunFilter())
    assert run.state is State.SUCCEEDED
    assert {row.state for row in server.store.load(run.id)} == {State.SUCCEEDED}


def test_numbers_of_the_caller_and_our_own_go_together(store: RemoteStore) -> None:
    run = a_run(store)
    for seq, number in enumerate((1, 2, None, 4, None)):
        store.commit(run.id, 1, Commit(task_runs=[a_task_run(run, seq)]), number=number)
    assert [row.seq for row in store.load(run.id)] == list(range(5))


# --- bodies


def test_large_bodies_travel_packed_both_ways(proxy: Proxy, store: RemoteStore) -> None:
    run = a_run(store)
    rows = [a_task_run(run, seq, inputs=b"x" * 2000) for seq in range(100)]
    proxy.passed.clear()
    store.commit(run.id, 1, Commit(task_runs=rows))
    assert b"Content-Encoding: gzip" in proxy.passed
    assert len(proxy.passed) < 50_000
    assert [row.inputs for row in store.list_task_runs(run.id)] == [b"x" * 2000] * 100


def test_commit_too_large_for_a_message_is_sent_in_parts(store: RemoteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    run = a_run(store)
    monkeypatch.setattr(remote, "_ROOM", 5_000)
    rows = [a_task_run(run, seq, inputs=b"x" * 1000) for seq in range(20)]
    store.commit(run.id, 1, Commit(task_runs=rows, events=[an_event(run, "once")]))
    end(store, run)
    found = store.get_run(run.id)
    assert found.state is State.SUCCEEDED
    assert found.commits > 5
    assert [row.seq for row in store.load(run.id)] == list(range(20))
    assert [stored.event.kind for stored in store.list_events(run.id)].count("once") == 1


def test_halves_of_a_commit_hold_all_of_it_and_its_end_last() -> None:
    run = msgspec.convert({"id": "r", "flow": "f", "state": "running", "lineage": "r"}, type=wire.Run)
    whole = Commit(task_runs=[a_task_run(run, seq) for seq in range(3)], blobs=["b"], orphans=[9])
    first, rest = numbering.halves(whole) or (Commit(), Commit())
    assert [*first.task_runs, *rest.task_runs] == whole.task_runs
    assert (first.blobs, rest.orphans, first.orphans) == (["b"], [9], ())
    assert numbering.halves(Commit(task_runs=whole.task_runs[:1])) is None


def test_bodies_that_are_too_large_or_bombs_or_malformed_are_refused_clearly(server: ServerThread) -> None:
    bomb = gzip.compress(b"\0" * (wire.MOST + 10), 9)
    status, answer = post(server, "get_run", bomb, "Content-Encoding: gzip")
    assert status == 400
    assert b"unpacks to more than" in answer
    for body, headers in ((b"\xc1", ()), (b"\x91\x01", ()), (b"no gzip", ("Content-Encoding: gzip",))):
        status, answer = post(server, "get_run", body, *headers)
        assert (status, b"run_id" in answer) == (400, True)
    status, answer = post(server, "comit", b"\x90")
    assert status == 404
    assert b"Did you mean 'commit'?" in answer
    status, answer = post(server, "secret", b"\x91\xaarun_tokens")
    assert status == 404


def test_body_that_says_it_is_too_large_is_not_read(server: ServerThread) -> None:
    head = f"POST /api/store/now HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {wire.MOST + 1}\r\n\r\n"
    answer = raw(server.port, head.encode())
    assert answer.startswith(b"HTTP/1.1 413")
    assert f"{wire.MOST:,}".encode() in answer


def test_other_protocol_is_refused_with_which_side_is_older(
    server: ServerThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    for spoken, older in ((0, "client is the older"), (2, "server is the older")):
        monkeypatch.setattr(link, "PROTOCOL", spoken)
        with pytest.raises(ProtocolError, match=older):
            RemoteStore(server.url).now()


def test_errors_come_out_as_what_they_went_in(store: RemoteStore) -> None:
    with pytest.raises(UnknownRunError, match="no run 'nobody'"):
        store.get_run("nobody")
    with pytest.raises(StaleEpochError):
        store.commit("nobody", 1, Commit())


# --- tokens


def test_token_of_a_run_reaches_its_run_and_what_came_of_it_and_nothing_else(
    server: ServerThread, store: RemoteStore
) -> None:
    own, other = a_run(store), a_run(store)
    store.commit(other.id, 1, Commit(task_runs=[a_task_run(other)]))
    store.token = token_of(server, own)
    store.commit(own.id, 1, Commit(task_runs=[a_task_run(own)]))
    child = store.create(new_run(store, parent_run_id=own.id, state=State.RUNNING, worker_id="w1"))
    store.commit(child.id, 1, Commit(task_runs=[a_task_run(child)]))
    deployed = store.create(new_run(store, parent_run_id=own.id, pool="p"))
    assert store.get_run(deployed.id).state is State.QUEUED
    assert store.await_runs([deployed.id]) == []
    assert [row.seq for row in store.load(own.id)] == [0]
    for refused in (
        lambda: store.get_run(other.id),
        lambda: store.commit(other.id, 1, Commit()),
        lambda: list(store.load(other.id)),
        lambda: store.list_task_runs(other.id),
        store.list_events,
        lambda: store.list_runs(RunFilter()),
        lambda: store.request_cancel(other.id),
        lambda: store.await_runs([own.id, other.id]),
        lambda: store.commit(deployed.id, 0, Commit()),
        lambda: store.create(new_run(store)),
        lambda: store.create(new_run(store, id=other.id, parent_run_id=own.id)),
        lambda: store.create(new_run(store, parent_run_id=own.id, branch_of=other.id)),
        lambda: store.create(new_run(store, parent_run_id=own.id, state=State.RUNNING, worker_id="w2")),
        lambda: store.emit([an_event(other)]),
        lambda: store.emit([an_event(own, "audit.forged")]),
        store.list_users,
        store.list_tokens,
        lambda: store.beat("w1"),
        lambda: store.claim("w1", Offer(pools=["p"], slots=1)),
        lambda: store.secret("run_tokens"),
    ):
        with pytest.raises(AccessError):
            refused()


def test_cancelling_a_run_takes_its_child_runs_along_whoever_asks(server: ServerThread, store: RemoteStore) -> None:
    for is_run in (False, True):
        own = a_run(store)
        child = store.create(new_run(store, parent_run_id=own.id, pool="p"))
        grandchild = store.create(new_run(store, parent_run_id=child.id, pool="p"))
        waiting = a_run(store, None, parent_run_id=own.id, pool="p")
        store.token = token_of(server, own) if is_run else ""
        assert store.request_cancel(child.id if is_run else own.id).state is (
            State.CANCELLED if is_run else State.RUNNING
        )
        store.token = ""
        found = [store.get_run(run.id).state for run in (child, grandchild, waiting)]
        assert found == [State.CANCELLED, State.CANCELLED, State.QUEUED if is_run else State.CANCELLED]


def test_token_of_a_run_that_was_forked_reads_what_it_was_forked_from(server: ServerThread, store: RemoteStore) -> None:
    source = a_run(store)
    store.commit(source.id, 1, Commit(task_runs=[a_task_run(source)]))
    fork = a_run(store, branch_of=source.id, lineage=source.id)
    store.token = token_of(server, fork)
    assert [row.run_id for row in store.load(fork.id)] == [source.id]
    assert store.get_run(source.id).id == source.id
    with pytest.raises(AccessError):
        store.commit(source.id, 1, Commit())


def test_token_that_is_expired_or_foreign_or_damaged_is_refused_with_what_to_do(
    server: ServerThread, store: RemoteStore
) -> None:
    run = a_run(store)
    good = token_of(server, run)
    foreign = sign_run(b"x" * 32, run.id, time.time_ns() // 1000)
    for token, why in (
        (token_of(server, run, lifetime=-1), "expired"),
        (foreign, "not signed by this server"),
        (good[:-3], "damaged"),
        ("ostr_", "damaged"),
        ("ost_unknown", "ostinato tokens create"),
    ):
        store.token = token
        with pytest.raises(AccessError, match=why):
            store.get_run(run.id)
    store.token = good
    assert store.get_run(run.id).id == run.id


def test_token_of_a_run_that_is_held_is_renewed_when_half_of_its_time_is_over(
    server: ServerThread, store: RemoteStore
) -> None:
    run = a_run(store)
    fresh = token_of(server, run, lifetime=LIFETIME / 2 + 100)
    store.token = fresh
    store.get_run(run.id)
    assert store.token == fresh
    store.token = old = token_of(server, run, lifetime=LIFETIME / 2 - 10)
    store.get_run(run.id)
    assert store.token not in (old, fresh)
    store.commit(run.id, 1, Commit())
    end(store, run)
    store.token = old
    store.get_run(run.id)
    assert store.token == old, "of a run that has ended no token is renewed"


def test_closed_server_asks_for_a_token_and_says_how_to_get_one(tmp_path: Path) -> None:
    path = f"sqlite:///{tmp_path}/ostinato.db"
    with (
        ServerThread(lambda: open_store(path), tmp_path / "results", is_open=False) as server,
        pytest.raises(AccessError, match="OSTINATO_TOKEN.*ostinato tokens create"),
    ):
        RemoteStore(server.url).now()


def test_token_of_a_run_sees_the_run_that_its_key_names(server: ServerThread, store: RemoteStore) -> None:
    own = a_run(store)
    there = store.create(new_run(store, pool="p", key="once"))
    store.token = token_of(server, own)
    with pytest.raises(AccessError):
        store.get_run(there.id)
    assert store.create(new_run(store, pool="p", key="once", parent_run_id=own.id)).id == there.id
    assert store.await_runs([there.id]) == []
    assert store.get_run(there.id).id == there.id


def test_token_of_a_worker_serves_its_pools_and_no_other(server: ServerThread, store: RemoteStore) -> None:
    text = "ost_" + "w" * 43
    digest = hashlib.sha256(text.encode()).hexdigest()
    token = Token(id="ost_www", hash=digest, name="w", role=Role.WORKER, pools=["p"], created_at=1)
    server.store.put_token(token)
    a_worker(store)
    store.token = text
    assert store.claim("w1", Offer(pools=["p"], slots=1)) == []
    for refused in (
        lambda: store.claim("w1", Offer(pools=["p", "q"], slots=1)),
        lambda: store.find_runs("x"),
        lambda: store.put_token(token),
    ):
        with pytest.raises(AccessError):
            refused()


# --- blobs


def test_results_are_kept_by_the_server_whatever_their_size(server: ServerThread, store: RemoteStore) -> None:
    run = a_run(store)
    results = ResultStore(f"{server.url}/api/blobs", token=lambda: token_of(server, run))
    for size in (0, 5_000, 3_000_000):
        data = bytes(range(256)) * (size // 256) + b"end"
        digest = results.put(data)
        assert results.get(digest) == data
        assert results.put(data) == digest
        assert (results.find_age(digest) or 0) < SECOND
    assert results.find_age("0" * 64) is None
    with pytest.raises(ResultError, match="missing"):
        results.get("0" * 64)


def test_blob_under_a_wrong_name_or_token_is_refused(server: ServerThread) -> None:
    way = Link(server.url)
    with pytest.raises(UsageError, match="have the hash"):
        way.call("PUT", f"/api/blobs/{'0' * 64}", b"abc")
    with pytest.raises(UsageError, match="64 hexadecimal"):
        way.call("GET", "/api/blobs/etc")
    assert way.call("GET", f"/api/blobs/{'0' * 64}").status == 404
    way.token = "ostr_forged"
    with pytest.raises(AccessError):
        way.call("PUT", f"/api/blobs/{hasher(b'abc').hexdigest()}", b"abc")


def test_request_beyond_what_a_server_takes_is_not_sent(store: RemoteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MOST", 1000)
    with pytest.raises(StoreError, match="OSTINATO_INLINE_LIMIT"):
        store.find_runs("x" * 2000)


def test_token_of_a_run_may_wait_for_a_child_run_that_is_not_there_yet(
    server: ServerThread, store: RemoteStore
) -> None:
    run, other = a_run(store), a_run(store)
    store.token = token_of(server, run)
    assert store.await_runs(["a" * 16]) == []
    with pytest.raises(AccessError):
        store.await_runs([other.id])
