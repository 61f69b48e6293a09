"""Fingerprints of content: 16 bytes that are equal where two values are equal, in every process.

A task run is found again by the fingerprint of its inputs, a cached result by the same, and early cut-off
compares results by it. So the encoding below is *canonical* (no memory addresses, no hash order, no
chunking of frames) and *unambiguous* (every part tagged, every length in front):

```
value ─► scalar, list, dict with str keys     their own msgpack, keys sorted         (in C, at once)
      ─► everything else                      0xC1, a letter, then its parts         (the walk)
                                              └ the one byte msgpack never begins with
      ─► blake2b-128 of all that
```

Classes go by their qualified name *without* the module, so that ``python pipeline.py`` (``__main__``), the
same file imported, and a worker that has it in a package agree. What cannot be encoded (a connection, a
lock, a generator) is *opaque*: the name of its type stands in, and `Print.opaque` says so. Making a
fingerprint never raises, and never uses up an iterator. How each type is taken apart is in
`ostinato.fingerprint_types` and `ostinato.fingerprint_frames`.

Changing the encoding makes every call of every unfinished run a miss: `tests/values/test_fingerprint.py`
holds it with digests that are checked in.
"""

from __future__ import annotations

import contextlib
import math
from hashlib import blake2b
from itertools import chain
from types import FunctionType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import msgspec

from ostinato.fingerprint_code import code_of
from ostinato.fingerprint_types import find_handler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_VERSION = b"ostinato-value-1"
_BIG = 65_536
"""Buffers above this many bytes go in by their digest, so that they are never copied."""
_MANY = 64
_DEPTH = 100
_BUDGET = 20_000_000
"""How deep, and for how many parts, the walk goes before it calls the rest opaque."""

_new = blake2b(digest_size=16, person=_VERSION).copy
_encode = msgspec.msgpack.Encoder().encode
_canonical = msgspec.msgpack.Encoder(order="deterministic").encode
_NAN = _encode(math.nan)
_SCALARS = frozenset({type(None), bool, int, float, str, bytes})
_NUMBERS = frozenset({bool, int, float})
_PLAIN = _SCALARS | {list, dict}
_codes: WeakKeyDictionary[FunctionType, str] = WeakKeyDictionary()


class Print(msgspec.Struct, frozen=True, gc=False):
    """The fingerprint of a value, with what was learned on the way."""

    digest: bytes
    """16 bytes."""
    plain: bytes | None
    """The value as msgpack if it is plain (None, bool, int of 64 bits, float, str, bytes, and lists and
    str-keyed dicts of them), from which it comes back exactly; else None."""
    opaque: bool
    """Something inside could not be encoded; the name of its type stands in."""
    size: int
    """About how many bytes of content there are."""


class Known(msgspec.Struct, frozen=True):
    """Stands in, inside a value, for content whose fingerprint is known already."""

    digest: bytes

    def __ostinato_fingerprint__(self) -> bytes:
        """Return the digest itself."""
        return self.digest


def fingerprint(value: object) -> Print:
    """Fingerprint a value by its content.

    Args:
        value: Anything. It is neither changed nor, where it is an iterator, used up.

    Returns:
        Its digest; for plain values with their msgpack.
    """
    kind = type(value)
    try:
        if kind in _SCALARS:
            data = _NAN if value != value else _canonical(value)  # noqa: PLR0124  # only nan differs from itself
            return Print(_digest(data), data, False, len(data))  # noqa: FBT003
        if kind is tuple and (flat := _flat(value)) is not None:  # type: ignore[arg-type]
            return Print(_digest(b"\xc1T" + flat), None, False, len(flat))  # noqa: FBT003
        if (kind is list or kind is dict) and (found := _fingerprint_plain(value)) is not None:
            return found
    except Exception:  # noqa: S110  # a big int, a surrogate, a change under our hands: the walk copes
        pass
    return _fingerprint_walk(value)


def combine(*parts: bytes | str) -> bytes:
    """Hash several parts into 16 bytes. Lengths and types are in it: ``("a", "bc")`` is not ``("ab", "c")``."""
    return _digest(b"\xc1+" + _encode(parts))


def code_fingerprint(function: object) -> str:
    """Digest what a callable does: 16 hexadecimal digits.

    Taken in: the compiled code with its constants, names and nested functions, the defaults, the values it
    closes over, and whatever it wraps (`functools.wraps`, partials). Left out: line numbers, file names and
    docstrings, as well as the functions it calls by a global name. A plain function is looked at once. The
    digest is that of one version of Python.
    """
    known = _codes.get(function) if type(function) is FunctionType else None
    if known is None:
        walk = Walk()
        for part in code_of(function):
            walk.add(part)
        known = walk.digest().hex()[:16]
        if type(function) is FunctionType:
            _codes[function] = known
    return known


def _digest(data: bytes) -> bytes:
    state = _new()
    state.update(data)
    return state.digest()


def _flat(values: tuple[Any, ...] | list[Any]) -> bytes | None:
    """Encode a sequence of scalars at once; None if there is anything else in it."""
    kinds = set(map(type, values))
    if not kinds <= _SCALARS or (float in kinds and _has_nan(values, kinds)):
        return None
    return _canonical(values)


def _pairs(values: tuple[Any, ...] | list[Any]) -> bytes | None:
    """Encode a long sequence of tuples of scalars at once; None if there is anything else in it."""
    if set(map(type, values)) != {tuple}:
        return None
    inner = list(chain.from_iterable(values))
    kinds = set(map(type, inner))
    if not kinds <= _SCALARS or (float in kinds and _has_nan(inner, kinds)):
        return None
    return b"\xc1T".join([_header(len(values), 0x90, 0xDC), *map(_canonical, values)])


def _has_nan(values: Iterable[Any], kinds: set[type]) -> bool:
    """Look for a nan. A sum is the quick way: a nan anywhere makes it nan."""
    if kinds <= _NUMBERS:
        try:
            if not math.isnan(sum(values)):
                return False
        except OverflowError:
            pass
    return any(x != x for x in values if type(x) is float)  # noqa: PLR0124  # only nan differs from itself


def _fingerprint_plain(value: Any) -> Print | None:
    """Fingerprint a list or dict, level by level with the loops in C; None if it is not plain.

    A nan has many bit patterns and one meaning: then the walk makes the digest.
    """
    if type(value) is dict and set(map(type, value)) <= {str}:
        flat = set(map(type, value.values()))
        if flat <= _SCALARS and float not in flat:
            plain = _encode(value)
            data = _canonical(value) if len(value) > 1 else plain
            return Print(_digest(data), plain, False, len(plain))  # noqa: FBT003
    level: list[Any] = [value]
    total, mapped, nan = 0, False, False
    for depth in range(_DEPTH):
        kinds = set(map(type, level))
        if not kinds <= _PLAIN or (depth > 8 and total > 4_000_000):  # noqa: PLR2004  # few levels hold much; many hold parts that are shared, and double
            return None
        nan = nan or (float in kinds and _has_nan(level, kinds))
        mapped = mapped or dict in kinds
        following = _children(level, kinds)
        if following is None:
            return None
        if not following:
            break
        level = following
        total += len(level)
    else:
        return None
    plain = _encode(value)
    if nan:
        return Print(_fingerprint_walk(value).digest, plain, False, len(plain))  # noqa: FBT003
    return Print(_digest(_canonical(value) if mapped else plain), plain, False, len(plain))  # noqa: FBT003


def _children(level: list[Any], kinds: set[type]) -> list[Any] | None:
    """Collect what is inside the lists and dicts of a level; None if a key is not a str."""
    if dict not in kinds:
        if list not in kinds:
            return []
        lists: Iterable[list[Any]] = level if len(kinds) == 1 else [x for x in level if type(x) is list]
        return list(chain.from_iterable(lists))
    dicts: list[dict[Any, Any]] = level if len(kinds) == 1 else [x for x in level if type(x) is dict]
    if not set(map(type, chain.from_iterable(dicts))) <= {str}:
        return None
    found = list(chain.from_iterable(x.values() for x in dicts))
    if list in kinds:
        found.extend(chain.from_iterable(x for x in level if type(x) is list))
    return found


def _fingerprint_walk(value: object) -> Print:
    walk = Walk()
    walk.add(value)
    return Print(walk.digest(), None, walk.opaque, walk.size)


def _header(count: int, small: int, large: int) -> bytes:
    """Begin a msgpack array (0x90, 0xDC) or map (0x80, 0xDE)."""
    if count < 16:  # noqa: PLR2004
        return bytes((small | count,))
    if count < 65_536:  # noqa: PLR2004
        return bytes((large,)) + count.to_bytes(2, "big")
    return bytes((large + 1,)) + count.to_bytes(4, "big")


class Walk:
    """One pass over a value that writes its canonical encoding. Handlers call its methods."""

    __slots__ = ("_budget", "_hashed", "_out", "_path", "opaque")

    def __init__(self) -> None:
        """Begin with nothing written."""
        self.opaque = False
        self._out: list[bytes] = []
        self._path: dict[int, int] = {}
        self._budget = _BUDGET
        self._hashed = 0

    @property
    def size(self) -> int:
        """Bytes of content taken in."""
        return self._hashed + sum(map(len, self._out))

    def digest(self) -> bytes:
        """Hash what was written."""
        return _digest(b"".join(self._out))

    def add(self, value: Any) -> None:
        """Write any value."""
        kind = type(value)
        if kind in _SCALARS:
            self._scalar(value)
            return
        key = id(value)
        if key in self._path:
            self.tag(b"^", len(self._path) - self._path[key])
            return
        self._budget -= 1
        if len(self._path) >= _DEPTH or self._budget < 0:
            self.unknown(kind)
            return
        self._path[key] = len(self._path)
        begin, out = len(self._out), self._out
        try:
            handler = _CONTAINERS.get(kind)
            if handler is None:
                find_handler(kind)(self, value)
            else:
                handler(self, value)
        except Exception:  # whatever a foreign object raises when looked at
            self._out = out
            del out[begin:]
            self.unknown(kind)
        finally:
            del self._path[key]

    def tag(self, letter: bytes, *parts: Any) -> None:
        """Write what kind of thing follows, then its parts (their number is fixed by the letter)."""
        self._out.append(b"\xc1" + letter)
        for part in parts:
            self.add(part)

    def unknown(self, kind: type) -> None:
        """Write an opaque thing."""
        self.opaque = True
        self.tag(b"?", kind.__qualname__)

    def items(self, values: list[Any] | tuple[Any, ...]) -> None:
        """Write a sequence: its length, then each."""
        flat = None
        with contextlib.suppress(OverflowError, UnicodeEncodeError):
            flat = _flat(values) if len(values) < _MANY or type(values[0]) is not tuple else _pairs(values)
        if flat is not None:
            self._out.append(flat)
            return
        self._out.append(_header(len(values), 0x90, 0xDC))
        for value in values:
            self.add(value)

    def unordered(self, values: Iterable[Any]) -> None:
        """Write things whose order means nothing."""
        values = list(values)
        if set(map(type, values)) in ({int}, {str}):
            self.items(sorted(values))
            return
        self._out.append(_header(len(values), 0x90, 0xDC))
        self._out.extend(sorted(self._apart(value) for value in values))

    def mapping(self, values: Any) -> None:
        """Write a dict, sorted by key."""
        if set(map(type, values)) <= {str}:
            try:
                "".join(values).encode()
            except UnicodeEncodeError:
                pass
            else:
                self._out.append(_header(len(values), 0x80, 0xDE))
                for key in sorted(values):
                    self._out.append(_canonical(key))
                    self.add(values[key])
                return
        self._out.append(b"\xc1D")
        self._out.append(_header(len(values), 0x80, 0xDE))
        for _, pair in sorted((self._apart(k), self._apart((k, v))) for k, v in values.items()):
            self._out.append(pair)

    def buffer(self, data: bytes | bytearray | memoryview) -> None:
        """Write raw bytes: their length, then them, or their digest where they are many."""
        size = data.nbytes if isinstance(data, memoryview) else len(data)
        self._out.append(_canonical(size))
        if size <= _BIG:
            self._out.append(bytes(data))
            return
        state = _new()
        state.update(data)
        self._out.append(state.digest())
        self._hashed += size

    def _scalar(self, value: Any) -> None:
        kind = type(value)
        if kind is float:
            self._out.append(_NAN if value != value else _canonical(value))  # noqa: PLR0124  # only nan differs from itself
            return
        try:
            self._out.append(_canonical(value))
        except OverflowError:
            self._out.append(b"\xc1I")
            self.buffer(value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))
        except UnicodeEncodeError:
            self._out.append(b"\xc1S")
            self.buffer(value.encode("utf-8", "surrogatepass"))

    def _apart(self, value: Any) -> bytes:
        """Encode a value by itself."""
        out, self._out = self._out, []
        try:
            self.add(value)
            return b"".join(self._out)
        finally:
            self._out = out


def _tuple(walk: Walk, value: tuple[Any, ...]) -> None:
    walk.tag(b"T")
    walk.items(value)


_CONTAINERS: dict[type, Callable[[Walk, Any], None]] = {
    tuple: _tuple,
    list: Walk.items,
    dict: Walk.mapping,
}
