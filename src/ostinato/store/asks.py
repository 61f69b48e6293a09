"""Questions to people: put once, answered by as many as are needed, closed when nobody needs the answer any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ostinato.errors import RunStateError, UnknownNameError
from ostinato.records import Event
from ostinato.states import TERMINAL, State
from ostinato.store import happenings
from ostinato.store import statements_happenings as statements
from ostinato.store.events import append, as_json, tell
from ostinato.store.rows import records
from ostinato.store.transactions import named
from ostinato.timing import ANSWERED, Ask, event_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ostinato.store.transactions import Session


class Given(msgspec.Struct, frozen=True):
    """What an answer came to."""

    ask: Ask
    woken: list[str]
    """The runs that were queued by it."""


def put(tx: Session, ask: Ask) -> Ask:
    """Keep a question unless it is there; one that was closed unanswered is opened again if it has time left."""
    run = tx.rows(statements.RUN_STATE, id=ask.run_id)
    found = records(Ask, tx.rows(statements.LOCK_ASK, id=ask.id))
    now = tx.now()
    if found and found[0].state in ("open", "answered"):
        return found[0]
    has_ended = bool(run) and State(run[0][0]) in TERMINAL
    if has_ended or (ask.expires_at is not None and ask.expires_at <= now):
        return found[0] if found else msgspec.structs.replace(ask, state="withdrawn" if has_ended else "expired")
    if found:
        tx.put(statements.REOPEN_ASK, id=ask.id, expires_at=ask.expires_at)
    else:
        tx.put(statements.PUT_ASK, **named(ask))
    data: dict[str, object] = {
        "ask": ask.id, "flow": ask.flow, "title": ask.title, "whom": ask.whom, "needed": ask.needed,
        "expires_at": ask.expires_at,
    }  # fmt: skip
    tell(tx, ask.run_id, "ask.opened", now, data)
    return get(tx, ask.id)


def get(tx: Session, ask_id: str, statement: str = statements.GET_ASK) -> Ask:
    """Return a question, or raise `UnknownNameError`."""
    found = records(Ask, tx.rows(statement, id=ask_id))
    if not found:
        raise UnknownNameError(f"There is no question {ask_id!r}. `ostinato asks list` shows those that are open.")
    return found[0]


def answer(tx: Session, ask_id: str, by: str, values: str) -> Given:
    """Add somebody's answer; the last that is needed closes the question and wakes its run."""
    key = event_key(ANSWERED, ask_id)
    happenings.lock(tx, [key])
    ask = get(tx, ask_id, statements.LOCK_ASK)
    now = tx.now()
    _refuse_if_closed(ask, now)
    answers: list[dict[str, Any]] = [each for each in msgspec.json.decode(ask.answers) if each["by"] != by]
    answers.append({"by": by, "at": now, "values": msgspec.Raw(values.encode())})
    is_enough = len(answers) >= ask.needed
    tx.put(
        statements.ANSWER_ASK,
        id=ask_id,
        state="answered" if is_enough else "open",
        answers=msgspec.json.encode(answers).decode(),
    )
    data: dict[str, object] = {"ask": ask_id, "flow": ask.flow, "title": ask.title, "by": by}
    data |= {"answers": len(answers), "needed": ask.needed}
    told = ANSWERED if is_enough else "ask.progressed"
    event = Event(at=now, kind=told, run_id=ask.run_id, data=as_json(data), key=ask_id if is_enough else None)
    append(tx, [event])
    woken = happenings.wake(tx, [key], now) if is_enough else []
    return Given(get(tx, ask_id), woken)


def _refuse_if_closed(ask: Ask, now: int) -> None:
    expired = ask.expires_at is not None and ask.expires_at <= now
    if ask.state == "open" and not expired:
        return
    state = "expired" if ask.state == "open" else ask.state
    why = {"withdrawn": ": its run has ended", "answered": " already"}.get(state, "")
    raise RunStateError(f"Question {ask.id} ({ask.title}) is {state}{why}, so it takes no answer any more.")


def list_all(tx: Session, run_id: str | None, limit: int, *, is_open: bool) -> list[Ask]:
    """List questions, newest first."""
    query = statements.LIST_ASKS + (" AND state = 'open'" if is_open else "")
    values: dict[str, Any] = {"limit": limit}
    if run_id is not None:
        query += " AND run_id = :run_id"
        values["run_id"] = run_id
    return records(Ask, tx.rows(query + " ORDER BY created_at DESC, id DESC LIMIT :limit", **values))


def close(tx: Session, ids: Sequence[str], state: str) -> int:
    """Close those of some questions that are open; return how many those were."""
    closed = tx.rows(statements.CLOSE_ASKS, ids=sorted(ids), state=state)
    if state == "expired":
        now = tx.now()
        append(tx, [_expired(ask, run_id, flow, title, now) for ask, run_id, flow, title in closed])
    return len(closed)


def _expired(ask_id: str, run_id: str, flow: str, title: str, now: int) -> Event:
    return Event(at=now, kind="ask.expired", run_id=run_id, data=as_json({"ask": ask_id, "flow": flow, "title": title}))


def expire(tx: Session, limit: int) -> int:
    """Close the questions whose time is over."""
    found = tx.rows(statements.EXPIRED_ASKS, now=tx.now(), limit=limit)
    return close(tx, [row[0] for row in found], "expired") if found else 0
