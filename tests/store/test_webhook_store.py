"""Webhooks as they are stored: their secrets kept to the server, each delivery taken once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from ostinato.clock import SECOND
from ostinato.errors import AccessError, UnknownNameError
from ostinato.records import Event
from ostinato.timing import Delivery, Webhook

if TYPE_CHECKING:
    from tests.store.conftest import Opener

    from ostinato.clock import ManualClock
    from ostinato.store.store import Store


def a_hook(store: Store, name: str = "orders") -> Webhook:
    hook = Webhook(name=name, kind="orders.landed", secret="s3cret", created_at=store.now(), key_from="data.id")
    store.put_webhook(hook)
    return hook


def deliver(store: Store, signature: str, identity: str = "", remembered: int = 300 * SECOND) -> str:
    delivery = Delivery(webhook="orders", signature=signature, id=identity, remembered=remembered)
    return store.receive(delivery, Event(at=store.now(), kind="orders.landed", run_id="", key="a"))


def count(store: Store) -> int:
    return len([found for found in store.list_events(limit=1000) if found.event.kind == "orders.landed"])


def test_webhooks_are_listed_without_their_secrets(store: Store) -> None:
    a_hook(store, "b")
    a_hook(store, "a")
    assert [(hook.name, hook.secret) for hook in store.list_webhooks()] == [("a", ""), ("b", "")]
    store.remove_webhook("a")
    assert [hook.name for hook in store.list_webhooks()] == ["b"]
    with pytest.raises(UnknownNameError, match="no webhook 'bb'. Did you mean 'b'"):
        store.remove_webhook("bb")


def test_a_secret_is_for_the_server_alone(store: Store, kind: str) -> None:
    a_hook(store)
    if kind == "http":
        with pytest.raises(AccessError, match="never leaves the server"):
            store.get_webhook("orders")
        with pytest.raises(AccessError):
            deliver(store, "x")
    else:
        assert store.get_webhook("orders").secret == "s3cret"


def test_a_delivery_is_taken_once(store: Store, not_over_http: None) -> None:
    assert deliver(store, "one", "id1") == "taken"
    assert deliver(store, "one", "id1") == "replayed"
    assert deliver(store, "two", "id1") == "duplicate"
    assert deliver(store, "two", "id1") == "replayed"
    assert deliver(store, "three", "id2") == "taken"
    assert deliver(store, "four") == "taken"
    assert deliver(store, "five") == "taken"
    assert count(store) == 4


def test_deliveries_are_remembered_as_long_as_they_could_come_again(
    store: Store, opener: Opener, clock: ManualClock, not_over_http: None
) -> None:
    assert deliver(store, "one") == "taken"
    clock.move(299)
    assert deliver(opener(clock=clock), "one") == "replayed"
    clock.move(2)
    assert deliver(store, "one") == "taken"
    assert store.info().counts["webhook"] == 0


def test_a_delivery_that_comes_many_times_at_once_is_taken_once(
    store: Store, opener: Opener, clock: ManualClock, not_over_http: None
) -> None:
    stores = [opener(clock=clock) for _ in range(4)]
    found: list[str] = []
    for n in range(5):
        found.clear()
        threads = [
            threading.Thread(target=lambda s=each, k=n: found.append(deliver(s, f"sig{k}")))  # type: ignore[misc]
            for each in stores
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(found) == ["replayed", "replayed", "replayed", "taken"]
    assert count(store) == 5
