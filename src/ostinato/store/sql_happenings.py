"""Events of users, who waits for them, and questions, over SQL: the `Happenings` part of a store."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from ostinato.store import asks, happenings, webhooks
from ostinato.store import statements_happenings as statements
from ostinato.store.transactions import Session, Transactions, named
from ostinato.timing import ANSWERED, event_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ostinato.records import Event, StoredEvent
    from ostinato.store.webhooks import Taken
    from ostinato.timing import Ask, Delivery, Sought, Webhook

_BEFORE_LOOKING_AGAIN: Final = (0.02, 0.25)
"""Seconds between two looks whether there is anything new: at first, and at most."""


class SqlHappenings(Transactions):
    """See `ostinato.store.timing.Happenings`."""

    _heard: tuple[Callable[[Sequence[str]], None], ...] = ()

    def on_events(self, heard: Callable[[Sequence[str]], None]) -> Callable[[], None]:
        """Call `heard`, from any thread, with the kinds and keys of what this process emits; commits are left out.

        Returns:
            What ends it.
        """
        self._heard = (*self._heard, heard)

        def end() -> None:
            self._heard = tuple(known for known in self._heard if known is not heard)

        return end

    def _tell(self, keys: Sequence[str]) -> None:
        """Tell of events that are committed now."""
        if keys:
            self._hint()
            for heard in self._heard:
                heard(keys)

    def emit(self, events: Sequence[Event]) -> None:
        """Append events that belong to no commit, and queue who waited for them."""
        if not events:
            return
        self._write(lambda tx: happenings.emit(tx, events))
        self._tell(happenings.keys_of(events))

    def find_event(self, kind: str, key: str, *, after: int = 0, since: int = 0) -> StoredEvent | None:
        """Return the first event of a kind and key with a number above `after` and not before an instant."""

        def work(tx: Session) -> StoredEvent | None:
            place = happenings.place_before(tx, kind, key, since) if since else 0
            return happenings.find(tx, kind, key, max(after, place))

        return self._read(work)

    def place_before(self, kind: str, key: str, instant: int) -> int:
        """Return the number of the last event of a kind and key before an instant; 0 where there is none."""
        return self._read(lambda tx: happenings.place_before(tx, kind, key, instant))

    def await_events(self, run_id: str, sought: Sequence[Sought], *, wait: float = 0.0) -> list[StoredEvent]:  # noqa: ARG002  whose they are is for a server to check
        """Return the first event of each that a run seeks, and wait until there is one for so many seconds at most."""
        deadline = time.monotonic() + wait
        pause, longest = _BEFORE_LOOKING_AGAIN
        seen = -1
        while True:
            newest = self.newest_event()
            found = self._read(lambda tx: happenings.find_all(tx, sought)) if newest != seen else []
            left = deadline - time.monotonic()
            if found or left <= 0 or not sought:
                return found
            seen = newest
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, longest)

    def newest_event(self) -> int:
        """Return the number of the newest event that every reader may have read; 0 where there is none."""
        newest: int = self._read(lambda tx: tx.rows(statements.NEWEST))[0][0]
        return newest

    # --- questions

    def put_ask(self, ask: Ask) -> Ask:
        """Keep a question, unless one of its id is there; return what is there."""
        return self._write(lambda tx: asks.put(tx, ask))

    def get_ask(self, ask_id: str) -> Ask:
        """Return a question."""
        return self._read(lambda tx: asks.get(tx, ask_id))

    def list_asks(self, *, is_open: bool = True, run_id: str | None = None, limit: int = 200) -> list[Ask]:
        """List questions, newest first."""
        return self._read(lambda tx: asks.list_all(tx, run_id, limit, is_open=is_open))

    def answer(self, ask_id: str, by: str, values: str) -> Ask:
        """Add somebody's answer (JSON); with the last that is needed the question is answered, its run woken."""
        given = self._write(lambda tx: asks.answer(tx, ask_id, by, values), again=False)
        if given.ask.state == "answered":
            self._tell([event_key(ANSWERED, ask_id)])
        return given.ask

    def close_asks(self, ids: Sequence[str], state: str) -> None:
        """Close those of some questions that are open."""
        if ids:
            self._write(lambda tx: asks.close(tx, ids, state))

    def expire_asks(self, *, limit: int = 500) -> int:
        """Close the questions whose time is over."""
        return self._write(lambda tx: asks.expire(tx, limit))

    # --- webhooks

    def put_webhook(self, hook: Webhook) -> None:
        """Add a webhook, or change it."""
        self._write(lambda tx: tx.change(statements.PUT_WEBHOOK, **named(hook)))

    def list_webhooks(self) -> list[Webhook]:
        """List webhooks by name, without their secrets."""
        return self._read(webhooks.list_all)

    def get_webhook(self, name: str) -> Webhook:
        """Return a webhook with its secret."""
        return self._read(lambda tx: webhooks.get(tx, name))

    def remove_webhook(self, name: str) -> None:
        """Forget a webhook."""
        self._write(lambda tx: webhooks.remove(tx, name), again=False)

    def receive(self, delivery: Delivery, event: Event) -> Taken:
        """Emit the event of a delivery, once, and remember the delivery."""
        receipt = self._write(lambda tx: webhooks.receive(tx, delivery, event))
        self._tell(happenings.keys_of([event]))
        return receipt.taken
