"""A bundle: the source of a project as one blob, for workers that do not have its folder.

A bundle is a ``tar.gz`` whose bytes depend on the files' paths, contents and executable bits only: members are regular
files in the order of their paths, which are relative to the project's root, with ``/``; mode 0644 or 0755, no
owner, every time 0, in the tar and in the gzip header. It is kept in the result store like any blob, so its name is
the blob's hash (`ostinato.io.results`). To use one, unpack it into an empty folder, which is then the project's root:
targets of deployments that name it are relative to that.

What goes in: in a git repository the files that git tracks or would track (new ones that it does not ignore); elsewhere
all but what is hidden, built, or an environment. Not the project's `exclude`, and never what looks like a secret.
"""

from __future__ import annotations

import gzip
import io
import os
import stat
import subprocess
import tarfile
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from ostinato.authoring.project import is_skipped
from ostinato.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ostinato.authoring.project import ProjectFolder

LARGEST: Final = 50 * 2**20
"""Bytes that all files of a bundle may have together."""
SECRETS: Final = (
    ".env",
    ".env.*",
    "*.env",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "id_rsa*",
    "id_ed25519*",
    ".netrc",
    ".pgpass",
    ".pypirc",
    "*credentials*.json",
)
"""Files that stay where they are; ``.env.example`` and the like may go."""
_HARMLESS: Final = (".example", ".sample", ".template", ".pub")


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """The source of a project, packed."""

    data: bytes
    files: list[str]
    left_out: list[str]
    """Files that look like secrets."""


def pack(project: ProjectFolder) -> Bundle:
    """Pack the source of a project.

    Raises:
        UsageError: If it is too large, or needs a lock file that is not there.
    """
    wanted = [path for path in sorted(set(_listed(project.path))) if not project.excludes(path)]
    left_out = [path for path in wanted if is_secret(path)]
    files = [path for path in wanted if path not in left_out]
    if project.environment == "uv" and "uv.lock" not in files:
        raise UsageError(f'{project.root} has no uv.lock, which environment = "uv" needs. Make it: uv lock.')
    contents = {path: (project.path / path).read_bytes() for path in _fitting(project.path, files)}
    return Bundle(data=_archive(project.path, contents), files=list(contents), left_out=left_out)


def is_secret(path: str) -> bool:
    """Tell whether a file looks like a secret, by its name."""
    name = path.rpartition("/")[2].lower()
    return not name.endswith(_HARMLESS) and any(fnmatchcase(name, pattern) for pattern in SECRETS)


def _listed(root: Path) -> Iterator[str]:
    """Yield the regular files of a project, by their paths below the root."""
    names = _by_git(root)
    for path in _by_walking(root) if names is None else names:
        with_links = root / path
        if with_links.is_file() and root.resolve() in with_links.resolve().parents:
            yield path


def _by_git(root: Path) -> list[str] | None:
    """List what git tracks, or would if it were asked; None where there is no git or no repository."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(  # noqa: S603  # no shell, our words
            command, capture_output=True, check=False, timeout=60, env=os.environ | {"LC_ALL": "C"}
        )
    except FileNotFoundError:
        return None
    except subprocess.TimeoutExpired as error:
        raise UsageError(f"git did not list the files of {root} within {error.timeout:g} s.") from error
    if done.returncode == 0:
        return os.fsdecode(done.stdout).split("\0")[:-1]
    said = done.stderr.decode(errors="replace").strip()
    if "not a git repository" in said:
        return None
    raise UsageError(f"git cannot list the files of {root}: {said}")


def _by_walking(root: Path) -> Iterator[str]:
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not is_skipped(folder, name)]
        below = Path(folder).relative_to(root)
        yield from ((below / name).as_posix() for name in names if not name.endswith((".pyc", ".pyo")))


def _fitting(root: Path, files: list[str]) -> list[str]:
    sizes = {path: (root / path).stat().st_size for path in files}
    if (total := sum(sizes.values())) > LARGEST:
        largest = sorted(sizes, key=lambda path: -sizes[path])[:3]
        shown = ", ".join(f"{path} ({sizes[path] / 2**20:,.1f} MiB)" for path in largest)
        raise UsageError(
            f"The source of {root} has {total / 2**20:,.0f} MiB; a bundle may have {LARGEST / 2**20:,.0f}. The "
            f"largest are {shown}. Leave data out: by .gitignore, or exclude = [...] in [tool.ostinato.project]."
        )
    return files


def _archive(root: Path, contents: dict[str, bytes]) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, data in contents.items():
            member = tarfile.TarInfo(path)
            member.size = len(data)
            member.mode = 0o755 if (root / path).stat().st_mode & stat.S_IXUSR else 0o644
            tar.addfile(member, io.BytesIO(data))
    return gzip.compress(plain.getvalue(), compresslevel=6, mtime=0)
