"""Values as bytes and back: what a row or a blob of the result store holds.

One byte says how the rest is to be read:

```
m  msgpack                         plain values; safe to decode anywhere, shown in listings as they are
a  type name, Arrow IPC            polars and pyarrow frames where that is exact and better than pickle
p  type name, pickle protocol 5    any other value
c  type name, cloudpickle          only where pickle refuses (lambdas, classes of a notebook)
r  hash, codec, size, type         a reference to a blob of the result store, which holds one of the above
e  see `ostinato.io.exceptions`     the exception of a failure
```

Only `decode` unpickles, and it runs where the user's code runs. `describe` and `to_json` never do: they
are for listings, servers and user interfaces.
"""

from __future__ import annotations

import base64
import math
import sys
from typing import TYPE_CHECKING, Any

import msgspec

from ostinato.errors import ResultError
from ostinato.io.arrow import decode_frame, encode_frame
from ostinato.io.exceptions import decode_error, describe_error, encode_error
from ostinato.io.offenders import explain
from ostinato.io.pickles import to_cloudpickle, to_pickle, unpickle

if TYPE_CHECKING:
    from ostinato.fingerprint import Print

__all__ = [
    "Encoded",
    "Reference",
    "decode",
    "decode_error",
    "describe",
    "encode",
    "encode_error",
    "find_reference",
    "refer",
    "to_json",
    "type_name",
]

_CODECS = {"m": "msgpack", "a": "arrow", "p": "pickle", "c": "cloudpickle", "e": "error"}
_unpack = msgspec.msgpack.Decoder().decode
_SHOWN = 300
_UNITS = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


class Encoded(msgspec.Struct, frozen=True):
    """A value as bytes, and what a listing may say of it."""

    data: bytes
    codec: str
    """One letter, as in the module's drawing."""
    type: str
    """The type's name, ``polars.DataFrame``; empty for plain values."""


class Reference(msgspec.Struct, frozen=True, array_like=True):
    """Stands, in a row, for a value that is in the result store."""

    hash: str
    codec: str
    size: int
    type: str


def encode(value: object, print: Print) -> Encoded:  # noqa: A002  # the word for it here
    """Encode a value.

    Args:
        value: Anything that msgpack, Arrow, pickle or cloudpickle can keep.
        print: Its fingerprint, which knows whether it is plain.

    Raises:
        ResultError: It cannot be stored; the message names the part that is in the way.
    """
    if print.plain is not None:
        return Encoded(b"m" + print.plain, "m", "")
    name = type_name(value)
    frame = encode_frame(value, _head("a", name))
    if frame is not None:
        return Encoded(frame, "a", name)
    try:
        return Encoded(to_pickle(value, _head("p", name)), "p", name)
    except Exception:  # noqa: S110  # pickle raises whatever the object's own methods raise
        pass
    try:
        return Encoded(to_cloudpickle(value, _head("c", name)), "c", name)
    except Exception as error:
        raise ResultError(explain(value, error)) from error


def decode(data: bytes) -> Any:
    """Decode what `encode` made. References are for `ostinato.io.results`, exceptions for `decode_error`.

    Raises:
        ResultError: The bytes are not ours, or the value cannot be rebuilt in this process.
    """
    codec, name = data[:1], "result"
    if codec not in (b"m", b"p", b"c", b"a"):
        message = (
            f"Expected an encoded value, found {data[:12]!r}. It was written by another version or is damaged: "
            "run the task again with `ostinato rerun`."
        )
        raise ResultError(message)
    try:
        if codec == b"m":
            return _unpack(memoryview(data)[1:])
        name, start = _read_head(data)
        return decode_frame(name, memoryview(data)[start:]) if codec == b"a" else unpickle(data, start)
    except Exception as error:
        message = (
            f"A stored {name} cannot be rebuilt in this process ({type(error).__name__}: {error}). Make the code "
            "and libraries it was made with importable again, or run the task again with `ostinato rerun`."
        )
        raise ResultError(message) from error


def refer(encoded: Encoded, digest: str) -> bytes:
    """Write the reference that stands for a value in the result store."""
    reference = Reference(digest, encoded.codec, len(encoded.data), encoded.type)
    return b"r" + msgspec.msgpack.encode(reference)


def find_reference(data: bytes) -> Reference | None:
    """Return the reference that these bytes are, None if the value itself is in them."""
    if data[:1] != b"r":
        return None
    try:
        return msgspec.msgpack.decode(memoryview(data)[1:], type=Reference)
    except msgspec.MsgspecError as error:
        message = "A reference to the result store is damaged: run the task again with `ostinato rerun`."
        raise ResultError(message) from error


def to_json(data: bytes) -> Any:
    """Return what a listing may show, as JSON-able data, without unpickling anything.

    Plain values as they are (bytes in base64, what JSON's numbers lack as text); any other as text such as
    ``<pickle, polars.DataFrame, 1.2 MB>``.
    """
    try:
        codec = data[:1]
        if codec == b"m":
            return _jsonable(_unpack(memoryview(data)[1:]))
        reference = find_reference(data)
        if reference is not None:
            name = reference.type or "plain data"
            return f"<{_CODECS.get(reference.codec, reference.codec)}, {name}, {_bytes(reference.size)}>"
        if codec == b"e":
            return f"<error, {describe_error(data)}>"
        if codec in (b"a", b"p", b"c"):
            name, start = _read_head(data)
            return f"<{_CODECS[codec.decode()]}, {name}, {_bytes(len(data) - start)}>"
    except (ResultError, ValueError, IndexError, RecursionError):
        pass
    return f"<unreadable, {_bytes(len(data))}>"


def describe(data: bytes) -> str:
    """Say in one line what is stored, without unpickling anything: JSON, or as `to_json` has it."""
    shown = to_json(data)
    if isinstance(shown, str) and data[:1] != b"m":
        return shown
    text = msgspec.json.encode(shown).decode()
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def type_name(value: object) -> str:
    """Name a value's type as its users write it: ``polars.DataFrame``, not ``polars.dataframe.frame.DataFrame``."""
    kind = type(value)
    module, name = kind.__module__, kind.__qualname__
    if module in ("builtins", "__main__"):
        return name
    package = module.partition(".")[0]
    short = getattr(sys.modules.get(package), name, None) is kind
    return f"{package if short else module}.{name}"


def _head(codec: str, name: str) -> bytes:
    """Write the codec, and the type's name with its length in one byte."""
    text = name.encode("utf-8", "replace")[:255].decode("utf-8", "ignore").encode()
    return codec.encode() + bytes((len(text),)) + text


def _read_head(data: bytes) -> tuple[str, int]:
    """Read the type's name, and where the payload begins."""
    start = 2 + data[1]
    return data[2:start].decode(), start


def _jsonable(value: Any) -> Any:
    if isinstance(value, list):
        return [_jsonable(item) for item in value]
    if isinstance(value, dict):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _bytes(size: int) -> str:
    for unit, scale in _UNITS:
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size} B"
