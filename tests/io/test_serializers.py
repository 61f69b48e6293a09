"""What encoding a result promises: it comes back as it was, and listings never run its code."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
import subprocess
import sys
import threading
import types

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ostinato
from ostinato.errors import ResultError
from ostinato.fingerprint import Print, fingerprint
from ostinato.io.pickles import stand_in_for_main
from ostinato.io.serializers import decode, describe, encode, find_reference, refer, to_json


@dataclasses.dataclass
class Point:
    x: object


class Bomb:
    """Goes off when it is unpickled."""

    def __reduce__(self) -> object:
        return (exec, ("raise SystemExit('unpickled')",))


def round_trip(value: object) -> object:
    return decode(encode(value, fingerprint(value)).data)


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(plain)
def test_plain_value_is_msgpack_and_comes_back(value: object) -> None:
    encoded = encode(value, fingerprint(value))
    assert encoded.codec == "m"
    assert decode(encoded.data) == value


@given(plain)
def test_plain_value_is_shown_as_json(value: object) -> None:
    shown = to_json(encode(value, fingerprint(value)).data)
    assert json.loads(msgspec.json.encode(shown)) == json.loads(json.dumps(shown))


@pytest.mark.parametrize(
    ("value", "codec"),
    [
        ((1, 2), "p"),
        ({1, 2}, "p"),
        ({1: 2}, "p"),
        (2**70, "p"),
        (Point([1]), "p"),
        ("\ud800", "p"),
        ([(1,)], "p"),
        (pathlib.Path("a"), "p"),
    ],
)
def test_other_value_is_pickled_and_comes_back(value: object, codec: str) -> None:
    encoded = encode(value, fingerprint(value))
    assert encoded.codec == codec
    again = decode(encoded.data)
    assert again == value
    assert type(again) is type(value)


def test_what_pickle_refuses_goes_by_cloudpickle() -> None:
    encoded = encode(lambda x: x + 1, fingerprint(len))
    assert encoded.codec == "c"
    assert decode(encoded.data)(1) == 2


FRAMES = [
    pl.DataFrame({"a": [1, None], "b": ["x", None], "c": [[1], []], "d": [{"q": 1}, None]}),
    pl.DataFrame(
        {"c": pl.Series(["a", "b"], dtype=pl.Categorical), "e": pl.Series(["a", None], dtype=pl.Enum(["b", "a"]))}
    ),
    pl.DataFrame({"o": pl.Series([object, int], dtype=pl.Object)}).drop("o"),
    pl.DataFrame({"n": [None, None], "d": pl.Series([1, 2], dtype=pl.Decimal(9, 1))}),
    pl.DataFrame({"a": range(100_000)}),
    pl.DataFrame(),
    pl.Series("s", [1, 2]),
    pl.DataFrame({"a": [1]}).lazy(),
    pd.DataFrame({"a": [1, 2], "b": ["x", None]}, index=[3, 4]),
    pd.Series([1, 2], name="s"),
    np.arange(6).reshape(2, 3),
    pa.table({"a": range(1000)}),
    pa.table({"a": range(100_000)}).slice(5, 10),
    pa.record_batch({"a": range(100_000)}).slice(5, 10),
    pa.array([1, None]),
]


@pytest.mark.parametrize("frame", FRAMES, ids=range(len(FRAMES)))
def test_frame_comes_back_as_it_was(frame: object) -> None:
    again = round_trip(frame)
    assert type(again) is type(frame)
    assert fingerprint(again).digest == fingerprint(frame).digest
    if isinstance(frame, pl.DataFrame):
        assert again.schema == frame.schema


def test_slice_of_an_arrow_table_does_not_take_the_whole_along() -> None:
    part = pa.table({"a": range(100_000)}).slice(5, 10)
    assert len(encode(part, fingerprint(part)).data) < 2000


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"client": [1, Point(threading.Lock())]}, ["result['client'][1].x is a _thread.lock", "persist=False"]),
        (Point({"a": (n for n in [])}), ["result.x['a'] is a generator", "`list(...)`"]),
        (threading.Lock(), ["result of type _thread.lock"]),
        (sys.stdout, ["path or its contents"]),
    ],
)
def test_result_that_cannot_be_stored_says_where_and_what_to_do(value: object, words: list[str]) -> None:
    with pytest.raises(ResultError) as caught:
        encode(value, fingerprint(value))
    for word in words:
        assert word in str(caught.value)


def test_duckdb_relation_is_refused_with_what_to_return() -> None:
    relation = pytest.importorskip("duckdb").sql("select 1 as a")
    with pytest.raises(ResultError, match=r"`.pl\(\)`"):
        encode(relation, fingerprint(relation))


def test_open_file_is_not_stored_as_a_copy_of_its_text(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").write_text("x")
    with (tmp_path / "a").open() as file, pytest.raises(ResultError, match="open file"):
        encode([file, lambda: 1], fingerprint(file))


def test_description_never_unpickles() -> None:
    data = encode(Bomb(), Print(digest=b"", plain=None, opaque=True, size=0)).data
    assert re.fullmatch(r"<pickle, [\w.]*Bomb, \d+ B>", describe(data))
    with pytest.raises(SystemExit, match="unpickled"):
        decode(data)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"a": [1, None]}, '{"a":[1,null]}'),
        (pl.DataFrame({"a": range(100)}), "<arrow, polars.DataFrame, "),
        (pd.DataFrame({"a": range(1000)}), "<pickle, pandas.DataFrame, "),
        ((1, 2), "<pickle, tuple, 18 B>"),
        (float("inf"), '"inf"'),
        (b"abc", '"YWJj"'),
        ("x" * 1000, '"' + "x" * 298 + "…"),
    ],
)
def test_description_shows_plain_values_and_names_others(value: object, shown: str) -> None:
    assert describe(encode(value, fingerprint(value)).data).startswith(shown)


@pytest.mark.parametrize("data", [b"", b"?", b"m", b"m\xc1", b"p", b"p\xffabc", b"r\x00", b"e\x00", b"p\x02\xff\xff"])
def test_damaged_bytes_are_described_and_refused(data: bytes) -> None:
    assert describe(data)
    assert to_json(data)
    with pytest.raises(ResultError):
        decode(data)


def test_reference_says_what_it_stands_for() -> None:
    frame = pl.DataFrame({"a": range(100_000)})
    encoded = encode(frame, fingerprint(frame))
    data = refer(encoded, "ab" * 32)
    reference = find_reference(data)
    assert reference is not None
    assert (reference.hash, reference.codec, reference.size) == ("ab" * 32, "a", len(encoded.data))
    assert describe(data).startswith("<arrow, polars.DataFrame, ")
    assert find_reference(encoded.data) is None


def test_value_whose_class_is_gone_says_what_to_do() -> None:
    module = types.ModuleType("soon_gone")
    exec("class C: pass", module.__dict__)
    sys.modules["soon_gone"] = module
    data = encode(module.C(), fingerprint(module.C())).data
    del sys.modules["soon_gone"]
    with pytest.raises(ResultError, match=r"stored soon_gone\.C cannot be rebuilt.*ostinato rerun"):
        decode(data)


SCRIPT = """
import sys
from ostinato.fingerprint import fingerprint
from ostinato.io.serializers import decode, encode
class Point:
    def __init__(self, x): self.x = x
if __name__ == "__main__":
    if sys.argv[1] == "write":
        sys.stdout.write(encode(Point(3), fingerprint(Point(3))).data.hex())
    else:
        found = decode(bytes.fromhex(sys.argv[2]))
        assert type(found) is Point and found.x == 3, type(found)
        assert "pipeline" not in sys.modules
"""


def test_class_of_a_script_is_found_by_script_and_by_worker(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pipeline.py"
    path.write_text(SCRIPT)
    monkeypatch.setenv("PYTHONPATH", str(pathlib.Path(ostinato.__path__[0]).parent))
    written = subprocess.run([sys.executable, path, "write"], capture_output=True, text=True, check=True).stdout
    module = types.ModuleType("pipeline")
    exec(compile(SCRIPT, str(path), "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, "pipeline", module)
    stand_in_for_main(module)
    found = decode(bytes.fromhex(written))
    assert type(found) is module.Point
    assert fingerprint(found).digest == fingerprint(module.Point(3)).digest
    by_worker = encode(found, fingerprint(found)).data
    for data in (by_worker, bytes.fromhex(written)):
        subprocess.run([sys.executable, path, "read", data.hex()], check=True)
