"""Carrying out one action of an automation: a message, a request, a start … Blocking: for a thread of its own.

What can be repeated without harm is: a start has an idempotency key, a webhook carries one, an event is looked for
before it is emitted again. A message may come twice where a server died between sending it and noting that.
"""

from __future__ import annotations

import http.client
import logging
import os
import threading
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ostinato.automations.actions import CancelRun, Emit, Notify, Pause, Resume, Start, Webhook
from ostinato.automations.templates import fill, fill_text
from ostinato.errors import OstinatoError, RunStateError, StoreUnavailableError, UsageError
from ostinato.records import Event
from ostinato.runtime.cancelling import cancel_run
from ostinato.runtime.starting import StartOrder, start
from ostinato.specs import name_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ostinato.automations.actions import Action
    from ostinato.io.results import ResultStore
    from ostinato.store.store import Store

TIMEOUT: Final = 20.0
"""Seconds that a request may take to connect, and to go on."""
_CHANNEL: Final = "OSTINATO_CHANNEL_"
_LONGEST_ANSWER: Final = 500


class DeliveryError(OstinatoError):
    """An action failed and may succeed later."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be carried out."""

    firing: str
    automation: str
    index: int
    """Which step of the firing."""
    attempt: int
    """From 1."""
    action: Any
    values: dict[str, Any]
    """What templates are filled in with."""
    at: int = 0
    """When it was fired."""

    @property
    def key(self) -> str:
        """An idempotency key."""
        return f"{self.firing}:{self.index}"


class Delivery:
    """Carries out actions for one server.

    Args:
        store: The store.
        results: Where parameters of runs go that are too large for it.
    """

    def __init__(self, store: Store, results: ResultStore) -> None:
        self._store, self._results = store, results
        self._acts: dict[type[Action], Callable[[Order, Any], str]] = {
            Notify: self._notify,
            Webhook: self._webhook,
            Start: self._start,
            Pause: self._pause,
            Resume: self._pause,
            CancelRun: self._cancel,
            Emit: self._emit,
        }

    def carry_out(self, order: Order) -> str:
        """Do it; say in a few words what came of it.

        Raises:
            DeliveryError: If it failed and is worth another try; so does any other exception that is no `UsageError`.
            UsageError: If it can never succeed as it is.
        """
        return self._acts[type(order.action)](order, order.action)

    def _notify(self, order: Order, action: Notify) -> str:
        title, body = fill_text(action.title, order.values), fill_text(action.body, order.values).strip()
        for address in action.to:
            _send(address_of(address), title, body or title)
        return f"told {', '.join(shown(address) for address in action.to)}"

    def _webhook(self, order: Order, action: Webhook) -> str:
        body = order.values if action.body is None else fill(action.body, order.values)
        headers = {"Content-Type": "application/json", "User-Agent": "ostinato", "Idempotency-Key": order.key}
        headers |= {name: _secret(value) for name, value in action.headers.items()}
        request = urllib.request.Request(  # noqa: S310  # http and https only: the action has checked it
            _secret(action.url), msgspec.json.encode(body), headers, method=action.method
        )
        if request.type not in ("http", "https"):
            raise UsageError(f"A webhook's URL is http or https, not {request.type}.")
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310  # as above
                return f"answered {answer.status}"
        except urllib.error.HTTPError as error:
            with error:
                text = error.read(_LONGEST_ANSWER).decode(errors="replace")
            raise DeliveryError(f"It answered {error.code} {error.reason}: {text}".rstrip(": ")) from None
        except (OSError, http.client.HTTPException) as error:
            raise DeliveryError(f"It cannot be reached: {getattr(error, 'reason', error)}") from None

    def _start(self, order: Order, action: Start) -> str:
        started = start(
            self._store,
            self._results,
            StartOrder(
                deployment=name_of(action.flow),
                parameters=fill(action.parameters, order.values),
                tags=list(action.tags),
                key=order.key,
                created_by=f"automation:{order.automation}",
                trigger=msgspec.json.encode({"automation": order.automation, "firing": order.firing}).decode(),
            ),
        )
        return f"run {started.run.id}"

    def _pause(self, order: Order, action: Pause | Resume) -> str:
        paused = isinstance(action, Pause)
        word = "paused" if paused else "resumed"
        if action.schedule is not None:
            self._store.pause_schedule(action.schedule, paused=paused)
            return f"{word} schedule {action.schedule}"
        name = name_of(action.deployment) or order.values.get("deployment")
        if not name:
            raise UsageError("The event is about no run of a deployment, so there is nothing to pause: name it.")
        self._store.pause_deployed(name, paused=paused)
        return f"{word} {name}"

    def _cancel(self, order: Order, _action: CancelRun) -> str:
        run_id = order.values.get("run_id")
        if not run_id:
            raise UsageError("The event is about no run, so there is nothing to cancel.")
        try:
            cancel_run(self._store, run_id)
        except RunStateError:
            return f"run {run_id} had ended"
        return f"cancelled run {run_id}"

    def _emit(self, order: Order, action: Emit) -> str:
        key = fill_text(action.key, order.values)
        if order.attempt > 1 and self._is_emitted(order, action.kind, key):
            return "emitted before"
        data = fill(action.data, order.values) | {"automation": order.automation, "firing": order.key}
        text = msgspec.json.encode(data).decode()
        self._store.emit([Event(at=self._store.now(), kind=action.kind, run_id="", key=key, data=text)])
        return f"emitted {action.kind}"

    def _is_emitted(self, order: Order, kind: str, key: str) -> bool:
        """Look whether an attempt that nobody knows the end of has emitted it."""
        after = 0
        while (found := self._store.find_event(kind, key, after=after, since=order.at)) is not None:
            if msgspec.json.decode(found.event.data).get("firing") == order.key:
                return True
            after = found.id
        return False


def address_of(to: str) -> str:
    """Return the Apprise URL that a `Notify` means: itself, or what the environment holds.

    Raises:
        UsageError: If the environment does not hold it.
    """
    if "://" in to:
        return to
    name = to.removeprefix("env:") if to.startswith("env:") else f"{_CHANNEL}{to.upper().replace('-', '_')}"
    found = os.environ.get(name)
    if not found:
        what = "It" if to.startswith("env:") else f"The channel {to!r}"
        raise DeliveryError(f"{what} needs the variable {name}, which the server's environment does not have.")
    return found


def shown(to: str) -> str:
    """Write an address without what is secret in it."""
    scheme, found, _ = to.partition("://")
    return f"{scheme}://…" if found else to


def _secret(value: str) -> str:
    if not value.startswith("env:"):
        return value
    found = os.environ.get(value.removeprefix("env:"))
    if not found:
        name = value.removeprefix("env:")
        raise DeliveryError(f"It needs the variable {name}, which the server's environment does not have.")
    return found


def _send(url: str, title: str, body: str) -> None:
    try:
        import apprise  # the extra `notify`
    except ImportError:
        raise UsageError("To notify somebody the server needs Apprise: pip install 'ostinato[notify]'.") from None
    target = apprise.Apprise.instantiate(url)
    if target is None:
        raise UsageError(f"{shown(url)} is no address that Apprise knows: see https://appriseit.com/services.")
    said = _Said()
    logger = logging.getLogger("apprise")
    logger.addHandler(said)
    try:
        done = target.notify(title=title, body=body)
    finally:
        logger.removeHandler(said)
    if not done:
        why = "; ".join(said.lines) or "it was not delivered"
        raise DeliveryError(f"{shown(url)}: {why.replace(url, shown(url))}")


class _Said(logging.Handler):
    """Keeps what is logged by this thread: Apprise says why it failed nowhere else."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._thread = threading.get_ident()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        if record.thread == self._thread and len(self.lines) < 5:  # noqa: PLR2004  # enough to understand it
            self.lines.append(record.getMessage()[:_LONGEST_ANSWER])


def is_permanent(error: BaseException) -> bool:
    """Tell whether trying again is in vain."""
    return isinstance(error, UsageError) and not isinstance(error, StoreUnavailableError)
