"""What the result store promises: what was put is there for good, whole or refused, until nothing names it."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import ostinato
from ostinato.errors import ResultError, SettingError
from ostinato.fingerprint import fingerprint
from ostinato.io.results import ResultStore


@pytest.fixture(params=["folder", "file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> ResultStore:
    urls = {"folder": str(tmp_path / "results"), "file": (tmp_path / "results").as_uri(), "memory": "memory://"}
    return ResultStore(urls[request.param])


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> ResultStore:
    return ResultStore(str(tmp_path / "results"))


def path_of(store: ResultStore, digest: str) -> pathlib.Path:
    return pathlib.Path(store.url) / digest[:2] / digest


def age(path: pathlib.Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


@pytest.mark.parametrize("data", [b"", b"abc", os.urandom(300_000)])
def test_bytes_come_back_by_their_hash(store: ResultStore, data: bytes) -> None:
    digest = store.put(data)
    assert len(digest) == 64
    assert store.get(digest) == data
    assert store.put(data) == digest


def test_small_result_stays_in_the_row_and_large_goes_to_the_store(folder: ResultStore) -> None:
    small, large = {"a": 1}, {"a": "x" * 10_000}
    data, blob = folder.dump(small, fingerprint(small))
    assert blob is None
    assert folder.load(data) == small
    assert not pathlib.Path(folder.url).exists()
    data, blob = folder.dump(large, fingerprint(large))
    assert blob is not None
    assert len(data) < 120
    assert folder.load(data) == large
    assert path_of(folder, blob).exists()


def test_equal_results_are_kept_once(folder: ResultStore) -> None:
    values = [{"a": "x" * 10_000, "b": 1}, {"a": "x" * 10_000, "b": 1}]
    assert len({folder.dump(value, fingerprint(value))[1] for value in values}) == 1
    assert len([p for p in pathlib.Path(folder.url).rglob("*") if p.is_file()]) == 1


def test_folder_and_blobs_are_for_their_owner_only(folder: ResultStore) -> None:
    path = path_of(folder, folder.put(b"abc"))
    assert [oct(p.stat().st_mode & 0o777) for p in (path, path.parent, path.parent.parent)] == [
        "0o600",
        "0o700",
        "0o700",
    ]


def test_missing_blob_says_what_to_do(store: ResultStore) -> None:
    with pytest.raises(ResultError, match=r"abab.* is missing .*ostinato rerun"):
        store.get("ab" * 32)


def test_damaged_blob_is_refused(folder: ResultStore) -> None:
    digest = folder.put(b"abc")
    path_of(folder, digest).write_bytes(b"abd")
    with pytest.raises(ResultError, match=f"{digest} .* is damaged.*ostinato rerun"):
        folder.get(digest)


def test_delete_leaves_young_blobs_alone(folder: ResultStore) -> None:
    old, young = folder.put(b"old"), folder.put(b"young")
    age(path_of(folder, old), 4000)
    assert folder.delete([old, young, "ab" * 32]) == [old]
    assert folder.get(young) == b"young"
    with pytest.raises(ResultError):
        folder.get(old)


def test_sweep_deletes_what_is_old_and_unnamed(folder: ResultStore) -> None:
    digests = [folder.put(bytes([n])) for n in range(6)]
    for digest in digests[:4]:
        age(path_of(folder, digest), 4000)
    left_behind = path_of(folder, digests[0]).parent / ".new-abc"
    left_behind.write_bytes(b"half")
    age(left_behind, 4000)
    named = {digests[0], digests[5]}
    gone = folder.sweep(lambda page: [digest for digest in page if digest not in named])
    assert sorted(gone) == sorted(digests[1:4])
    assert not left_behind.exists()
    assert folder.get(digests[0]) == b"\x00"
    assert folder.get(digests[4]) == b"\x04"


def test_sweep_of_a_bucket_deletes_what_is_old_and_unnamed() -> None:
    store = ResultStore("memory://", grace=0)
    one, two = store.put(b"1"), store.put(b"2")
    assert ResultStore("memory://").sweep(lambda page: page) == []
    assert store.sweep(lambda page: [d for d in page if d == one]) == [one]
    assert store.get(two) == b"2"


def test_sweep_of_a_store_that_was_never_written_finds_nothing(folder: ResultStore) -> None:
    assert folder.sweep(lambda page: page) == []


def test_put_makes_a_blob_young_again_before_the_sweeper_can_come(folder: ResultStore) -> None:
    digest = folder.put(b"abc")
    age(path_of(folder, digest), 1700)
    folder.put(b"abc")
    assert time.time() - path_of(folder, digest).stat().st_mtime > 1600
    age(path_of(folder, digest), 1900)
    folder.put(b"abc")
    assert folder.delete([digest]) == []
    assert time.time() - path_of(folder, digest).stat().st_mtime < 100


def test_sweepers_and_writers_together_lose_nothing(tmp_path: pathlib.Path) -> None:
    store = ResultStore(str(tmp_path))
    data = [bytes([n]) * 100 for n in range(20)]
    digests = [store.put(piece) for piece in data]

    def sweep() -> None:
        for _ in range(30):
            store.delete(digests)

    def write(piece: bytes) -> bool:
        for _ in range(30):
            path = path_of(store, digests[data.index(piece)])
            with contextlib.suppress(FileNotFoundError):
                age(path, 4000)
            store.put(piece)
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline:
                try:
                    if store.get(digests[data.index(piece)]) == piece:
                        break
                except ResultError:  # set aside for an instant
                    continue
            else:
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        sweepers = [pool.submit(sweep) for _ in range(3)]
        assert all(pool.map(write, data))
        for sweeper in sweepers:
            sweeper.result()
    assert [store.get(digest) for digest in digests] == data


def test_many_threads_can_put_the_same_bytes(folder: ResultStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(folder.put, [b"same" * 1000] * 50))) == 1
    assert len([p for p in pathlib.Path(folder.url).rglob("*") if p.is_file()]) == 1


STRACE = """
import sys
from ostinato.io.results import ResultStore
ResultStore(sys.argv[1]).put(b"x" * 5000)
"""


@pytest.mark.skipif(not pathlib.Path("/usr/bin/strace").exists(), reason="needs strace")
def test_put_syncs_file_and_folder_before_it_returns(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "log"
    command = [
        "strace",
        "-f",
        "-y",
        "-e",
        "trace=fsync,rename,renameat2",
        "-o",
        log,
        sys.executable,
        "-c",
        STRACE,
        tmp_path / "r",
    ]
    source = str(pathlib.Path(ostinato.__path__[0]).parent)
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": source}, capture_output=True, check=False, text=True)
    if done.returncode:
        pytest.skip(f"strace is not allowed here: {done.stderr[:200]}")
    calls = [line for line in log.read_text().splitlines() if str(tmp_path) in line]
    assert ["fsync" if "fsync(" in call else "rename" for call in calls] == [
        "fsync",
        "fsync",
        "fsync",
        "rename",
        "fsync",
    ]
    assert ".new-" in calls[2]


def test_folder_that_cannot_be_written_says_what_to_do(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ResultError, match=r"could not keep a result of 3 bytes.*OSTINATO_RESULTS"):
        ResultStore(str(tmp_path / "file")).put(b"abc")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder_says_what_to_do(tmp_path: pathlib.Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ResultError, match="cannot be written by this user"):
        ResultStore(str(tmp_path)).put(b"abc")


@pytest.mark.skipif(sys.platform != "linux", reason="a limit on the size of files stands in for a full disk")
def test_write_that_fails_half_way_leaves_nothing_behind_and_says_why(tmp_path: pathlib.Path) -> None:
    script = (
        "import resource, signal, sys\nfrom ostinato.io.results import ResultStore\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: ResultStore(sys.argv[1]).put(b'x' * 5000)\nexcept Exception as e: print(type(e).__name__, e)"
    )
    environment = os.environ | {"PYTHONPATH": str(pathlib.Path(ostinato.__path__[0]).parent)}
    command = [sys.executable, "-c", script, tmp_path / "r"]
    done = subprocess.run(command, env=environment, capture_output=True, check=True, text=True)
    assert done.stdout.startswith("ResultError"), done.stdout + done.stderr
    assert os.strerror(errno.EFBIG) in done.stdout
    assert [p for p in (tmp_path / "r").rglob("*") if p.is_file()] == []


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s4://bucket", r"expected a folder or one of file://, s3://.*OSTINATO_RESULTS"),
        ("memry://", r"Did you mean 'memory'\?"),
        ("s3://", "cannot be opened"),
        ("s3x://user:secret@host/path?key=secret", "s3x://host/path'"),
    ],
)
def test_url_that_cannot_be_opened_is_a_setting_error_without_secrets(url: str, words: str) -> None:
    with pytest.raises(SettingError, match=words) as caught:
        ResultStore(url).put(b"abc")
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(ResultStore(url))
