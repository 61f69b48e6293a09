"""What the fingerprint of Python's own values promises."""

# ruff: noqa: DTZ001, ICN001, PIE807, PLW0108, UP045  a zoo of values, one beside the other

from __future__ import annotations

import collections
import dataclasses
import datetime
import enum
import functools
import io
import math
import os
import pathlib
import pickle
import re
import subprocess
import sys
import threading
import types
import typing
import uuid
from decimal import Decimal
from fractions import Fraction
from itertools import combinations
from zoneinfo import ZoneInfo

import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostinato.fingerprint import Known, Walk, code_fingerprint, combine, fingerprint

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
surrogates = st.text(st.characters(codec=None, categories=["Cs", "L"]), max_size=3)
hashable = st.recursive(
    scalars | surrogates, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=4), max_leaves=8
)
values = st.recursive(
    scalars | surrogates,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=4), inner, max_size=4)
        | st.dictionaries(hashable, inner, max_size=3)
        | st.frozensets(hashable, max_size=3)
        | st.sets(hashable, max_size=3)
    ),
    max_leaves=20,
)


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Level(enum.IntEnum):
    ONE = 1


class Right(enum.Flag):
    READ = 1
    WRITE = 2


Pair = collections.namedtuple("Pair", "a b")  # noqa: PYI024


@dataclasses.dataclass
class Point:
    x: object
    y: object = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    x: int


class Struct(msgspec.Struct):
    x: object


class Model(pydantic.BaseModel):
    x: int
    _hidden: int = 0


class Ordinary:
    def __init__(self, x: object) -> None:
        self.x = x


class Own:
    def __init__(self, x: object) -> None:
        self.lock, self.x = threading.Lock(), x

    def __ostinato_fingerprint__(self) -> object:
        return self.x


def one(x: int = 1) -> int:
    return x + 1


def digest(value: object) -> bytes:
    return fingerprint(value).digest


def same(a: object, b: object) -> bool:
    """Equality with types, nan and -0.0: what a fingerprint must tell apart."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return len(a) == len(b) and same_sets(list(a.items()), list(b.items()))
    if isinstance(a, (set, frozenset)):
        return len(a) == len(b) and same_sets(list(a), list(b))
    return a == b


def same_sets(a: list[object], b: list[object]) -> bool:
    left = list(b)
    for item in a:
        found = next((n for n, other in enumerate(left) if same(item, other)), None)
        if found is None:
            return False
        del left[found]
    return True


@given(values, values)
@settings(max_examples=500)
def test_fingerprint_is_equal_exactly_where_values_are(a: object, b: object) -> None:
    assert (digest(a) == digest(b)) == same(a, b)


@given(values)
@settings(max_examples=300)
def test_fingerprint_survives_a_copy_in_another_memory(value: object) -> None:
    assert digest(pickle.loads(pickle.dumps(value))) == digest(value)


@given(values)
@settings(max_examples=300)
def test_fingerprint_is_the_same_by_the_quick_way_and_by_the_walk(value: object) -> None:
    walk = Walk()
    walk.add(value)
    assert walk.digest() == digest(value)


@given(values)
@settings(max_examples=300)
def test_plain_bytes_come_back_exactly(value: object) -> None:
    plain = fingerprint(value).plain
    if plain is not None:
        again = msgspec.msgpack.decode(plain)
        assert same(again, value)
        assert not isinstance(value, dict) or list(again) == list(value)


@given(st.dictionaries(hashable, scalars), st.sets(hashable), st.randoms())
def test_order_of_dicts_and_sets_means_nothing(mapping: dict, things: set, random) -> None:
    pairs, elements = list(mapping.items()), list(things)
    random.shuffle(pairs)
    random.shuffle(elements)
    assert digest(dict(pairs)) == digest(mapping)
    assert digest(set(elements)) == digest(things)
    assert digest(collections.defaultdict(int, pairs)) == digest(collections.defaultdict(int, mapping))


ZOO: list[typing.Callable[[], object]] = [
    lambda: None, lambda: True, lambda: 1, lambda: 1.0, lambda: "1", lambda: b"1", lambda: 0, lambda: False,
    lambda: "", lambda: b"", lambda: [], lambda: (), lambda: {}, lambda: set(), lambda: frozenset(), lambda: bytearray(),
    lambda: memoryview(b""), lambda: [[]], lambda: [()], lambda: ([],), lambda: [1, 2], lambda: (1, 2), lambda: [[1], 2],
    lambda: [[1, 2]], lambda: {1: 2}, lambda: {"1": 2}, lambda: [("1", 2)], lambda: {1, 2}, lambda: frozenset({1, 2}),
    lambda: ..., lambda: NotImplemented, lambda: 1 + 0j, lambda: 2**64, lambda: -(2**63) - 1, lambda: 2**200, lambda: -(2**200),
    lambda: "\ud800", lambda: "\ud800\udc00", lambda: float("nan"), lambda: float("inf"), lambda: range(3), lambda: range(0),
    lambda: range(0, 6, 2), lambda: slice(3), lambda: slice(0, 3), lambda: datetime.date(2020, 1, 1),
    lambda: datetime.datetime(2020, 1, 1), lambda: datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC),
    lambda: datetime.datetime(2020, 1, 1, tzinfo=ZoneInfo("Europe/Oslo")), lambda: datetime.datetime(2020, 1, 1, fold=1),
    lambda: datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=1))),
    lambda: datetime.time(0), lambda: datetime.timedelta(1), lambda: datetime.timedelta(seconds=1), lambda: Decimal("1.0"),
    lambda: Decimal(1), lambda: Decimal("NaN"), lambda: Fraction(1, 2), lambda: uuid.UUID(int=1), lambda: pathlib.Path("1"),
    lambda: pathlib.PurePosixPath("1"), lambda: pathlib.PureWindowsPath("1"), lambda: re.compile("1"), lambda: re.compile(b"1"),
    lambda: re.compile("1", re.IGNORECASE), lambda: Colour.RED, lambda: Colour.BLUE, lambda: Level.ONE, lambda: Right.READ,
    lambda: Right.READ | Right.WRITE, lambda: Pair(1, 2), lambda: Point(1), lambda: Point(2), lambda: Point([1]), lambda: Point((1,)),
    lambda: Slotted(1), lambda: Struct(1), lambda: Struct(2), lambda: Model(x=1), lambda: Model(x=2),
    lambda: Ordinary(1), lambda: Ordinary(2), lambda: collections.Counter("ab"), lambda: collections.OrderedDict(a=1, b=2),
    lambda: collections.OrderedDict(b=2, a=1), lambda: collections.deque([1]), lambda: collections.deque([1], 3),
    lambda: collections.defaultdict(int), lambda: collections.defaultdict(list), lambda: collections.UserDict(a=1), lambda: one,
    lambda: len, lambda: math.sin, lambda: "ab".upper, lambda: "ac".upper, lambda: functools.partial(one, 1),
    lambda: functools.partial(one, 2), lambda: Ordinary(1).__init__, lambda: int, lambda: Point, lambda: Model, lambda: math, lambda: re,
    lambda: ValueError("a"), lambda: ValueError("b"), lambda: KeyError("a"), lambda: types.SimpleNamespace(a=1), lambda: io.BytesIO(b"a"),
    lambda: io.BytesIO(b"b"), lambda: io.StringIO("a"), lambda: types.MappingProxyType({"a": 1}), lambda: {"a": 1}.keys(),
    lambda: {"a": 1}.items(), lambda: {"a": 1}.values(), lambda: list[int], lambda: dict[str, int], lambda: typing.Optional[int],
    lambda: Own(1), lambda: Own(2), lambda: object(), lambda: ZoneInfo("Europe/Oslo"), lambda: datetime.UTC,
]  # fmt: skip


def test_values_of_every_kind_differ_from_one_another() -> None:
    found = [(make(), digest(make())) for make in ZOO]
    assert [(a, b) for (a, one), (b, two) in combinations(found, 2) if one == two] == []


@pytest.mark.parametrize("make", ZOO, ids=range(len(ZOO)))
def test_value_made_twice_has_one_fingerprint_and_is_not_opaque(make) -> None:
    assert digest(make()) == digest(make())
    assert not fingerprint(make()).opaque


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    "value", [(1,), {1}, 2**70, {1: 2}, [(1,)], {"a": {1}}, Level.ONE, Text("a"), bytearray(), [Level.ONE]]
)
def test_only_what_msgpack_gives_back_is_plain(value: object) -> None:
    assert fingerprint(value).plain is None


def test_nan_equals_nan_whatever_its_bits() -> None:
    negative = -float("nan")
    for wrap in (lambda x: x, lambda x: [x], lambda x: (x, "a"), lambda x: {"a": [x]}, lambda x: [[1.0, x], "b"]):
        assert digest(wrap(float("nan"))) == digest(wrap(negative))


def test_infinities_that_sum_to_nan_are_no_nan() -> None:
    assert digest([math.inf, -math.inf]) != digest([-math.inf, math.inf])
    assert digest((10**18, 1e308, 1e308, -math.inf)) != digest((10**18, 1e308, 1e308, math.inf))


MANY = [
    [(n, str(n)) for n in range(100)],
    [(n, float("nan")) for n in range(100)],
    [(2**70,)] * 100,
    [((1,), 2)] * 100,
    [("\ud800",)] * 100,
    [(), (1,)] * 50,
]


@pytest.mark.parametrize("pairs", MANY, ids=range(len(MANY)))
def test_long_list_of_tuples_is_told_from_others_like_it(pairs: list) -> None:
    assert digest(pairs) == digest(list(pairs))
    assert (
        len(
            {
                digest(pairs),
                digest(pairs[1:]),
                digest(tuple(pairs)),
                digest([list(p) for p in pairs]),
                digest([*pairs, ()]),
            }
        )
        == 5
    )
    with_other = [*pairs[:-1], (pairs[-1], {1})]
    assert digest(with_other) != digest(pairs)


def test_path_has_one_fingerprint_on_every_platform() -> None:
    assert digest(pathlib.Path("a/b")) == digest(pathlib.Path("a") / "b")
    assert digest(pathlib.PureWindowsPath("a\\b")) == digest(pathlib.PureWindowsPath("a/b"))


def test_equal_ranges_are_equal() -> None:
    assert digest(range(0, 3, 2)) == digest(range(0, 4, 2))
    assert digest(range(0)) == digest(range(5, 5))


def test_shared_parts_are_like_equal_copies() -> None:
    shared = (1, [2])
    assert digest([shared, shared]) == digest([(1, [2]), (1, [2])])


def test_cycle_ends_and_has_a_stable_fingerprint() -> None:
    def ring() -> list:
        a: list = [1]
        a.append({"b": (a,)})
        return a

    def node() -> Ordinary:
        n = Ordinary(None)
        n.x = [n]
        return n

    assert digest(ring()) == digest(ring())
    assert digest(node()) == digest(node())


def test_doubling_parts_end() -> None:
    value: object = (1,)
    for _ in range(12):
        value = [value, value]
    assert digest(value)


def test_very_deep_value_is_opaque_and_raises_nothing() -> None:
    deep: list = []
    for _ in range(5000):
        deep = [deep]
    assert fingerprint(deep).opaque


def generator():
    yield 1


class Touchy:
    def __reduce_ex__(self, protocol: object) -> object:
        raise RuntimeError


class Worse:
    def __ostinato_fingerprint__(self) -> object:
        raise SystemError


OPAQUE = [
    threading.Lock, generator, lambda: iter([1]), lambda: map(str, [1]), lambda: zip([1], [2], strict=True), Touchy, Worse,
    lambda: Ordinary(threading.Lock()), lambda: [1, {"a": threading.RLock()}], lambda: {threading.Lock(): 1},
    lambda: functools.partial(one, threading.Lock()), threading.Event, lambda: sys.stdout, lambda: (threading.Lock(),),
    lambda: Point(generator()), lambda: pydantic.RootModel[object](threading.Lock()),
]  # fmt: skip


@pytest.mark.parametrize("make", OPAQUE, ids=range(len(OPAQUE)))
def test_what_cannot_be_encoded_is_opaque_and_stands_by_its_type(make) -> None:
    found = fingerprint(make())
    assert found.opaque
    assert found.plain is None
    assert digest(make()) == found.digest


def test_iterator_is_not_used_up() -> None:
    iterators = [iter([1, 2]), generator(), map(str, [1]), enumerate("a"), iter({"a": 1}.items()), io.StringIO("a\nb")]
    before = fingerprint(iterators).digest
    assert before
    assert [next(i) for i in iterators] == [1, 1, "1", (0, "a"), ("a", 1), "a\n"]


def test_value_is_not_changed() -> None:
    counts: collections.defaultdict = collections.defaultdict(list)
    fingerprint([counts, Model(x=1)])
    assert counts == {}


def test_cached_property_of_a_model_does_not_count() -> None:
    @dataclasses.dataclass
    class Lazy:
        x: int

        @functools.cached_property
        def double(self) -> int:
            return 2 * self.x

    used = Lazy(1)
    assert used.double == 2
    assert digest(used) == digest(Lazy(1))


def test_field_of_a_dataclass_may_be_missing() -> None:
    @dataclasses.dataclass
    class Late:
        x: int
        y: int = dataclasses.field(init=False)

    assert not fingerprint(Late(1)).opaque


def test_known_digest_stands_in_for_content() -> None:
    assert digest([Known(b"1" * 16)]) == digest([Known(b"1" * 16)])
    assert digest([Known(b"1" * 16)]) != digest([Known(b"2" * 16)])
    assert not fingerprint([Known(b"1" * 16)]).opaque


def test_module_of_a_class_does_not_count(tmp_path: pathlib.Path) -> None:
    text = "class C:\n  def __init__(self): self.x = 1\ndef f(a=1):\n  return [a, (1, 2)]\n"
    found = []
    for name in ("__main__", "pipeline", "package.pipeline"):
        module = types.ModuleType(name)
        exec(compile(text, f"{name}.py", "exec"), module.__dict__)
        found.append((digest(module.C()), digest(module.f), digest(module.C)))
    assert found[0] == found[1] == found[2]


def test_attrs_object_counts_by_its_fields() -> None:
    attrs = pytest.importorskip("attrs")
    made = attrs.make_class("Made", ["x"], slots=True)
    assert digest(made(1)) == digest(made(1)) != digest(made(2))
    assert not fingerprint(made([1])).opaque


def test_classes_of_one_name_with_other_fields_differ() -> None:
    def first() -> type:
        class Record:
            a: int

        return Record

    def second() -> type:
        class Record:
            b: int

        return Record

    second.__qualname__ = first.__qualname__
    a, b = first(), second()
    b.__qualname__ = a.__qualname__
    assert digest(a) != digest(b)


# --- code


def made(text: str, name: str = "f") -> typing.Any:
    space: dict = {}
    exec(compile(text, "x.py", "exec"), space)
    return space[name]


@pytest.mark.parametrize(
    "text",
    [
        "\n\n\ndef f(x):\n\n    return x + 1",
        "def f(x):\n    '''Documented.'''\n    return x + 1",
        "def f(x):\n    # said why\n    return (x +\n        1)",
    ],
)
def test_code_fingerprint_ignores_lines_and_docstrings(text: str) -> None:
    assert code_fingerprint(made(text)) == code_fingerprint(made("def f(x):\n    return x + 1"))


@pytest.mark.parametrize(
    "text",
    [
        "def f(x):\n    return x + 2",
        "def f(x):\n    return x + 1.0",
        "def f(x):\n    return x + True",
        "def f(x):\n    return x - 1",
        "def f(x=1):\n    return x + 1",
        "def f(*, x):\n    return x + 1",
        "def f(y):\n    return y + 1",
        "async def f(x):\n    return x + 1",
        "def f(x):\n    try:\n        return x + 1\n    except ValueError:\n        pass",
    ],
)
def test_code_fingerprint_sees_what_is_done(text: str) -> None:
    assert code_fingerprint(made(text)) != code_fingerprint(made("def f(x):\n    return x + 1"))


def test_code_fingerprint_sees_nested_functions_but_not_their_lines() -> None:
    inner = "def f(x):\n    def g(y):\n        {}return y{}\n    return g(x)"
    plain = code_fingerprint(made(inner.format("", "")))
    assert code_fingerprint(made(inner.format("'''Says so.'''\n        ", ""))) == plain
    assert code_fingerprint(made(inner.format("", "+1"))) != plain


def test_code_fingerprint_of_a_nested_class_ignores_its_line() -> None:
    text = "def f():\n{}    class C:\n        def g(self): return 1\n    return C"
    assert code_fingerprint(made(text.format(""))) == code_fingerprint(made(text.format("\n\n\n")))


def test_code_fingerprint_sees_values_closed_over() -> None:
    def make(n: int) -> typing.Callable[[int], int]:
        return lambda x: x + n

    assert code_fingerprint(make(1)) == code_fingerprint(make(1))
    assert code_fingerprint(make(1)) != code_fingerprint(make(2))


def test_code_fingerprint_sees_through_decorators_partials_and_methods() -> None:
    def decorate(function):
        @functools.wraps(function)
        def wrapper(*args):
            return wrapper.__wrapped__(*args)

        return wrapper

    plus, minus = made("def f(x): return x + 1"), made("def f(x): return x - 1")
    for wrap in (decorate, functools.cache, lambda f: functools.partial(f, 1), lambda f: types.MethodType(f, 1)):
        assert code_fingerprint(wrap(plus)) != code_fingerprint(wrap(minus))
        assert code_fingerprint(wrap(plus)) == code_fingerprint(wrap(made("def f(x): return x + 1")))


def test_code_fingerprint_is_16_hex_digits_for_any_callable() -> None:
    class Callable:
        def __call__(self) -> int:
            return 1

    for function in (one, len, Callable(), Point, int, functools.partial(len), [].append, Ordinary.__init__, None):
        assert re.fullmatch("[0-9a-f]{16}", code_fingerprint(function))


def test_code_fingerprint_ends_for_functions_that_know_themselves() -> None:
    def outer():
        def again(n):
            return again(n - 1) if n else 0

        return again

    assert code_fingerprint(outer()) == code_fingerprint(outer())
    assert digest(outer()) == digest(outer())


def test_function_that_has_run_is_still_the_same() -> None:
    function = made("def f(x):\n    return [y + 1 for y in x if y]")
    before = digest(function)
    for _ in range(2000):
        function([1, 2.0, True])
    assert digest(function) == before


def test_combine_keeps_parts_apart() -> None:
    assert combine("a", "bc") != combine("ab", "c")
    assert combine("a") != combine(b"a")
    assert combine("a", "") != combine("a")
    assert len(combine()) == 16


# --- other processes, other versions of Python

GOLDEN_FILE = pathlib.Path(__file__).with_name("golden_fingerprints.json")
SCRIPT = pathlib.Path(__file__).with_name("golden_values.py")


def run_script(seed: str) -> dict[str, str]:
    source = pathlib.Path(sys.modules["ostinato.fingerprint"].__file__).parents[1]
    environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(source)}
    done = subprocess.run([sys.executable, SCRIPT], env=environment, capture_output=True, check=True)
    return msgspec.json.decode(done.stdout)


@pytest.mark.parametrize("seed", ["0", "1", "4242"])
def test_fingerprints_are_the_checked_in_ones_in_every_process(seed: str) -> None:
    golden = msgspec.json.decode(GOLDEN_FILE.read_bytes())
    assert run_script(seed) == golden
