"""Tokens of runs: signed, not stored.

``ostr_`` and, in base64url, the run's id, the second at which it ends, and an HMAC-SHA256 of both by a secret that all
servers of one store share. A run's process gets one with its claim; as long as it holds the run, an answer renews it
when less than half of its time is left. Nothing but this one run can be reached by it.
"""

from __future__ import annotations

import base64
import hmac
from typing import Final

from ostinato.clock import SECOND
from ostinato.link import RUN_TOKEN
from ostinato.server.problems import UnauthenticatedError

RUN_PREFIX: Final = RUN_TOKEN
LIFETIME: Final = 24 * 3600.0
"""Seconds that a run's token holds."""
_MAC: Final = 32


def sign_run(secret: bytes, run_id: str, now: int, lifetime: float = LIFETIME) -> str:
    """Make the token of a run.

    Args:
        secret: The store's, named ``run_tokens``.
        run_id: The run.
        now: The instant, in microseconds since 1970-01-01 UTC.
        lifetime: Seconds that it holds.
    """
    payload = f"{run_id} {round(now / SECOND + lifetime)}".encode()
    return RUN_PREFIX + base64.urlsafe_b64encode(payload + _sign(secret, payload)).decode().rstrip("=")


def read_run(secret: bytes, token: str, now: int) -> str:
    """Return the id of the run whose token it is.

    Raises:
        UnauthenticatedError: If it is not one that this store has signed, or its time is over.
    """
    run_id, ends_at = _read(secret, token)
    if ends_at <= now / SECOND:
        raise UnauthenticatedError(
            f"The token of run {run_id} has expired. The run's process has not been heard of for too long; the run "
            "goes on when its worker, or `ostinato runs resume`, takes it up again."
        )
    return run_id


def is_half_over(secret: bytes, token: str, now: int) -> bool:
    """Tell whether less than half of a token's time is left."""
    return _read(secret, token)[1] - now / SECOND < LIFETIME / 2


def _read(secret: bytes, token: str) -> tuple[str, int]:
    text = token.removeprefix(RUN_PREFIX)
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        data = b""
    payload, mac = data[:-_MAC], data[-_MAC:]
    if not payload or not hmac.compare_digest(mac, _sign(secret, payload)):
        raise UnauthenticatedError(
            "This token of a run does not hold: it was not signed by this server's store, or is damaged."
        )
    run_id, _, ends_at = payload.decode().partition(" ")
    return run_id, int(ends_at)


def _sign(secret: bytes, payload: bytes) -> bytes:
    return hmac.digest(secret, b"ostinato run token\0" + payload, "sha256")
