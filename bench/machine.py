"""The machine that figures were taken on, in a few words that name nobody."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sqlite3
import statistics
import time
from pathlib import Path


def describe(folder: Path, postgres: str | None) -> list[str]:
    """Return lines about the machine, what runs on it and the disk under `folder`."""
    median, worst = fsync(folder)
    lines = [
        f"{os.cpu_count()} cores ({_processor()}), {_memory()}, {platform.system()} {platform.release().split('-')[0]}",
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
        + (f", PostgreSQL {postgres} over a Unix socket, psycopg {_version('psycopg')}" if postgres else ""),
        f"file system {_file_system(folder)}: append 4 KiB and fsync {median:.2f} ms (p99 {worst:.2f} ms)",
        f"load before the first figure {os.getloadavg()[0]:.1f}",
    ]
    if _file_system(folder) in {"tmpfs", "ramfs"}:
        lines.append("the folder is in memory, so durable figures mean nothing: give a folder on a disk by --folder")
    return lines


def fsync(folder: Path, times: int = 200) -> tuple[float, float]:
    """Return the median and the 99th percentile, in ms, of an append of 4 KiB with its fsync."""
    path = folder / "fsync"
    took = []
    with path.open("wb", buffering=0) as file:
        for _ in range(times):
            begun = time.perf_counter()
            file.write(b"x" * 4096)
            os.fsync(file.fileno())
            took.append((time.perf_counter() - begun) * 1e3)
    path.unlink()
    return statistics.median(took), sorted(took)[times * 99 // 100]


def peak() -> float:
    """Return the peak of this process's resident memory, in MB.

    Linux's ``ru_maxrss`` counts the parent before the exec too, so the process's own high-water mark is read.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 1e6 if platform.system() == "Darwin" else most * 1024 / 1e6


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    except (ValueError, OSError):
        return "memory unknown"


def _file_system(folder: Path) -> str:
    best, kind = "", "unknown"
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return kind
    for line in mounts:
        _, place, found, *_ = line.split()
        if folder.resolve().is_relative_to(place) and len(place) >= len(best):
            best, kind = place, found
    return kind


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
