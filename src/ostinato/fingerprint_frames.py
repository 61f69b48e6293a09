"""How arrays and data frames are taken apart for a fingerprint, importing none of their libraries.

What counts is the logical content, column by column, as Arrow lays it out: which values are missing, then
the values as one run of bytes, or lengths and then the elements. How the memory is chunked, sliced or
padded, and what lies under a missing value, does not. A nan is a nan whatever its bits.

Each function is met only by a value of its library, so that is loaded already. polars and pandas need
neither pyarrow nor, for polars, numpy: the digest is the same with and without.
"""

from __future__ import annotations

import array
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from ostinato.fingerprint import Walk

    Handler = Callable[[Walk, Any], None]


def find_frame_handler(kind: type) -> Handler | None:
    """Return what takes an array or a frame apart, found by the module and name of the class or a parent."""
    for parent in kind.__mro__:
        handler = _HANDLERS.get((parent.__module__.partition(".")[0], parent.__name__))
        if handler is not None:
            return handler
    return None


# --- numpy


def _numpy_array(walk: Walk, value: Any) -> None:
    walk.tag(b"N", type(value).__qualname__, value.shape)
    numpy = sys.modules["numpy"]
    if isinstance(value, numpy.ma.MaskedArray):  # what lies under the mask is not content
        mask = numpy.ma.getmaskarray(value)
        _numpy_content(walk, mask)
        value = value.data[~mask]
    _numpy_content(walk, numpy.asarray(value))


def _numpy_scalar(walk: Walk, value: Any) -> None:
    walk.tag(b"N", type(value).__qualname__, None)
    _numpy_content(walk, sys.modules["numpy"].asarray(value))


def _numpy_content(walk: Walk, values: Any) -> None:
    """Write the type and the elements in C order."""
    numpy, dtype = sys.modules["numpy"], values.dtype
    if dtype.names:  # what lies between the fields is not content
        walk.items([dtype.str, *dtype.names])
        for name in dtype.names:
            _numpy_content(walk, values[name])
        return
    walk.add(dtype.str)
    if dtype.hasobject or dtype.kind == "T" or dtype.char in "gG":  # a long double has padding
        walk.items([str(x) for x in values.ravel()] if dtype.char in "gG" else values.ravel().tolist())
        return
    if dtype.kind in "fc":
        missing = numpy.isnan(values)
        if missing.any():
            values = numpy.where(missing, dtype.type("nan"), values)
    walk.buffer(memoryview(numpy.ascontiguousarray(values).reshape(-1).view("u1")))


def _numpy_dtype(walk: Walk, value: Any) -> None:
    walk.tag(b"N", "dtype", value.descr if value.names else value.str)


# --- pandas


def _pandas_frame(walk: Walk, value: Any) -> None:
    walk.tag(b"A", type(value).__qualname__, value.attrs)
    _pandas_labels(walk, value.columns)
    _pandas_labels(walk, value.index)
    for place in range(value.shape[1]):
        _pandas_values(walk, value.iloc[:, place].array)


def _pandas_series(walk: Walk, value: Any) -> None:
    walk.tag(b"A", type(value).__qualname__, value.attrs, value.name)
    _pandas_labels(walk, value.index)
    _pandas_values(walk, value.array)


def _pandas_index(walk: Walk, value: Any) -> None:
    walk.tag(b"A", "Index")
    _pandas_labels(walk, value)


def _pandas_labels(walk: Walk, index: Any) -> None:
    """Write an index; a range of numbers like the same numbers written out."""
    walk.items(list(index.names))
    for level in range(index.nlevels):
        _pandas_values(walk, index.get_level_values(level).array)


def _pandas_values(walk: Walk, values: Any) -> None:
    """Write one column: its type, then numpy's elements, or which are missing and the rest."""
    kind = type(values).__name__
    walk.add(str(values.dtype))
    if kind == "NumpyExtensionArray":
        _numpy_content(walk, values.to_numpy())
    elif kind == "Categorical":
        walk.tag(b"C", bool(values.ordered))
        _pandas_labels(walk, values.categories)
        _numpy_content(walk, values.codes.astype("<i8"))
    elif kind in ("DatetimeArray", "TimedeltaArray", "PeriodArray"):
        _numpy_content(walk, values.asi8)
    elif kind == "IntervalArray":
        _pandas_values(walk, values.left.array)
        _pandas_values(walk, values.right.array)
    else:
        _pandas_extension(walk, values)


def _pandas_extension(walk: Walk, values: Any) -> None:
    missing = sys.modules["numpy"].asarray(values.isna(), dtype=bool)
    _numpy_content(walk, missing)
    if values.dtype.kind in "biuf":
        plain = values.to_numpy(dtype=values.dtype.numpy_dtype, na_value=0)
        _numpy_content(walk, plain)
    else:
        walk.items(values[~missing].to_numpy(dtype=object).tolist())


# --- polars


def _polars_frame(walk: Walk, value: Any) -> None:
    walk.tag(b"Q", type(value).__qualname__, value.height)
    walk.items(list(value.columns))
    for column in value.get_columns():
        _polars_values(walk, column)


def _polars_series(walk: Walk, value: Any) -> None:
    walk.tag(b"Q", type(value).__qualname__, value.name)
    _polars_values(walk, value)


def _polars_lazy(walk: Walk, value: Any) -> None:
    """Write the plan, which names the files it will read and not their content; with Python code in it, opaque."""
    plan = value.serialize()
    if b"cloudpickle" in plan:
        walk.unknown(type(value))
        return
    walk.tag(b"Q", type(value).__qualname__)
    walk.buffer(plan)


def _polars_dtype(walk: Walk, value: Any) -> None:
    walk.tag(b"Q", str(value))


def _polars_values(walk: Walk, series: Any) -> None:
    """Write one column: type, length, what is missing, then the values that are there."""
    walk.items([str(series.dtype), len(series), series.null_count()])
    if series.null_count():
        _polars_bytes(walk, series.is_null(), "u1")
        series = series.drop_nulls()
    _polars_present(walk, series)


def _polars_present(walk: Walk, series: Any) -> None:
    name = type(series.dtype).__name__
    if name == "type":
        name = series.dtype.__name__
    if name in ("String", "Binary", "Categorical", "Enum", "Decimal"):
        if name not in ("String", "Binary"):
            series = series.cast(sys.modules["polars"].String)
        text = series.dtype == sys.modules["polars"].String
        _polars_bytes(walk, series.str.len_bytes() if text else series.bin.size(), "u4")
        joined = (series.str.join("").item() or "").encode() if text else b"".join(series.to_list())
        walk.buffer(joined)
    elif name == "List":
        lengths = series.list.len()
        _polars_bytes(walk, lengths, "u4")
        _polars_values(walk, series.filter(lengths > 0).explode())
    elif name == "Array":
        _polars_values(walk, series.explode())
    elif name == "Struct":
        for field in series.struct.fields:
            _polars_values(walk, series.struct.field(field))
    elif name in _POLARS_CODES:
        _polars_bytes(walk, series, _POLARS_CODES[name])
    else:
        walk.items(series.to_list())


def _polars_bytes(walk: Walk, series: Any, code: str) -> None:
    """Write fixed-width values as little-endian bytes, by numpy where it is loaded, else by `array`."""
    polars = sys.modules["polars"]
    if code[0] == "f" and series.is_nan().any():
        series = series.fill_nan(float("nan"))
    series = series.cast(polars.UInt8) if series.dtype == polars.Boolean else series.to_physical()
    if code == "u4" and series.dtype != polars.UInt32:
        series = series.cast(polars.UInt32)
    if "numpy" in sys.modules:
        data = series.to_numpy().astype("<" + code, copy=False)
        walk.buffer(memoryview(sys.modules["numpy"].ascontiguousarray(data).view("u1")))
        return
    values = array.array(_ARRAY_CODES[code], series.to_list())
    if sys.byteorder == "big":
        values.byteswap()
    walk.buffer(values.tobytes())


_ARRAY_CODES = {
    "u1": "B", "u2": "H", "u4": "I", "u8": "Q", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "f4": "f", "f8": "d",
}  # fmt: skip

_POLARS_CODES = {
    "Boolean": "u1", "UInt8": "u1", "UInt16": "u2", "UInt32": "u4", "UInt64": "u8",
    "Int8": "i1", "Int16": "i2", "Int32": "i4", "Int64": "i8", "Float32": "f4", "Float64": "f8",
    "Date": "i4", "Time": "i8", "Datetime": "i8", "Duration": "i8",
}  # fmt: skip


# --- pyarrow


def _arrow_table(walk: Walk, value: Any) -> None:
    metadata = value.schema.metadata
    walk.tag(b"W", type(value).__qualname__, value.num_rows, dict(metadata) if metadata else None)
    walk.items([(f.name, f.nullable) for f in value.schema])
    for place in range(value.num_columns):
        _arrow_values(walk, value.column(place))


def _arrow_array(walk: Walk, value: Any) -> None:
    name = "ChunkedArray" if hasattr(value, "chunks") else "Array"
    walk.tag(b"W", name)
    _arrow_values(walk, value)


def _arrow_scalar(walk: Walk, value: Any) -> None:
    walk.tag(b"W", "Scalar")
    _arrow_values(walk, sys.modules["pyarrow"].array([value.as_py()], value.type))


def _arrow_schema(walk: Walk, value: Any) -> None:
    walk.tag(b"W", type(value).__qualname__, str(value))


def _arrow_values(walk: Walk, values: Any) -> None:
    """Write one column: type, length, what is missing, then the values that are there."""
    if hasattr(values, "combine_chunks"):
        values = values.combine_chunks()
        if hasattr(values, "chunks"):  # several chunks stay where one cannot hold it
            walk.items([str(values.type), values.to_pylist()])
            return
    walk.items([str(values.type), len(values), values.null_count])
    types = sys.modules["pyarrow"].types
    if types.is_string_view(values.type) or types.is_binary_view(values.type):  # few functions know these yet
        values = values.cast("large_string" if types.is_string_view(values.type) else "large_binary")
    if values.null_count:
        _arrow_bytes(walk, values.is_null().cast("uint8"), 1)
        values = values.drop_null()
    _arrow_present(walk, values)


def _arrow_present(walk: Walk, values: Any) -> None:  # noqa: C901  # a list of cases
    types, kind = sys.modules["pyarrow"].types, values.type
    if types.is_dictionary(kind):
        _arrow_values(walk, values.dictionary_decode())
    elif hasattr(values, "storage"):
        _arrow_values(walk, values.storage)
    elif types.is_boolean(kind):
        _arrow_bytes(walk, values.cast("uint8"), 1)
    elif types.is_string(kind) or types.is_large_string(kind):
        _arrow_strings(walk, values.cast("large_string"))
    elif types.is_binary(kind) or types.is_large_binary(kind):
        _arrow_strings(walk, values.cast("large_binary"))
    elif types.is_list(kind) or types.is_large_list(kind):
        _arrow_bytes(walk, values.value_lengths().cast("int64"), 8)
        _arrow_values(walk, values.flatten())
    elif types.is_struct(kind):
        for field in values.flatten():
            _arrow_values(walk, field)
    elif types.is_floating(kind):
        _numpy_content(walk, values.to_numpy(zero_copy_only=False))
    elif types.is_primitive(kind) or types.is_decimal(kind) or types.is_fixed_size_binary(kind):
        _arrow_bytes(walk, values, kind.bit_width // 8)
    else:
        walk.items(values.to_pylist())


def _arrow_bytes(walk: Walk, values: Any, width: int) -> None:
    """Write the values' own bytes; Arrow keeps them little-endian on the machines it is built for."""
    data = values.buffers()[1]
    begin = values.offset * width
    walk.buffer(memoryview(data)[begin : begin + len(values) * width] if data is not None else b"")


def _arrow_strings(walk: Walk, values: Any) -> None:
    from pyarrow import compute  # a part of pyarrow that may not be loaded yet

    _arrow_bytes(walk, compute.binary_length(values).cast("int64"), 8)
    _, offsets, data = values.buffers()
    if data is None or not len(values):
        walk.buffer(b"")
        return
    places = memoryview(offsets).cast("q")
    walk.buffer(memoryview(data)[places[values.offset] : places[values.offset + len(values)]])


_HANDLERS: dict[tuple[str, str], Handler] = {
    ("numpy", "ndarray"): _numpy_array,
    ("numpy", "generic"): _numpy_scalar,
    ("numpy", "dtype"): _numpy_dtype,
    ("pandas", "DataFrame"): _pandas_frame,
    ("pandas", "Series"): _pandas_series,
    ("pandas", "Index"): _pandas_index,
    ("polars", "DataFrame"): _polars_frame,
    ("polars", "Series"): _polars_series,
    ("polars", "LazyFrame"): _polars_lazy,
    ("polars", "DataType"): _polars_dtype,
    ("pyarrow", "Table"): _arrow_table,
    ("pyarrow", "RecordBatch"): _arrow_table,
    ("pyarrow", "Array"): _arrow_array,
    ("pyarrow", "ChunkedArray"): _arrow_array,
    ("pyarrow", "Scalar"): _arrow_scalar,
    ("pyarrow", "Schema"): _arrow_schema,
    ("pyarrow", "DataType"): _arrow_schema,
    ("pyarrow", "Field"): _arrow_schema,
}
