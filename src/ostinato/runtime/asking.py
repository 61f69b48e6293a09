"""Answers to questions: who may give one, and whether it is what the question's form takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from ostinato.access import Role
from ostinato.clock import to_rfc3339
from ostinato.errors import AccessError, ParameterError, UsageError
from ostinato.runtime.auditing import LOCAL
from ostinato.runtime.fields import fields_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ostinato.access import Who
    from ostinato.store.store import Store
    from ostinato.timing import Ask

_ROLES: Final = {str(role): role for role in (Role.VIEWER, Role.OPERATOR, Role.ADMIN)}


def answer(store: Store, ask_id: str, by: str, values: Mapping[str, Any]) -> Ask:
    """Answer a question, for whoever has the store itself; a server checks again who it is.

    Raises:
        UnknownNameError: If there is no such question.
        ParameterError: With a message for each field that is wrong.
        UsageError: If it is not open any more.
    """
    check_answer(store.get_ask(ask_id), values)
    return store.answer(ask_id, by, msgspec.json.encode(values).decode())


def answer_as(store: Store, who: Who, ask_id: str, by: str, values: str) -> Ask:
    """Answer a question for somebody who has shown who he is.

    Args:
        store: The server's.
        who: Who asks the server; only on this machine itself, without a token, may he say that he is somebody else.
        ask_id: The question.
        by: Who he says he is.
        values: JSON, an object.

    Raises:
        AccessError: If the question is not for him.
    """
    ask = store.get_ask(ask_id)
    _check_who(ask, who)
    check_answer(ask, _object(values))
    return store.answer(ask_id, (by or LOCAL) if who.name == LOCAL else who.name, values)


def check_answer(ask: Ask, values: Mapping[str, Any]) -> None:
    """Check an answer against the schema that was stored with its question.

    Raises:
        ParameterError: With a message for each field that is wrong, missing or unknown.
    """
    refused = fields_of(ask.schema).refuse_all(values, "is no field of this form.")
    if refused:
        lines = "".join(f"\n  {name}: {text}" for name, text in refused.items())
        raise ParameterError(f"The answer to {ask.title!r} is refused:{lines}", refused)


def may_answer(ask: Ask, who: Who) -> bool:
    """Tell whether a question is for somebody: its person, whoever has its role, or any operator; admins always."""
    if who.may(Role.ADMIN):
        return True
    if ask.whom is None:
        return who.may(Role.OPERATOR)
    if ask.whom in _ROLES:
        return who.may(_ROLES[ask.whom])
    return who.name in {ask.whom, f"user:{ask.whom}", f"token:{ask.whom}"}


def ask_shape(ask: Ask) -> dict[str, Any]:
    """Describe a question for a program."""
    answers = [{**each, "at": to_rfc3339(each["at"])} for each in msgspec.json.decode(ask.answers)]
    instants = {"created_at": to_rfc3339(ask.created_at), "expires_at": to_rfc3339(ask.expires_at)}
    facts = msgspec.structs.asdict(ask)
    form = msgspec.json.decode(facts.pop("schema"))
    return {**facts, "form": form, **instants, "answers": answers}


def _check_who(ask: Ask, who: Who) -> None:
    if not may_answer(ask, who):
        whom = "operators" if ask.whom is None else ask.whom
        raise AccessError(f"The question {ask.title!r} is for {whom}; {who.name} is {who.role}.")


def _object(values: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(values, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise UsageError(f"An answer is a JSON object of fields: {error}.") from None
