"""Exceptions as bytes and back: so that ``except ConnectionError`` still catches after a resume.

Pickle is tried first. Many exceptions pickle but do not unpickle (an ``__init__`` of their own), so it is
tried out at once; then the same class is rebuilt without its ``__init__``, with the parts that do pickle.
What stays impossible becomes a `TaskFailedError` with the class's name and the message. Nothing here raises.
"""

from __future__ import annotations

import pickle
from typing import Any

import msgspec

from ostinato.errors import TaskFailedError
from ostinato.io.pickles import unpickle

_DEPTH = 8
_MAX_PICKLE = 262_144
_MAX_TEXT = 20_000


class _Recorded(msgspec.Struct, array_like=True):
    """An exception, in several ways to rebuild it, best first."""

    type: str
    message: str
    notes: list[str] = []
    whole: bytes | None = None
    parts: bytes | None = None
    """The class, its args and its attributes, each as far as it pickles."""
    cause: _Recorded | None = None
    members: list[_Recorded] = []
    """What an exception group holds."""
    quiet: bool = False
    """Raised ``from`` something or None, so the context is not shown."""


def encode_error(error: BaseException) -> bytes:
    """Encode an exception, with its notes and causes. Never fails."""
    try:
        recorded = _record(error, _DEPTH)
    except Exception:  # an exception's own methods may raise anything
        recorded = _Recorded(type(error).__qualname__, "(the exception cannot be shown)")
    return b"e" + msgspec.msgpack.encode(recorded)


def decode_error(data: bytes) -> BaseException:
    """Rebuild an exception that `encode_error` wrote, of the same class where that can be. Never fails."""
    try:
        if data[:1] != b"e":
            return TaskFailedError("The recorded failure cannot be read: it was written by another version.")
        return _rebuild(msgspec.msgpack.decode(memoryview(data)[1:], type=_Recorded))
    except Exception as error:  # an exception's own methods may raise anything
        return TaskFailedError(f"The recorded failure cannot be read ({type(error).__name__}: {error}).")


def describe_error(data: bytes) -> str:
    """Say what failed, ``ConnectionError: no route``, without unpickling anything."""
    try:
        recorded = msgspec.msgpack.decode(memoryview(data)[1:], type=_Recorded)
    except msgspec.MsgspecError:
        return "<unreadable error>"
    return f"{recorded.type}: {recorded.message}"


def _record(error: BaseException, depth: int) -> _Recorded:
    kind = type(error)
    group = error if isinstance(error, BaseExceptionGroup) else None
    whole = _whole(error) if group is None else None
    cause = error.__cause__
    return _Recorded(
        type=kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}",
        message=_text(error if group is None else group.message),
        notes=[_text(note) for note in getattr(error, "__notes__", [])],
        whole=whole,
        parts=_parts(error) if whole is None else None,
        cause=_record(cause, depth - 1) if cause is not None and depth else None,
        members=[_record(member, depth - 1) for member in group.exceptions] if group and depth else [],
        quiet=error.__suppress_context__,
    )


def _whole(error: BaseException) -> bytes | None:
    """Make the pickle, if what comes out of it is of the same class and says the same."""
    try:
        data = pickle.dumps(error, protocol=5)
        again = pickle.loads(data)  # noqa: S301  # our own bytes of a moment ago
        same = type(again) is type(error) and str(again) == str(error)
    except Exception:  # an exception's own methods may raise anything
        return None
    return data if same and len(data) <= _MAX_PICKLE else None


def _parts(error: BaseException) -> bytes | None:
    kind = _try_pickle(type(error))
    if kind is None:
        return None
    args = [_try_pickle(arg) or _try_pickle(_text(arg)) for arg in error.args]
    state = {name: data for name, item in vars(error).items() if (data := _try_pickle(item)) is not None}
    return msgspec.msgpack.encode((kind, args, state))


def _try_pickle(value: object) -> bytes | None:
    try:
        data = pickle.dumps(value, protocol=5)
        pickle.loads(data)  # noqa: S301  # our own bytes of a moment ago
    except Exception:  # an exception's own methods may raise anything
        return None
    return data if len(data) <= _MAX_PICKLE else None


def _rebuild(recorded: _Recorded) -> BaseException:
    error = _same_class(recorded)
    if error is None:
        error = TaskFailedError(f"{recorded.type}: {recorded.message}")
    if recorded.notes and not hasattr(error, "__notes__"):
        error.__notes__ = list(recorded.notes)
    if recorded.cause is not None:
        error.__cause__ = _rebuild(recorded.cause)
    error.__suppress_context__ = recorded.quiet
    return error


def _same_class(recorded: _Recorded) -> BaseException | None:
    try:
        if recorded.whole is not None:
            error = unpickle(recorded.whole)
            return error if isinstance(error, BaseException) else None
        return _from_parts(recorded)
    except Exception:  # an exception's own methods may raise anything
        return None


def _from_parts(recorded: _Recorded) -> BaseException | None:
    if recorded.parts is None:
        return None
    pickled, args, state = msgspec.msgpack.decode(recorded.parts, type=tuple[bytes, list[bytes], dict[str, bytes]])
    kind: Any = unpickle(pickled)
    if recorded.members:
        error = kind.__new__(kind, recorded.message, [_rebuild(member) for member in recorded.members])
    else:
        error = kind.__new__(kind, *map(unpickle, args))
    if not isinstance(error, BaseException):
        return None
    if not recorded.members:
        error.args = tuple(map(unpickle, args))
    for name, item in state.items():
        error.__dict__[name] = unpickle(item)
    return error


def _text(value: object) -> str:
    try:
        text = str(value)
    except Exception:  # an exception's own methods may raise anything
        text = f"(the text of a {type(value).__qualname__} cannot be shown)"
    return text.encode("utf-8", "backslashreplace").decode()[:_MAX_TEXT]
