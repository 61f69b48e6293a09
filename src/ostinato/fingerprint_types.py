"""How each type of Python's own, and any other object, is taken apart for its fingerprint.

One function a type, chosen by the exact type. Types that nobody listed are looked at once: an own method,
a known shape (enum, named tuple, dataclass, pydantic, attrs, msgspec), a frame or array of a library, and
else what pickle would keep (`object.__reduce_ex__`), without ever calling what that names.
"""

from __future__ import annotations

import copyreg
import datetime  # noqa: ICN001  # its classes are listed by their full names
import enum
import fractions
import functools
import io
import pathlib
import re
import types
import uuid
import weakref
from collections import OrderedDict
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from ostinato import fingerprint_code as code
from ostinato.fingerprint_frames import find_frame_handler

if TYPE_CHECKING:
    from collections.abc import Callable

    from ostinato.fingerprint import Walk

    Handler = Callable[[Walk, Any], None]


def find_handler(kind: type) -> Handler:
    """Return what takes values of exactly this type apart."""
    handler = _HANDLERS.get(kind)
    if handler is None:
        handler = _FOUND.get(kind)
    if handler is None:
        handler = _FOUND[kind] = _choose(kind)
    return handler


def _choose(kind: type) -> Handler:
    """Choose by what the type is made of; the first that fits."""
    if hasattr(kind, "__ostinato_fingerprint__"):
        return _own
    frame = find_frame_handler(kind)
    if frame is not None:
        return frame
    for parent, handler in _FAMILIES:
        if issubclass(kind, parent):
            return handler
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return _named_tuple
    if hasattr(kind, "__next__") and not issubclass(kind, io.IOBase):
        return _unknown
    if not issubclass(kind, (dict, list, tuple, str, int, float, bytes)):
        for mark, handler in _SHAPES:
            if hasattr(kind, mark):
                return handler
    return _reduced


def _unknown(walk: Walk, value: Any) -> None:
    walk.unknown(type(value))


def _own(walk: Walk, value: Any) -> None:
    walk.tag(b"o", type(value).__qualname__, value.__ostinato_fingerprint__())


def _class(walk: Walk, value: type) -> None:
    """Write a class by its name and the names of its fields: two classes of one name seldom share both."""
    fields = value.__dict__.get("__annotations__")  # noqa: RUF063  # its own only, unevaluated
    walk.tag(b"K", value.__qualname__, sorted(fields) if isinstance(fields, dict) else None)


def _module(walk: Walk, value: types.ModuleType) -> None:
    walk.tag(b"m", value.__name__.rpartition(".")[2])


# --- Python's own values


def _constant(walk: Walk, value: Any) -> None:
    walk.tag(b"E", repr(value))


def _complex(walk: Walk, value: complex) -> None:
    walk.tag(b"J", value.real, value.imag)


def _bytearray(walk: Walk, value: bytearray) -> None:
    walk.tag(b"B")
    walk.buffer(value)


def _memoryview(walk: Walk, value: memoryview) -> None:
    walk.tag(b"M", value.format, value.shape)
    walk.buffer(value if value.c_contiguous else value.tobytes())


def _set(walk: Walk, value: set[Any]) -> None:
    walk.tag(b"Z")
    walk.unordered(value)


def _frozenset(walk: Walk, value: frozenset[Any]) -> None:
    walk.tag(b"F")
    walk.unordered(value)


def _range(walk: Walk, value: range) -> None:
    """Write a range by the numbers in it: ``range(0, 3, 2)`` equals ``range(0, 4, 2)``."""
    count = len(value)
    walk.tag(b"R", count, value[0] if count else None, value.step if count > 1 else None)


def _slice(walk: Walk, value: slice) -> None:
    walk.tag(b"L", value.start, value.stop, value.step)


def _date(walk: Walk, value: datetime.date) -> None:
    walk.tag(b"d", value.toordinal())


def _datetime(walk: Walk, value: datetime.datetime) -> None:
    walk.tag(b"t", value.replace(tzinfo=None, fold=0).isoformat(), value.fold, value.tzinfo)


def _time(walk: Walk, value: datetime.time) -> None:
    walk.tag(b"h", value.replace(tzinfo=None, fold=0).isoformat(), value.fold, value.tzinfo)


def _timedelta(walk: Walk, value: datetime.timedelta) -> None:
    walk.tag(b"i", value.days, value.seconds, value.microseconds)


def _timezone(walk: Walk, value: datetime.timezone) -> None:
    walk.tag(b"z", value.utcoffset(None), value.tzname(None))


def _zone(walk: Walk, value: ZoneInfo) -> None:
    if value.key is None:
        walk.unknown(type(value))
    else:
        walk.tag(b"Y", value.key)


def _decimal(walk: Walk, value: Decimal) -> None:
    walk.tag(b"#", str(value))


def _fraction(walk: Walk, value: fractions.Fraction) -> None:
    walk.tag(b"/", value.numerator, value.denominator)


def _uuid(walk: Walk, value: uuid.UUID) -> None:
    walk.tag(b"U", value.bytes)


def _pattern(walk: Walk, value: re.Pattern[Any]) -> None:
    walk.tag(b"X", value.pattern, value.flags)


def _mapping_proxy(walk: Walk, value: Any) -> None:
    walk.tag(b"V")
    walk.mapping(dict(value))


def _view_unordered(walk: Walk, value: Any) -> None:
    walk.tag(b"V", type(value).__name__)
    walk.unordered(value)


def _view_values(walk: Walk, value: Any) -> None:
    walk.tag(b"V", type(value).__name__)
    walk.items(list(value))


# --- families: a type and what derives from it


def _enum(walk: Walk, value: enum.Enum) -> None:
    """Write a member; a flag by its value alone, since how a combination is named differs by version."""
    name = None if isinstance(value, enum.Flag) else value.name
    walk.tag(b"e", type(value).__qualname__, name, value.value)


def _path(walk: Walk, value: pathlib.PurePath) -> None:
    """Write a path; that of this platform the same on every platform."""
    plain = type(value) in (pathlib.PosixPath, pathlib.WindowsPath)
    walk.tag(b"P", "Path" if plain else type(value).__qualname__, value.as_posix())


def _exception(walk: Walk, value: BaseException) -> None:
    walk.tag(b"x", type(value).__qualname__, value.args, vars(value))


def _set_family(walk: Walk, value: Any) -> None:
    walk.tag(b"s", type(value).__qualname__, getattr(value, "__dict__", None))
    walk.unordered(value)


def _named_tuple(walk: Walk, value: Any) -> None:
    walk.tag(b"n", type(value).__qualname__, list(value._fields))
    walk.items(tuple(value))


# --- shapes: classes made by a decorator or a library, known by a mark


def _fields(walk: Walk, value: Any, names: Any) -> None:
    missing = object()
    found = {name: got for name in names if (got := getattr(value, name, missing)) is not missing}
    walk.tag(b"r", type(value).__qualname__)
    walk.mapping(found)


def _dataclass(walk: Walk, value: Any) -> None:
    names = [n for n, f in value.__dataclass_fields__.items() if f._field_type.name == "_FIELD"]  # noqa: SLF001  # how dataclasses tells fields from class variables
    _fields(walk, value, names)


def _struct(walk: Walk, value: Any) -> None:
    _fields(walk, value, value.__struct_fields__)


def _attrs(walk: Walk, value: Any) -> None:
    _fields(walk, value, [a.name for a in value.__attrs_attrs__])


def _pydantic(walk: Walk, value: Any) -> None:
    """Write the fields, the extra ones and the private ones: what pydantic's own equality looks at."""
    _fields(walk, value, type(value).__pydantic_fields__)
    private = value.__pydantic_private__ or {}
    undefined = {k: v for k, v in private.items() if type(v).__name__ != "PydanticUndefinedType"}
    walk.items([value.__pydantic_extra__ or None, undefined or None])


# --- anything else


def _reduced(walk: Walk, value: Any) -> None:
    """Write what pickle would keep: who rebuilds it, from what, with which state and contents."""
    kind = type(value)
    reducer = copyreg.dispatch_table.get(kind)
    reduced = reducer(value) if reducer else value.__reduce_ex__(2)
    if isinstance(reduced, str):
        walk.tag(b"g", kind.__qualname__, reduced, getattr(value, "__wrapped__", None))
        return
    maker, args, state, items, pairs = (*reduced, None, None, None)[:5]
    name = getattr(maker, "__qualname__", type(maker).__qualname__)
    args = args[1:] if name == "__newobj__" else tuple(args)
    walk.tag(b"O", kind.__qualname__, name, args, state)
    walk.items([] if items is None else list(items))
    contents = [] if pairs is None else list(pairs)
    if issubclass(kind, OrderedDict):
        walk.items(contents)
    else:
        walk.mapping(dict(contents))


_HANDLERS: dict[type, Handler] = {
    type(...): _constant,
    type(NotImplemented): _constant,
    complex: _complex,
    bytearray: _bytearray,
    memoryview: _memoryview,
    set: _set,
    frozenset: _frozenset,
    range: _range,
    slice: _slice,
    type: _class,
    datetime.date: _date,
    datetime.datetime: _datetime,
    datetime.time: _time,
    datetime.timedelta: _timedelta,
    datetime.timezone: _timezone,
    ZoneInfo: _zone,
    Decimal: _decimal,
    fractions.Fraction: _fraction,
    uuid.UUID: _uuid,
    re.Pattern: _pattern,
    types.MappingProxyType: _mapping_proxy,
    type({}.keys()): _view_unordered,
    type({}.items()): _view_unordered,
    type({}.values()): _view_values,
    types.FunctionType: code.write_function,
    types.MethodType: code.write_method,
    types.BuiltinFunctionType: code.write_builtin,
    types.CodeType: code.write_code,
    functools.partial: code.write_partial,
}

_FAMILIES: tuple[tuple[type, Handler], ...] = (
    (enum.Enum, _enum),
    (type, _class),
    (types.ModuleType, _module),
    (pathlib.PurePath, _path),
    (BaseException, _exception),
    (set, _set_family),
    (frozenset, _set_family),
)

_SHAPES: tuple[tuple[str, Handler], ...] = (
    ("__pydantic_fields__", _pydantic),
    ("__dataclass_fields__", _dataclass),
    ("__struct_fields__", _struct),
    ("__attrs_attrs__", _attrs),
)

_FOUND: weakref.WeakKeyDictionary[type, Handler] = weakref.WeakKeyDictionary()
