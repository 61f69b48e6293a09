"""Webhooks that come in, and what was delivered by them lately: each delivery counts once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from ostinato.errors import UnknownNameError, nearest
from ostinato.store import happenings
from ostinato.store import statements_happenings as statements
from ostinato.store.rows import records
from ostinato.timing import Webhook

if TYPE_CHECKING:
    from ostinato.records import Event
    from ostinato.store.transactions import Session
    from ostinato.timing import Delivery

Taken = Literal["taken", "duplicate", "replayed"]


class Receipt(msgspec.Struct, frozen=True):
    """What a delivery came to."""

    taken: Taken
    woken: list[str]


def list_all(tx: Session) -> list[Webhook]:
    """List webhooks, without their secrets."""
    return [msgspec.structs.replace(hook, secret="") for hook in records(Webhook, tx.rows(statements.LIST_WEBHOOKS))]


def get(tx: Session, name: str) -> Webhook:
    """Return a webhook with its secret."""
    found = records(Webhook, tx.rows(statements.GET_WEBHOOK, name=name))
    if not found:
        raise _unknown(tx, name)
    return found[0]


def remove(tx: Session, name: str) -> None:
    """Forget a webhook and its deliveries."""
    if not tx.change(statements.REMOVE_WEBHOOK, name=name):
        raise _unknown(tx, name)
    tx.put(statements.FORGET_ALL_DELIVERIES, webhook=name)


def receive(tx: Session, delivery: Delivery, event: Event) -> Receipt:
    """Emit the event of a delivery unless it has come before; remember it, and forget those that are too old."""
    now = tx.now()
    tx.put(statements.FORGET_DELIVERIES, webhook=delivery.webhook, before=now - delivery.remembered)
    if not _is_new(tx, delivery, f"signature {delivery.signature}", now):
        return Receipt("replayed", [])
    if delivery.id and not _is_new(tx, delivery, f"id {delivery.id}", now):
        return Receipt("duplicate", [])
    return Receipt("taken", happenings.emit(tx, [event]))


def _is_new(tx: Session, delivery: Delivery, mark: str, now: int) -> bool:
    return tx.change(statements.REMEMBER_DELIVERY, webhook=delivery.webhook, mark=mark, at=now) == 1


def _unknown(tx: Session, name: str) -> UnknownNameError:
    near = nearest(name, [hook.name for hook in list_all(tx)])
    return UnknownNameError(f"There is no webhook {name!r}.{near} `ostinato webhooks add` makes one.")
