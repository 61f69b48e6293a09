"""What the fingerprint of arrays and data frames promises: it is that of the content, not of the memory."""

# ruff: noqa: DTZ001, FBT003, ICN001  a zoo of values, one beside the other

from __future__ import annotations

import copy
import datetime
import decimal
import os
import pathlib
import pickle
import subprocess
import sys
import typing

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import ostinato
from ostinato.fingerprint import fingerprint


def digest(value: object) -> bytes:
    found = fingerprint(value)
    assert not found.opaque, f"{value!r} is opaque"
    return found.digest


def polars_frame() -> pl.DataFrame:
    day = datetime.date(2013, 7, 4)
    return pl.DataFrame(
        {
            "int": [1, 2, None, 4],
            "small": pl.Series([1, 2, None, 4], dtype=pl.Int8),
            "huge": pl.Series([1, 2, None, 2**100], dtype=pl.Int128),
            "float": [1.5, float("nan"), None, -0.0],
            "text": ["a", None, "", "Østerås"],
            "binary": [b"a", None, b"", b"\x00"],
            "bool": [True, None, False, True],
            "date": [day, None, day, day],
            "time": [datetime.time(1), None, datetime.time(2), datetime.time(3)],
            "at": pl.Series([datetime.datetime(2013, 7, 4), None] * 2, dtype=pl.Datetime("us", "Europe/Oslo")),
            "span": [datetime.timedelta(1), None, datetime.timedelta(2), datetime.timedelta(3)],
            "list": [[1, None], [], None, [3]],
            "texts": [["a", "b"], [""], None, []],
            "array": pl.Series([[1, 2], None, [3, 4], [5, None]], dtype=pl.Array(pl.Int8, 2)),
            "struct": [{"a": 1, "b": "x"}, {"a": None, "b": "y"}, None, {"a": 4, "b": None}],
            "category": pl.Series(["b", "a", None, "b"], dtype=pl.Categorical),
            "enum": pl.Series(["b", "a", None, "b"], dtype=pl.Enum(["a", "b"])),
            "decimal": pl.Series([decimal.Decimal("1.50"), None] * 2, dtype=pl.Decimal(10, 2)),
            "null": [None] * 4,
        },
        strict=False,
    )


def pandas_frame() -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "int": [1, 2, 3],
            "float": [1.0, np.nan, -0.0],
            "text": ["a", None, "ø"],
            "object": pd.Series([[1], {"a": 1}, None], dtype=object).array,
            "category": pd.Categorical(["u", "v", None]),
            "at": pd.date_range("2020-01-01", periods=3, tz="Europe/Oslo"),
            "naive": pd.to_datetime(["2020-01-01", None, "2020-01-03"]),
            "span": pd.to_timedelta([1, 2, None], unit="s"),
            "masked": pd.array([1, None, 3], dtype="Int64"),
            "flag": pd.array([True, None, False], dtype="boolean"),
            "arrow": pd.array([1, None, 3], dtype="int64[pyarrow]"),
            "arrow text": pd.array(["a", None, "c"], dtype="string[pyarrow]"),
            "period": pd.period_range("2020", periods=3, freq="M"),
            "interval": pd.interval_range(0, 3),
        },
        index=pd.Index(["x", "y", "z"], name="key"),
    )
    frame.attrs["source"] = "test"
    return frame


def test_polars_frame_in_other_chunks_is_the_same() -> None:
    frame = polars_frame()
    pieces = pl.concat([frame[:1], frame[1:3], frame[3:]], rechunk=False)
    assert pieces.n_chunks() == 3
    assert digest(pieces) == digest(frame) == digest(pickle.loads(pickle.dumps(frame)))
    assert digest(frame[1:3]) == digest(frame.head(3).tail(2))


@pytest.mark.parametrize("name", polars_frame().columns)
def test_polars_column_differs_when_one_value_does(name: str) -> None:
    series = polars_frame()[name]
    assert digest(series) == digest(series.clone())
    seen = {digest(series[rows]) for rows in ([0, 1, 2, 3], [0, 1], [1, 0], [0], [3, 2, 1, 0], [])}
    assert len(seen) == (4 if name == "null" else 6)


def test_polars_types_names_and_classes_count() -> None:
    frame = pl.DataFrame({"a": [1, 2]})
    others = [
        frame.cast(pl.Int32),
        frame.cast(pl.UInt64),
        frame.rename({"a": "b"}),
        frame["a"],
        frame.lazy(),
        frame.to_pandas(),
        frame.to_arrow(),
        frame.to_numpy(),
        pl.DataFrame({"a": [[1, 2]]}),
        pl.DataFrame({"a": [[1], [2]]}),
        pl.DataFrame({"a": [1, 2], "b": [1, 2]}),
        pl.DataFrame({"a": ["1", "2"]}),
        pl.DataFrame(),
        pl.DataFrame({"a": []}),
    ]
    assert len({digest(other) for other in [frame, *others]}) == len(others) + 1


def test_polars_lengths_and_texts_are_kept_apart() -> None:
    assert digest(pl.Series(["ab", "c"])) != digest(pl.Series(["a", "bc"]))
    assert digest(pl.Series(["", None])) != digest(pl.Series([None, ""]))
    assert digest(pl.Series([[1], [2, 3]])) != digest(pl.Series([[1, 2], [3]]))
    assert digest(pl.Series([[], None], dtype=pl.List(pl.Int8))) != digest(
        pl.Series([None, []], dtype=pl.List(pl.Int8))
    )
    assert digest(pl.Series([[None], []], dtype=pl.List(pl.Int8))) != digest(
        pl.Series([[], [None]], dtype=pl.List(pl.Int8))
    )


def test_polars_categories_met_in_another_order_are_the_same() -> None:
    a = pl.Series(["x", "y", "x"], dtype=pl.Categorical)
    pl.Series(["q", "y"], dtype=pl.Categorical)
    b = pl.concat([pl.Series(["y"], dtype=pl.Categorical), a])[1:]
    assert digest(a) == digest(b)


def test_polars_plan_counts_and_python_in_it_is_opaque() -> None:
    lazy = pl.DataFrame({"a": [1]}).lazy()
    assert digest(lazy.filter(pl.col("a") > 1)) == digest(lazy.filter(pl.col("a") > 1))
    assert digest(lazy.filter(pl.col("a") > 1)) != digest(lazy.filter(pl.col("a") > 2))
    assert fingerprint(lazy.map_batches(lambda frame: frame)).opaque


def test_nan_in_an_array_or_a_frame_has_one_meaning() -> None:
    bits = np.array([0x7FF8000000000000, 0xFFF8000000000000, 0x7FF8000000000001], dtype="u8").view("f8")
    one = [digest(bits[n : n + 1]) for n in range(3)]
    assert len(set(one)) == 1
    assert len({digest(pl.Series(bits[n : n + 1])) for n in range(3)}) == 1
    assert len({digest(pd.Series(bits[n : n + 1])) for n in range(3)}) == 1
    assert len({digest(pa.array(bits[n : n + 1], from_pandas=False)) for n in range(3)}) == 1


def test_pandas_frame_copied_or_pickled_is_the_same() -> None:
    frame = pandas_frame()
    assert digest(frame) == digest(frame.copy()) == digest(pickle.loads(pickle.dumps(frame)))
    assert digest(frame) == digest(pd.concat([frame[[name]] for name in frame.columns], axis=1))
    assert digest(frame[1:2]) == digest(frame.iloc[[1]])


@pytest.mark.parametrize("name", list(pandas_frame().columns))
def test_pandas_column_differs_when_one_value_does(name: str) -> None:
    series = pandas_frame()[name].reset_index(drop=True)
    seen = {
        digest(series.iloc[rows].reset_index(drop=True)) for rows in ([0, 1, 2], [0, 1], [1, 0], [0], [2, 1, 0], [])
    }
    assert len(seen) == 6


def test_pandas_labels_types_and_classes_count() -> None:
    frame = pd.DataFrame({"a": [1, 2]})
    others = [
        frame.astype("int32"),
        frame.astype("Int64"),
        frame.astype(object),
        frame.rename(columns={"a": "b"}),
        frame.rename_axis("i"),
        frame.set_axis([1, 0]),
        frame["a"],
        frame.index,
        frame.set_index("a"),
        frame.assign(b=1),
        frame.T,
        pd.DataFrame(),
        frame.set_index(pd.MultiIndex.from_tuples([(1, 2), (3, 4)])),
        frame.assign(a=pd.Categorical([1, 2])),
        frame.assign(a=pd.Categorical([1, 2], ordered=True)),
        frame.assign(a=pd.Categorical([1, 2], [2, 1])),
    ]
    assert len({digest(other) for other in [frame, *others]}) == len(others) + 1


def test_pandas_range_index_is_like_the_numbers_written_out() -> None:
    assert digest(pd.DataFrame({"a": [1, 2]})) == digest(pd.DataFrame({"a": [1, 2]}, index=pd.Index([0, 1])))


def arrow_table() -> pa.Table:
    table = polars_frame().drop("huge").to_arrow()
    more = {
        "map": pa.array([[("a", 1)], [], None, [("b", None)]], pa.map_(pa.string(), pa.int64())),
        "dictionary": pa.array(["x", None, "x", "y"]).dictionary_encode(),
        "fixed": pa.array([b"ab", None, b"cd", b"ef"], pa.binary(2)),
        "half": pa.array([1.0, None, 2.0, 3.0], pa.float32()),
        "view": pa.array(["a", None, "b", "a longer one than twelve"], pa.string_view()),
        "decimal256": pa.array([decimal.Decimal(1), None] * 2, pa.decimal256(50, 2)),
    }
    for name, column in more.items():
        table = table.append_column(name, column)
    return table


def rows(values: typing.Any, places: list[int]) -> typing.Any:
    """Take rows, for every type: pyarrow's own `take` does not know views."""
    pieces = [values.slice(place, 1) for place in places]
    if isinstance(values, pa.Table):
        return pa.concat_tables(pieces) if pieces else values.slice(0, 0)
    return pa.chunked_array([chunk for piece in pieces for chunk in piece.chunks], values.type)


def test_pyarrow_table_in_other_chunks_or_memory_is_the_same() -> None:
    table = arrow_table()
    pieces = pa.concat_tables([table.slice(0, 1), table.slice(1, 2), table.slice(3)])
    taken = rows(table, [0, 1, 2, 3])
    assert pieces.column(0).num_chunks > 1
    assert digest(pieces) == digest(table) == digest(taken) == digest(pickle.loads(pickle.dumps(table)))
    assert digest(table.slice(1, 2)) == digest(rows(table, [1, 2]))


@pytest.mark.parametrize("name", arrow_table().column_names)
def test_pyarrow_column_differs_when_one_value_does(name: str) -> None:
    column = arrow_table().column(name)
    seen = {digest(rows(column, places)) for places in ([0, 1, 2, 3], [0, 1], [1, 0], [0], [3, 2, 1, 0], [])}
    assert len(seen) == (4 if name == "null" else 6)


@pytest.mark.parametrize(
    "values",
    [[1, 2, 3, 4], [True, False, False, True], ["a", "bb", "", "c"], [1.5, 2.5, 3.5, 4.5], [[1], [], [2], [3]]],
)
def test_pyarrow_slice_is_like_its_own_memory(values: list) -> None:
    kind = pa.array(values).type
    assert digest(pa.array(values).slice(1, 2)) == digest(pa.array(values[1:3], kind))
    assert digest(pa.array(values).slice(1, 2)) != digest(pa.array(values).slice(0, 2))


def test_pyarrow_value_under_a_null_does_not_count() -> None:
    mask = pa.py_buffer(b"\x05")
    one = pa.Array.from_buffers(pa.int8(), 3, [mask, pa.py_buffer(b"\x01\x02\x03")])
    two = pa.Array.from_buffers(pa.int8(), 3, [mask, pa.py_buffer(b"\x01\x09\x03")])
    assert one.equals(two)
    assert digest(one) == digest(two)


def test_pyarrow_classes_types_and_names_count() -> None:
    table = pa.table({"a": [1, 2]})
    batch = table.to_batches()[0]
    others = [
        batch,
        batch.column(0),
        table.column(0),
        table.rename_columns(["b"]),
        table.schema,
        pa.table({"a": pa.array([1, 2], pa.int8())}),
        table.replace_schema_metadata({"x": "y"}),
        pa.int64(),
        pa.int32(),
        table.schema.field(0),
        pa.scalar(1),
        pa.scalar(2),
    ]
    assert len({digest(other) for other in [table, *others]}) == len(others) + 1


def test_numpy_memory_order_does_not_count_but_type_and_shape_do() -> None:
    array = np.arange(6, dtype="<i8").reshape(2, 3)
    assert (
        digest(np.asfortranarray(array))
        == digest(array)
        == digest(np.arange(12).reshape(2, 6)[:, :6:1][:, :3] * 0 + array)
    )
    others = [
        array.T,
        array.ravel(),
        array.astype("<i4"),
        array.astype("<f8"),
        array.astype(">i8"),
        array.astype(object),
        array.astype(str),
        array.tolist(),
        np.ma.array(array, mask=array > 4),
        np.ma.array(array),
        array.astype("M8[s]"),
        array.astype("M8[ms]"),
        array.astype("m8[s]"),
        array.astype(np.longdouble),
        array.astype(complex),
        array.view([("x", "<i8")]),
        array.view([("y", "<i8")]),
        array[:0],
        array[0, 0],
        np.int32(0),
        np.float64(0),
        0,
        0.0,
        np.bool_(False),
        np.str_("a"),
        np.bytes_(b"a"),
        np.dtype("i4"),
        np.dtype("i8"),
        np.datetime64("2020-01-01"),
        np.float64,
        np.sin,
    ]
    assert len({digest(other) for other in [array, *others]}) == len(others) + 1


def test_numpy_bytes_between_fields_and_under_masks_do_not_count() -> None:
    kind = np.dtype([("a", "i1"), ("b", "i8")], align=True)
    one, two = np.frombuffer(b"\x00" * 32, kind).copy(), np.frombuffer(b"\x01" * 32, kind).copy()
    two["a"], two["b"] = one["a"], one["b"]
    assert digest(one) == digest(two)
    assert digest(np.ma.array([1, 2], mask=[0, 1])) == digest(np.ma.array([1, 3], mask=[0, 1]))


def test_numpy_random_generator_counts_by_its_state() -> None:
    one, two = np.random.default_rng(1), np.random.default_rng(1)
    assert digest(one) == digest(two)
    two.random()
    assert digest(one) != digest(two)


@pytest.mark.parametrize("make", [polars_frame, pandas_frame, arrow_table, lambda: np.arange(5)])
def test_frame_inside_other_values_counts(make: typing.Callable[[], object]) -> None:
    assert digest({"a": [make(), 1]}) == digest({"a": [copy.copy(make()), 1]})


SCRIPT = """
import sys
from ostinato.fingerprint import fingerprint
import polars as pl
assert "numpy" not in sys.modules and "pandas" not in sys.modules and "pyarrow" not in sys.modules
frame = pl.DataFrame({"a": [1, None, 3], "b": ["x", "", None], "c": [1.5, float("nan"), None], "d": [[1], [], None], "e": [True, None, False]})
first = fingerprint(frame).digest.hex()
assert "numpy" not in sys.modules
import numpy
assert fingerprint(frame).digest.hex() == first
print(first)
"""


def test_polars_needs_no_numpy_and_agrees_in_every_process() -> None:
    source = pathlib.Path(ostinato.__path__[0]).parent
    found = set()
    for seed in ("0", "7"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(source)}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, check=True, text=True
        )
        found.add(done.stdout.strip())
    assert found == {GOLDEN_POLARS}


GOLDEN_POLARS = "f0b0fb3ad86faab279bac4ab5d763720"
GOLDEN_FRAMES = {
    "polars": "a18a27e6359294ad30b806acc752a05b",
    "pandas": "cc89f35adf1acfd80add38050c1bd7ad",
    "pyarrow": "84c9210e0a99a8a2359b3388bd27917a",
    "numpy": "56c991b001a054ee500d111e99588ad6",
}
"""As the digests of Python's own values: a change makes calls of unfinished runs a miss."""


def test_fingerprints_of_frames_are_the_checked_in_ones() -> None:
    plain = {"a": [1, 2, 3], "b": ["x", "y", "ø"], "c": [1.5, 2.5, float("nan")]}
    frames = {
        "polars": pl.DataFrame(plain),
        "pandas": pd.DataFrame(plain),
        "pyarrow": pa.table(plain),
        "numpy": np.arange(3, dtype="<i8"),
    }
    assert {name: digest(frame).hex() for name, frame in frames.items()} == GOLDEN_FRAMES


def test_fingerprinting_imports_no_library() -> None:
    source = pathlib.Path(ostinato.__path__[0]).parent
    script = (
        "import sys\nfrom ostinato.fingerprint import fingerprint\nfrom ostinato.io.results import ResultStore\n"
        "import tempfile, pathlib\nstore = ResultStore(tempfile.mkdtemp())\n"
        "values = [1, {'a': [1]}, (1, 2), pathlib.Path('a'), b'x' * 10000]\n"
        "for v in values: assert store.load(store.dump(v, fingerprint(v))[0]) == v\n"
        "print([m for m in ('numpy', 'pandas', 'polars', 'pyarrow', 'pydantic', 'obstore', 'cloudpickle', 'attrs') if m in sys.modules])"
    )
    environment = os.environ | {"PYTHONPATH": str(source)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr
