"""A real server for the tests: uvicorn on a free port of this machine, in a thread, with the loops it always has."""

from __future__ import annotations

import contextlib
import json
import threading
from typing import TYPE_CHECKING, Any

import httpx
import msgspec

from ostinato.records import Attempt, Commit, Event, LogBatch, LogLine, RunEnd, TaskRun, Worker
from ostinato.server.accounts import create_token, create_user
from ostinato.server.serving import Serving
from ostinato.states import State
from ostinato.work import Deployed, Offer, Project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ostinato.settings import Settings
    from ostinato.store.store import Store

SCHEMA = {
    "type": "object",
    "properties": {
        "cities": {"type": "array", "items": {"type": "string"}},
        "days": {"type": "integer", "default": 1, "minimum": 1},
        "place": {"anyOf": [{"$ref": "#/$defs/Place"}, {"type": "null"}], "default": None},
    },
    "required": ["cities"],
    "additionalProperties": False,
    "$defs": {"Place": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}},
}


class Running:
    """A server that answers, and somebody to ask it."""

    def __init__(self, serving: Serving, thread: threading.Thread) -> None:
        self.serving = serving
        self.thread = thread
        self.store: Store = serving.store
        self.url = serving.url
        self.http = httpx.Client(base_url=serving.url, timeout=20)

    def as_user(self, name: str, role: str) -> dict[str, str]:
        """Make a user with a token; the headers that show it."""
        create_user(self.store, name, role=role)
        return self.token(name, user=name)

    def token(self, name: str, **options: Any) -> dict[str, str]:
        return {"Authorization": f"Bearer {create_token(self.store, name, **options).text}"}

    def deploy(self, *names: str, **options: Any) -> None:
        options = {"schema": json.dumps(SCHEMA), "tags": ["weather"], **options}
        deployed = [
            Deployed(name=name, flow=name, project="demo", target=f"/demo/flows.py:{name}", **options) for name in names
        ]
        self.store.put_project(Project(name="demo", root="/demo", host="here"), deployed)

    def start(self, name: str = "weather", **order: Any) -> dict[str, Any]:
        answer = self.http.post("/api/runs", json={"deployment": name, "parameters": {"cities": ["Oslo"]}} | order)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    def stop(self) -> None:
        self.serving.stop()
        self.thread.join(20)
        assert not self.thread.is_alive()


@contextlib.contextmanager
def running(settings: Settings, prepare: Callable[[Store], None] | None = None, **options: Any) -> Iterator[Running]:
    """Run a server while the context lasts."""
    serving = Serving(settings, port=0, **options)
    ready = threading.Event()
    thread = threading.Thread(target=lambda: serving.run(lambda _url: ready.set()), daemon=True)
    thread.start()
    assert ready.wait(20)
    server = Running(serving, thread)
    try:
        yield server
    finally:
        server.http.close()
        server.stop()


def carried_out(server: Running, run_id: str, *, tasks: int = 3, end: bool = True) -> None:
    """Do what a worker and a run's process do, without them."""
    store, now = server.store, server.store.now()
    worker = Worker(
        id="w1", kind="worker", host="here/x/y", pid=1, pid_started="", version="1", started_at=now, expires_at=now,
        pools=["default"], slots=4,
    )  # fmt: skip
    if not any(known.id == "w1" for known in store.list_workers()):
        store.register(worker)
    claimed = {claim.run.id: claim.run for claim in store.claim("w1", Offer(pools=["default"], slots=10))}
    run = claimed[run_id]
    rows = [
        TaskRun(
            run_id=run_id, seq=seq, id=f"{seq:032x}", task="flows.fetch", key=f"k{seq}", state=State.SUCCEEDED, epoch=run.epoch,
            attempt=2, created_at=now, started_at=now, finished_at=now, upstream=None if seq == 0 else f"0-{seq - 1}",
        )
        for seq in range(tasks)
    ]  # fmt: skip
    lines = [LogLine(now, 20, "ostinato", 0, 1, "fetched <b>Oslo</b>"), LogLine(now, 40, "stderr", None, 1, "bad")]
    store.commit(
        run_id,
        run.epoch,
        Commit(
            task_runs=rows,
            attempts=[Attempt(run_id=run_id, seq=0, attempt=1, epoch=run.epoch, state=State.FAILED)],
            logs=[
                LogBatch(
                    run_id=run_id,
                    epoch=run.epoch,
                    n=n,
                    first_at=now,
                    last_at=now,
                    level=40,
                    lines=msgspec.json.encode(lines),
                )
                for n in range(3)
            ],
            events=[Event(at=now, kind="run.started", run_id=run_id)],
            end=RunEnd(state=State.SUCCEEDED, finished_at=now) if end else None,
        ),
    )
