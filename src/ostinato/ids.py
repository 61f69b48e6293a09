"""Identifiers: short enough to type, sorted by time where that helps."""

from __future__ import annotations

import secrets

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u
_TIME_CHARS = 9
_RANDOM_CHARS = 7

RUN_ID_LENGTH = _TIME_CHARS + _RANDOM_CHARS


def new_id(now: int) -> str:
    """Make an identifier of 16 characters whose order is the order of time.

    Args:
        now: The instant, in microseconds since 1970-01-01 UTC; milliseconds of it are kept (until the
            year 3084).
    """
    return _base32(now // 1000, _TIME_CHARS) + _base32(secrets.randbits(35), _RANDOM_CHARS)


def derived_id(digest: bytes) -> str:
    """Make an identifier of the same shape from a digest of at least 10 bytes: the same for the same digest."""
    return _base32(int.from_bytes(digest[:10], "big"), RUN_ID_LENGTH)


def _base32(number: int, length: int) -> str:
    chars = []
    for _ in range(length):
        number, rest = divmod(number, 32)
        chars.append(_ALPHABET[rest])
    return "".join(reversed(chars))
