"""Pickle and cloudpickle, with the two things they get wrong for a durable script.

A script's own classes are ``__main__``'s when it runs and a module's when a worker loads it, so they are
looked up under both names. And cloudpickle would quietly turn an open file into a copy of its text.
"""

from __future__ import annotations

import functools
import io
import pickle
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

_main: list[ModuleType] = []


def stand_in_for_main(module: ModuleType) -> None:
    """Look up in this module what was pickled as ``__main__``'s.

    Whoever loads a script as a module, to resume its run elsewhere, says so here.
    """
    _main[:] = [module]


def to_pickle(value: object, head: bytes = b"") -> bytes:
    """Pickle a value after `head`, without copying it once more."""
    file = io.BytesIO()
    file.write(head)
    pickle.Pickler(file, protocol=5).dump(value)
    return file.getvalue()


def to_cloudpickle(value: object, head: bytes = b"") -> bytes:
    """Pickle by cloudpickle after `head`."""
    file = io.BytesIO()
    file.write(head)
    _cloud_pickler()(file, protocol=5).dump(value)
    return file.getvalue()


def unpickle(data: bytes, start: int = 0) -> Any:
    """Load a pickle that begins at `start`."""
    file = io.BytesIO(data)
    file.seek(start)
    return _Unpickler(file).load()


class _Unpickler(pickle.Unpickler):
    """Finds a script's classes whether it runs as ``__main__`` or was imported by its name."""

    def find_class(self, module: str, name: str) -> Any:
        if module in ("__main__", "__mp_main__") and _main:
            try:
                return super().find_class(_main[0].__name__, name)
            except (ImportError, AttributeError):
                pass
        elif module not in sys.modules and module == _main_stem():
            return super().find_class("__main__", name)
        return super().find_class(module, name)


def _main_stem() -> str:
    path = getattr(sys.modules.get("__main__"), "__file__", None) or ""
    return path.replace("\\", "/").rpartition("/")[2].removesuffix(".py")


@functools.cache
def _cloud_pickler() -> Any:
    """Make the class at the first need: importing cloudpickle takes 25 ms, and few results need it."""
    import cloudpickle  # 25 ms, and few results need it

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, value: Any) -> Any:
            if isinstance(value, io.IOBase) and not isinstance(value, (io.BytesIO, io.StringIO)):
                message = f"cannot pickle an open file, {type(value).__qualname__!r}"
                raise TypeError(message)
            return super().reducer_override(value)

    return Pickler
