"""Prints the fingerprints of values of every kind as JSON, for `golden_fingerprints.json`.

Run as a script, under several versions of Python and hash seeds; it needs msgspec alone. A digest that
changes here changes the identity of calls in unfinished runs: then raise the version in `fingerprint.py`,
and say so in the release notes.
"""

# ruff: noqa: DTZ001, FURB167, ICN001  a zoo of values, one beside the other

import collections
import dataclasses
import datetime
import enum
import json
import pathlib
import re
import threading
import types
import uuid
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

from ostinato.fingerprint import Known, combine, fingerprint


class Colour(enum.Enum):
    RED = 1


class Right(enum.Flag):
    READ = 1
    WRITE = 2


class Strings(enum.StrEnum):
    A = "a"


@dataclasses.dataclass
class Point:
    x: object
    y: object = 0


class Ordinary:
    def __init__(self, x: object) -> None:
        self.x = x


class Slots:
    __slots__ = ("a", "b")

    def __init__(self) -> None:
        self.a, self.b = 1, 2


class Text(str):
    __slots__ = ()


class Words(set):
    pass


class FrozenWords(frozenset):
    __slots__ = ()


Pair = collections.namedtuple("Pair", "a b")  # noqa: PYI024
UTC = datetime.UTC
words = {"one", "two", "three", "four", "five"}

VALUES = {
    "None": None, "True": True, "1": 1, "1.0": 1.0, "-0.0": -0.0, "nan": float("nan"), "str": "Østerås", "bytes": b"\x00\xff",
    "big int": 2**200, "negative big int": -(2**63) - 1, "uint64": 2**64 - 1, "surrogate": "\ud800", "list": [1, [2.5, "a"], None],
    "long list": list(range(70_000)), "long str": "x" * 70_000, "long bytearray": bytearray(70_000),
    "dict": {"b": 1, "a": {"é": [1], "z": 2, "🎵": 3}}, "dict with other keys": {1: "a", (2, "b"): None, "c": 1.5},
    "tuple": (3, "Oslo"), "nested tuple": ((1,), [(2, {3})]), "pairs": [(n, str(n)) for n in range(100)], "set": words,
    "mixed set": {1, "a", None, (1, 2)}, "frozenset": frozenset(words), "complex": 1 - 2j, "ellipsis": ...,
    "bytearray": bytearray(b"a"), "memoryview": memoryview(b"abc"), "range": range(1, 9, 3), "slice": slice(1, None, 2),
    "date": datetime.date(2013, 7, 4), "datetime": datetime.datetime(2013, 7, 4, 1, 2, 3, 4),
    "aware": datetime.datetime(2013, 7, 4, tzinfo=UTC), "zoned": datetime.datetime(2013, 7, 4, tzinfo=ZoneInfo("Europe/Oslo")),
    "time": datetime.time(1, 2, 3), "timedelta": datetime.timedelta(days=-1, microseconds=1), "decimal": Decimal("1.50"),
    "fraction": Fraction(1, 3), "uuid": uuid.UUID(int=5), "path": pathlib.Path("a/b.csv"), "pattern": re.compile("a+", re.I | re.X),
    "enum": Colour.RED, "flag": Right.READ | Right.WRITE, "str enum": Strings.A, "named tuple": Pair(1, "b"),
    "dataclass": Point([1], {"a": words}), "object": Ordinary({1: words}), "slots": Slots(), "str subclass": Text("a"),
    "ordered": collections.OrderedDict(b=1, a=2), "counter": collections.Counter("abca"), "deque": collections.deque([1, 2], 5),
    "defaultdict": collections.defaultdict(list, {"a": [1]}), "namespace": types.SimpleNamespace(a=1), "exception": ValueError("a", 1),
    "class": Point, "builtin": len, "builtin class": int, "bound builtin": "a".upper, "module": re, "alias": list[int],
    "set subclass": Words(words), "frozenset subclass": FrozenWords(words), "lock": threading.Lock(), "iterator": iter([1]), "known": Known(b"0" * 16),
}  # fmt: skip

if __name__ == "__main__":
    found = {name: fingerprint(value).digest.hex() for name, value in VALUES.items()}
    found["combine"] = combine("a", b"b").hex()
    print(json.dumps(found, indent=1, ensure_ascii=False))
