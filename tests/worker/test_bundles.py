"""Bundles: fetched once, checked, unpacked whole, run from, and removed when they are old."""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING

import msgspec
import pytest

from ostinato.authoring.project import find_project
from ostinato.errors import ResultError, UsageError
from ostinato.io.results import ResultStore
from ostinato.runtime.bundles import Bundles
from ostinato.runtime.bundling import pack
from ostinato.states import State

if TYPE_CHECKING:
    from pathlib import Path

    from tests.worker.conftest import Bench


@pytest.fixture
def results(tmp_path: Path) -> ResultStore:
    return ResultStore(str(tmp_path / "results"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "inner").mkdir(parents=True)
    (folder / "flows.py").write_text("from ostinato import flow\n")
    (folder / "inner" / "tool.sh").write_text("#!/bin/sh\n")
    (folder / "inner" / "tool.sh").chmod(0o755)
    return folder


def test_a_bundle_is_unpacked_as_it_was(project: Path, results: ResultStore, tmp_path: Path) -> None:
    digest = results.put(pack(find_project(project)).data)
    unpacked = Bundles(tmp_path / "home", results).get(digest)
    assert unpacked.folder == tmp_path / "home" / digest
    assert (unpacked.folder / "flows.py").read_text() == "from ostinato import flow\n"
    assert os.access(unpacked.folder / "inner" / "tool.sh", os.X_OK)
    assert not os.access(unpacked.folder / "flows.py", os.X_OK)


def test_a_bundle_is_fetched_once(project: Path, results: ResultStore, tmp_path: Path) -> None:
    digest = results.put(pack(find_project(project)).data)
    first = Bundles(tmp_path / "home", results).get(digest)
    shutil.rmtree(tmp_path / "results")
    assert Bundles(tmp_path / "home", results).get(digest) == first


def test_a_damaged_bundle_is_refused_and_leaves_nothing(project: Path, results: ResultStore, tmp_path: Path) -> None:
    digest = results.put(pack(find_project(project)).data)
    (blob,) = [path for path in (tmp_path / "results").rglob("*") if path.is_file() and digest[-8:] in path.name]
    blob.write_bytes(blob.read_bytes()[:-20] + bytes(20))
    with pytest.raises(ResultError):
        Bundles(tmp_path / "home", results).get(digest)
    assert not list((tmp_path / "home").glob("*"))


def test_what_is_no_bundle_is_refused(results: ResultStore, tmp_path: Path) -> None:
    bundles = Bundles(tmp_path / "home", results)
    with pytest.raises(UsageError, match="64 hexadecimal digits"):
        bundles.get("../../etc")
    with pytest.raises(UsageError, match="cannot be unpacked"):
        bundles.get(results.put(b"no archive at all"))
    assert not list((tmp_path / "home").glob("*"))


def test_members_outside_the_folder_are_refused(results: ResultStore, tmp_path: Path) -> None:
    import io
    import tarfile

    for name, kind in (("../evil", tarfile.REGTYPE), ("/tmp/evil", tarfile.REGTYPE), ("link", tarfile.SYMTYPE)):
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w:gz") as tar:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member, io.BytesIO())
        with pytest.raises(UsageError, match="no file below its root"):
            Bundles(tmp_path / "home", results).get(results.put(data.getvalue()))
    assert not list((tmp_path / "home").glob("*"))


def test_old_bundles_go_when_there_are_many(project: Path, results: ResultStore, tmp_path: Path) -> None:
    digests = []
    for i in range(4):
        (project / "flows.py").write_text(f"# ostinato {i}\n")
        digests.append(results.put(pack(find_project(project)).data))
        folder = Bundles(tmp_path / "home", results, kept=100).get(digests[-1]).folder
        os.utime(folder, (time.time() - 100_000 + i,) * 2)
    kept = Bundles(tmp_path / "home", results, kept=1)
    kept.get(digests[0])
    left = {path.name for path in (tmp_path / "home").iterdir()}
    assert left == {digests[0], digests[3]}, "the one in use, and the newest of the others"


def test_a_run_with_a_bundle_needs_no_folder(bench: Bench) -> None:
    digest = bench.results.put(pack(find_project(bench.project)).data)
    shutil.rmtree(bench.project)
    bench.work(roots=[])
    run_id = bench.queue("adds", x=1, bundle=digest)
    assert bench.value(bench.ended(run_id)) == 2


def test_a_run_whose_bundle_is_missing_says_so(bench: Bench) -> None:
    bench.work(roots=[])
    run_id = bench.queue("adds", x=1, bundle="0" * 64)
    run = bench.ended(run_id)
    assert (run.state, run.reason) == (State.CRASHED, "poisonous")
    events = [msgspec.json.decode(stored.event.data) for stored in bench.store.list_events(run_id)]
    assert any("bundle could not be unpacked" in str(data.get("message")) for data in events)
