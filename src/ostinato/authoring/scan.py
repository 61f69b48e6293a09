"""Look at a project in a process of its own, so that nothing a module does when it is imported can do harm.

```
scan ──order: JSON on stdin──►  python -m ostinato.authoring.scan FD   one process, all modules
     ◄─lines of JSON on FD───   {"begin": file} … {"manifest": …}      what is printed goes nowhere
```

A module that raises, or that takes too long while Python still has the word, is an error like any other and the next
one follows. One that ends the process, or holds it in a library, is known by the last ``begin``: the rest is looked at
by another process, in which importing that file is refused. `Scanner` keeps such a process ready ahead.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import os
import platform
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import msgspec

from ostinato.authoring.definitions import Definitions
from ostinato.authoring.load import distrust_bytecode, forget, load_file, put_project_first
from ostinato.authoring.manifest import Manifest
from ostinato.authoring.project import ProjectFolder, find_modules
from ostinato.errors import TargetError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

LIMIT: Final = 30.0
"""Seconds that importing one file may take."""
_BACKSTOP: Final = 2.0
"""Seconds after which a process that ignores its own limit is killed."""
_MOST_PROCESSES: Final = 10
_ADVICE: Final = 'Put what a script does under if __name__ == "__main__":.'


class _Order(msgspec.Struct):
    """What the process is to look at."""

    project: ProjectFolder
    limit: float
    refused: dict[str, str]
    """Files that are not to be imported, and why."""


class _Line(msgspec.Struct, omit_defaults=True):
    """What the process says."""

    begin: str | None = None
    manifest: Manifest | None = None
    failed: str | None = None
    """Why nothing could be looked at."""


class TooSlowError(BaseException):
    """A module takes too long to be imported. No `Exception`, so that the module's own code does not catch it."""


def scan(project: ProjectFolder, *, limit: float = LIMIT) -> Manifest:
    """Import the modules of a project in a process of its own and describe what they define.

    Args:
        project: The project.
        limit: Seconds that importing one file may take.

    Raises:
        UsageError: If the process cannot be started, or too many modules end it.
    """
    with contextlib.closing(Scanner()) as scanner:
        return scanner.scan(project, limit=limit)


class Scanner:
    """Scans, with a process ready ahead if it is asked to be: a fifth of a second saved at each save."""

    def __init__(self) -> None:
        self._ready: _Process | None = None

    def prepare(self) -> None:
        """Start the process of the next scan, unless it is there."""
        if self._ready is None:
            self._ready = _Process()

    def close(self) -> None:
        """End the process that is ready, if any."""
        if self._ready is not None:
            self._ready.close()
            self._ready = None

    def scan(self, project: ProjectFolder, *, limit: float = LIMIT) -> Manifest:
        """See `ostinato.authoring.scan.scan`."""
        order = _Order(project, limit, {})
        for _ in range(_MOST_PROCESSES):
            self.prepare()
            process, self._ready = self._ready, None
            assert process is not None  # it has just been prepared
            with contextlib.closing(process):
                last, manifest = process.answer(order)
            if manifest is not None:
                return manifest
            if not last:
                raise UsageError(f"{project.root} could not be looked at: before any module, Python {process.ending}.")
            order.refused[last] = f"{last} {process.ending} when it is imported. {_ADVICE}"
        raise UsageError(
            f"{_MOST_PROCESSES} modules of {project.root} end the process that imports them: "
            f"{', '.join(os.path.relpath(file, project.root) for file in order.refused)}. {_ADVICE}"
        )


class _Process:
    """One process that looks at modules."""

    def __init__(self) -> None:
        reading, writing = os.pipe()
        self._fd, self._held = reading, b""
        self.ending = "ended"
        command = [sys.executable, "-P", "-m", "ostinato.authoring.scan", str(writing)]
        try:
            self._process = subprocess.Popen(  # noqa: S603  # our own interpreter
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(writing,),
                start_new_session=True,
            )
        except OSError as error:
            os.close(reading)
            raise UsageError(f"Python cannot be started to look at the project: {error}.") from error
        finally:
            os.close(writing)

    def answer(self, order: _Order) -> tuple[str, Manifest | None]:
        """Give the order; return the last file that was begun, and the manifest unless the process ended before."""
        last = ""
        assert self._process.stdin is not None  # as it was made
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(msgspec.json.encode(order) + b"\n")
            self._process.stdin.close()
        for text in self._lines(order.limit + _BACKSTOP):
            line = msgspec.json.decode(text, type=_Line)
            if line.failed is not None:
                raise UsageError(f"{order.project.root} could not be looked at: {line.failed}.")
            if line.manifest is not None:
                return last, line.manifest
            last = line.begin or last
        return last, None

    def _lines(self, patience: float) -> Iterator[bytes]:
        """Yield lines until the process ends or says nothing for too long."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._fd, selectors.EVENT_READ)
            until = time.monotonic() + patience
            while True:
                if not selector.select(min(0.1, max(0.0, until - time.monotonic()))):
                    if time.monotonic() >= until:
                        self.ending = f"does not come to an end within {patience:g} s"
                        return
                    if self._process.poll() is None:
                        continue
                chunk = os.read(self._fd, 1 << 20) if selector.select(0) else b""
                if not chunk:  # the end; a child that the module forked may hold the pipe open after it
                    self.ending = _ending(self._process.wait())
                    return
                *lines, self._held = (self._held + chunk).split(b"\n")
                yield from lines
                until = time.monotonic() + patience

    def close(self) -> None:
        """Kill the process and all that it started in its session."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        os.close(self._fd)


def _ending(code: int) -> str:
    if code >= 0:
        return f"ends the process (exit code {code})"
    with contextlib.suppress(ValueError):
        return f"ends the process by the signal {signal.Signals(-code).name}"
    return f"ends the process by the signal {-code}"


# --- inside the process


class _Mouth:
    """Says lines on the private descriptor; a child that a module has forked says nothing and ends."""

    def __init__(self, fd: int) -> None:
        self._fd, self._pid = fd, os.getpid()
        os.set_inheritable(fd, False)  # noqa: FBT003  # its only form

    def say(self, line: _Line) -> None:
        if os.getpid() != self._pid:
            os._exit(0)
        view = memoryview(msgspec.json.encode(line) + b"\n")
        while view:
            view = view[os.write(self._fd, view) :]


class _Refuser:
    """A finder that comes first and refuses the files that ended an earlier process."""

    def __init__(self, refused: dict[str, str]) -> None:
        self._refused = refused

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> None:
        """Raise for a refused file; leave all others to the finders after it."""
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.origin in self._refused:
            raise ImportError(self._refused[spec.origin])


def look(order: _Order, mouth: _Mouth) -> Manifest:
    """Import the modules and describe what they define."""
    project = order.project
    os.chdir(project.root)
    distrust_bytecode(project.root)
    put_project_first(project.root)
    if order.refused:
        sys.meta_path.insert(0, _Refuser(order.refused))
    modules, found = find_modules(project), Definitions(project)
    for file in modules.files:
        if file in order.refused:
            found.fail(file, order.refused[file])
            continue
        mouth.say(_Line(begin=file))
        try:
            with _limited(order.limit):
                module = load_file(Path(file))
        except TargetError as error:
            found.fail(file, str(error))
        else:
            found.add(module, file)
        for name in _stale(modules.ambiguous):
            forget(name)
    deployed = found.deployed()
    sensors, sensing = found.sensors({each.name for each in deployed})
    automations = found.automations()
    files = [os.path.relpath(file, project.root).replace(os.sep, "/") for file in modules.files]
    return Manifest(
        name=project.name,
        root=project.root,
        deployed=sorted([*deployed, *sensors], key=lambda each: each.name),
        schedules=[*found.schedules(), *sensing],
        automations=automations,
        errors=dict(sorted(found.errors.items())),
        files=files,
        pools=sorted(found.pools),
        python=platform.python_version(),
    )


def _stale(ambiguous: Sequence[str]) -> list[str]:
    """List what is loaded under names that another folder's files have too."""
    return [name for name in sys.modules if name.partition(".")[0] in ambiguous] if ambiguous else []


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise `TooSlowError` where the code is, after so many seconds, as long as it is Python that runs."""

    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        raise TooSlowError(f"importing it took longer than {seconds:g} s; this is where it was. {_ADVICE}")

    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def main() -> None:
    """Wait for an order, carry it out, say what was found, and end at once whatever threads are left."""
    mouth = _Mouth(int(sys.argv[1]))
    for heavy in ("pydantic.json_schema",):
        importlib.import_module(heavy)  # while nobody waits
    text = sys.stdin.buffer.readline()
    if text:
        try:
            line = _Line(manifest=look(msgspec.json.decode(text, type=_Order), mouth))
        except Exception as error:  # a folder that cannot be read
            line = _Line(failed=f"{type(error).__name__}: {error}")
        mouth.say(line)
    os._exit(0)


if __name__ == "__main__":
    main()
