"""What must check of `sleep`, `wait_for`, `ask` and `emit`: one signature for sync and async bodies."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from ostinato import flow
from ostinato.waiting import Answer, Received, Reply, ask, emit, sleep, wait_for


@dataclass
class Approval:
    ok: bool


@flow
def sync_body() -> None:
    sleep(3600)
    sleep(timedelta(days=1))
    sleep(until=datetime(2026, 1, 1, tzinfo=UTC))
    received = wait_for("orders.landed", key="4711", timeout=60)
    assert_type(received, Received)
    assert_type(received.id, int)
    assert_type(received.at, datetime)
    assert_type(received.data, Any)
    answer = ask(Approval, to="finance", title="Pay?", timeout=timedelta(hours=1), needed=2)
    assert_type(answer, Answer[Approval])
    assert_type(answer.value, Approval)
    assert_type(answer.all, list[Reply[Approval]])
    assert_type(ask(bool).value, bool)
    emit("orders.paid", key="4711", data={"amount": 3})


@flow
async def async_body() -> None:
    await sleep(3600)
    assert_type(await wait_for("orders.landed", since=datetime(2026, 1, 1, tzinfo=UTC)), Received)
    assert_type(await ask(Approval), Answer[Approval])
    one, two = await asyncio.gather(wait_for("a"), ask(bool))
    assert_type(one, Received)
    assert_type(two.value, bool)
    emit("orders.paid")
    wait_for(7)  # type: ignore[arg-type]
    ask(Approval, "finance")  # type: ignore[call-arg]
    sleep("1h")  # type: ignore[arg-type]
