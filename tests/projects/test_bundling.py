"""The source of a project as one blob."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest
from tests.projects.folder import FLOW, write

from ostinato.authoring.project import find_project
from ostinato.errors import UsageError
from ostinato.runtime import bundling
from ostinato.runtime.bundling import pack

if TYPE_CHECKING:
    from pathlib import Path

FILES = {
    "a.py": FLOW.format(name="a"),
    "sub/b.py": "x = 1\n",
    "sub/query.sql": "select 1\n",
    ".env": "PASSWORD=x\n",
    "keys/server.pem": "secret",
    ".env.example": "PASSWORD=\n",
    ".venv/lib.py": "",
    "env/pyvenv.cfg": "",
    "env/lib.py": "",
    "__pycache__/a.pyc": "",
}


def git(root: Path, *words: str) -> None:
    subprocess.run(
        ["git", "-C", str(root), "-c", "user.name=x", "-c", "user.email=x@y", *words], check=True, capture_output=True
    )


def test_bundle_holds_the_source_without_environments_and_secrets(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    packed = pack(find_project(tmp_path))
    assert packed.files == [".env.example", "a.py", "sub/b.py", "sub/query.sql"]
    assert packed.left_out == [".env", "keys/server.pem"]
    with tarfile.open(fileobj=io.BytesIO(packed.data), mode="r:gz") as tar:
        assert tar.getnames() == packed.files
        member = tar.extractfile("sub/b.py")
        assert member is not None
        assert member.read() == b"x = 1\n"


def test_bundle_holds_what_git_tracks_or_would(tmp_path: Path) -> None:
    write(tmp_path, FILES | {".gitignore": "data/\n", "data/big.bin": "x", "gone.py": ""})
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "a.py", "gone.py", ".gitignore")
    (tmp_path / "gone.py").unlink()
    packed = pack(find_project(tmp_path))
    assert "data/big.bin" not in packed.files
    assert "gone.py" not in packed.files
    assert {"a.py", "sub/b.py", ".gitignore"} <= set(packed.files)
    assert ".env" in packed.left_out


def test_bundle_of_a_folder_inside_a_repository_is_that_folder(tmp_path: Path) -> None:
    write(tmp_path, {"one/a.py": "", "two/b.py": ""})
    git(tmp_path, "init", "-q")
    assert pack(find_project(tmp_path / "one")).files == ["a.py"]


def test_bundle_is_the_same_wherever_and_whenever_it_is_made(tmp_path: Path) -> None:
    one, other = write(tmp_path / "one", FILES), write(tmp_path / "quite" / "elsewhere", dict(reversed(FILES.items())))
    for path in other.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700 if path.is_dir() else 0o600)
    first, second = pack(find_project(one)), pack(find_project(other))
    assert first.data == second.data
    assert first.files == sorted(first.files)
    assert first.data[4:8] == bytes(4)  # the time in gzip's header
    (other / "a.py").chmod(0o700)
    assert pack(find_project(other)).data != first.data


def test_bundle_leaves_out_what_the_project_excludes(tmp_path: Path) -> None:
    config = '[tool.ostinato.project]\nexclude = ["sub/**", "*.sql"]\n'
    write(tmp_path, {"a.py": "", "sub/b.py": "", "x.sql": "", "deep/y.sql": "", "pyproject.toml": config})
    assert pack(find_project(tmp_path)).files == ["a.py", "deep/y.sql", "pyproject.toml"]


def test_bundle_that_is_too_large_says_what_is_large_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundling, "LARGEST", 2**20)
    write(tmp_path, {"a.py": "", "data.csv": "x" * 2**21})
    with pytest.raises(
        UsageError, match=r"has 2 MiB; a bundle may have 1. The largest are data.csv \(2.0 MiB\).*exclude"
    ):
        pack(find_project(tmp_path))


def test_bundle_takes_links_to_files_inside_and_leaves_those_that_lead_out(tmp_path: Path) -> None:
    write(tmp_path / "else", {"secret.txt": "x"})
    write(tmp_path / "own", {"a.py": "x = 1\n"})
    (tmp_path / "own" / "b.py").symlink_to("a.py")
    (tmp_path / "own" / "out.txt").symlink_to("../else/secret.txt")
    packed = pack(find_project(tmp_path / "own"))
    assert packed.files == ["a.py", "b.py"]


def test_bundle_with_an_environment_needs_its_lock_file_and_takes_it_along(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "", "pyproject.toml": '[tool.ostinato.project]\nenvironment = "uv"\n'})
    with pytest.raises(UsageError, match="has no uv.lock.*Make it: uv lock"):
        pack(find_project(tmp_path))
    write(tmp_path, {"uv.lock": "version = 1\n"})
    assert "uv.lock" in pack(find_project(tmp_path)).files
