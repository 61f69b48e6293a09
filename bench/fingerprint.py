"""Times fingerprints of the usual values and, with ``--frames``, how frames are best kept.

Run: ``python bench/fingerprint.py [--frames]``. Each figure is the best of several rounds.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime  # noqa: ICN001
import io
import pickle
import time
import timeit
from typing import TYPE_CHECKING, Any

from ostinato.fingerprint import code_fingerprint, combine, fingerprint
from ostinato.io.results import ResultStore

if TYPE_CHECKING:
    from collections.abc import Callable

MILLION = 1_000_000


@dataclasses.dataclass
class Point:
    """A value as users pass it."""

    x: int
    y: str


def best(call: Callable[[], object], number: int) -> float:
    """Return microseconds a call, the best of five rounds."""
    return min(timeit.repeat(call, number=number, repeat=5)) / number * 1e6


def small() -> None:
    """Time what most calls pass."""
    cases: dict[str, Any] = {
        "3": 3,
        "'Oslo'": "Oslo",
        "(3, 'Oslo')": (3, "Oslo"),
        "{'a': 3, 'b': 'Oslo'}": {"a": 3, "b": "Oslo"},
        "[1, 2, 3]": [1, 2, 3],
        "((3, 'Oslo'), {})": ((3, "Oslo"), {}),
        "date": datetime.date(2013, 7, 4),
        "dataclass": Point(1, "a"),
        "function": best,
    }
    for name, value in cases.items():
        print(f"{name:28}{best(lambda value=value: fingerprint(value), 20_000):12.2f} µs")
    print(f"{'combine of 3':28}{best(lambda: combine('call', 'task', b'x' * 16), 20_000):12.2f} µs")
    print(f"{'code_fingerprint, known':28}{best(lambda: code_fingerprint(best), 20_000):12.2f} µs")
    value = fingerprint({"a": 3})
    store = ResultStore("unused")
    print(f"{'dump, small and plain':28}{best(lambda: store.dump({'a': 3}, value), 20_000):12.2f} µs")


def large() -> None:
    """Time what results may be."""
    numbers = list(range(MILLION))
    cases: dict[str, Any] = {
        "1,000,000 ints": numbers,
        "1,000,000 floats": [float(n) for n in numbers],
        "1,000,000 pairs": [(n, n) for n in numbers],
        "100,000 records": [{"id": n, "name": str(n)} for n in range(100_000)],
        "set of 1,000,000 ints": set(numbers),
        "100 MB of bytes": b"x" * 100_000_000,
    }
    for name, value in cases.items():
        print(f"{name:28}{best(lambda value=value: fingerprint(value), 1) / 1000:12.2f} ms")


def frames() -> None:
    """Time the fingerprints of frames, and the ways to keep them."""
    import numpy as np
    import polars as pl
    import pyarrow as pa

    table = pl.DataFrame(
        {
            "a": np.arange(MILLION),
            "b": np.random.default_rng(0).random(MILLION),
            "c": [f"name {n % 1000}" for n in range(MILLION)],
            "d": [datetime.datetime(2013, 7, 4, tzinfo=datetime.UTC)] * MILLION,
        }
    )
    shapes: dict[str, Any] = {"polars": table, "pandas": table.to_pandas(), "pyarrow": table.to_arrow()}
    for name, frame in shapes.items():
        print(f"{name:28}{best(lambda frame=frame: fingerprint(frame), 1) / 1000:12.2f} ms to fingerprint")
        keep(f"{name} pickle", lambda frame=frame: pickle.dumps(frame, 5))
    keep("polars IPC with zstd", lambda: polars_ipc(table, "zstd"))
    keep("polars IPC", lambda: polars_ipc(table, "uncompressed"))
    keep("pyarrow slice pickle", lambda: pickle.dumps(shapes["pyarrow"].slice(0, 10), 5))

    def arrow_ipc(part: Any) -> bytes:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, part.schema) as writer:
            writer.write(part)
        return bytes(memoryview(sink.getvalue()))

    keep("pyarrow IPC", lambda: arrow_ipc(shapes["pyarrow"]))
    keep("pyarrow slice IPC", lambda: arrow_ipc(shapes["pyarrow"].slice(0, 10)))


def polars_ipc(frame: Any, compression: str) -> bytes:
    """Write a polars frame as Arrow IPC."""
    file = io.BytesIO()
    frame.write_ipc(file, compression=compression)
    return file.getvalue()


def keep(name: str, write: Callable[[], bytes]) -> None:
    """Print how long it takes to write, and how many bytes that makes."""
    write()
    begin = time.perf_counter()
    data = write()
    print(f"{name:28}{(time.perf_counter() - begin) * 1000:12.2f} ms {len(data) / 1e6:8.1f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", action="store_true", help="frames too; needs numpy, polars, pandas, pyarrow")
    options = parser.parse_args()
    small()
    large()
    if options.frames:
        frames()
