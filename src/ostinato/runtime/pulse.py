"""Renews a session's lease from a process of its own, for as long as the session's process is alive.

A thread cannot renew a lease while other code holds the interpreter's lock: a `pickle` of some gigabytes, or a long
call into C, would look like death, and a healthy run would be given up. So a session that lasts starts
``python -m ostinato.runtime.pulse``. It ends when the session's process does (the end of its standard input), and it
does not renew for a process that is *stopped* (SIGSTOP, Ctrl-Z): such a one may come back late and must find its
lease gone.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import msgspec

from ostinato.errors import StoreError
from ostinato.runtime.process import is_stopped
from ostinato.store.open import open_store

if TYPE_CHECKING:
    from ostinato.settings import Settings

_log = logging.getLogger("ostinato.internal")


class Orders(msgspec.Struct, frozen=True):
    """What a pulse is told, in one line of JSON: by standard input, since it may hold a password or a token."""

    store: str
    token: str
    durability: str
    lease: float
    worker_id: str
    pid: int


def start_pulse(settings: Settings, worker_id: str) -> subprocess.Popen[bytes] | None:
    """Start a pulse for this process; None where no process can be started: the keeper's own beats must do then."""
    orders = Orders(settings.store_url, settings.token, settings.durability, settings.lease, worker_id, os.getpid())
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "ostinato.runtime.pulse"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(orders) + b"\n")
        process.stdin.flush()
    except OSError as error:
        _log.warning("No pulse could be started: %s", error)
        return None
    return process


def stop_pulse(process: subprocess.Popen[bytes]) -> None:
    """End a pulse."""
    if process.stdin is not None:
        process.stdin.close()
    process.kill()
    process.wait(timeout=10)


def main() -> None:
    """Renew until standard input ends, or the lease is gone."""
    orders = msgspec.json.decode(sys.stdin.buffer.readline(), type=Orders)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    store = open_store(orders.store, durability=orders.durability, lease=orders.lease, token=orders.token)
    while True:
        if not is_stopped(orders.pid):
            try:
                if not store.beat(orders.worker_id).alive:
                    return
            except StoreError:  # the next one may succeed; the session's own keeper tells the user
                pass
        time.sleep(orders.lease / 4)


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
