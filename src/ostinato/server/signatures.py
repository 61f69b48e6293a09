"""Messages of webhooks: whether they are signed by whom they say, when, and how to know one that comes again.

=========  ===========================================  ======================================  ==================
scheme     header                                       HMAC-SHA256 of                          known again by
=========  ===========================================  ======================================  ==================
standard   ``webhook-id, -timestamp, -signature``       ``id.timestamp.body``                   its id
stripe     ``Stripe-Signature: t=…,v1=…``               ``timestamp.body``                      ``id`` in the body
github     ``X-Hub-Signature-256: sha256=…``            the body                                its signature
plain      ``X-Signature: …`` or one of one's own       the body                                its signature
=========  ===========================================  ======================================  ==================

The very same signature again is a replay, whatever its scheme. Where the time is signed too, what is older than
`WINDOW` is refused, so that nobody need remember more than that; where it is not, messages are remembered for a day.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from ostinato.clock import SECOND
from ostinato.errors import UsageError, nearest
from ostinato.server.problems import UnauthenticatedError
from ostinato.timing import Delivery

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ostinato.timing import Webhook

WINDOW: Final = 300 * SECOND
"""How old, or early, a message may be whose time is signed."""
_DAY: Final = 86_400 * SECOND
_PREFIX: Final = "whsec_"


class _Signed(NamedTuple):
    """What a message says of itself."""

    given: list[str]
    """Signatures, as text: one must be right."""
    text: bytes
    """What was signed."""
    timestamp: str | None = None
    id: str = ""


def make_secret(scheme: str) -> str:
    """Make a secret as a scheme writes it."""
    if scheme == "standard":
        return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()
    return secrets.token_urlsafe(32)


def check(hook: Webhook, headers: Mapping[str, str], body: bytes, now: int) -> Delivery:
    """Check a message's signature and age.

    Args:
        hook: With its secret.
        headers: By name in lower case.
        body: As it came.
        now: The time.

    Raises:
        UnauthenticatedError: If there is no signature, or a wrong one.
        UsageError: If it is too old, or says no proper time.
    """
    signed = _SCHEMES[hook.scheme](hook, headers, body)
    right = _sign(hook, signed.text)
    fits = [hmac.compare_digest(right.encode(), given.encode()) for given in signed.given]
    if not any(fits):
        raise UnauthenticatedError(
            f"The signature of this message is not that of webhook {hook.name}: check its secret, and that the body is "
            "sent as it was signed."
        )
    if signed.timestamp is not None:
        _check_age(signed.timestamp, now)
    remembered = _DAY if signed.timestamp is None else 2 * WINDOW
    return Delivery(webhook=hook.name, signature=right, id=signed.id, remembered=remembered)


def event_key_of(hook: Webhook, data: Any) -> str:
    """Read the key of the event out of a message.

    Raises:
        UsageError: If it is not where the webhook says.
    """
    found = data
    for part in (hook.key_from or "").split(".") if hook.key_from else ():
        if isinstance(found, list) and part.isdigit() and int(part) < len(found):
            found = found[int(part)]
        elif isinstance(found, dict) and part in found:
            found = found[part]
        else:
            raise UsageError(
                f"This message has no {hook.key_from}, where webhook {hook.name} looks for the event's key."
            )
    if hook.key_from is None:
        return ""
    return found if isinstance(found, str) else msgspec.json.encode(found).decode()


def check_scheme(scheme: str) -> None:
    """Refuse a scheme that nobody knows.

    Raises:
        UsageError: With the nearest name.
    """
    if scheme not in _SCHEMES:
        known = ", ".join(sorted(_SCHEMES))
        raise UsageError(f"There is no scheme {scheme!r} of signing; there are {known}.{nearest(scheme, _SCHEMES)}")


def _sign(hook: Webhook, text: bytes) -> str:
    if hook.scheme == "standard":
        digest = hmac.new(_key_of(hook.secret), text, hashlib.sha256).digest()
        return base64.b64encode(digest).decode()
    return hmac.new(hook.secret.encode(), text, hashlib.sha256).hexdigest()


def _key_of(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (ValueError, binascii.Error):
        return secret.encode()


def _check_age(timestamp: str, now: int) -> None:
    if not (timestamp.isdecimal() and len(timestamp) < 12):  # noqa: PLR2004  # seconds, for some thousand years
        raise UsageError(f"The time of this message is {timestamp[:20]!r}, not seconds since 1970.")
    apart = (now - int(timestamp) * SECOND) // SECOND
    if abs(apart) * SECOND > WINDOW:
        how = f"{apart} s old" if apart > 0 else f"{-apart} s early"
        raise UsageError(
            f"This message is {how}, and at most {WINDOW // SECOND} s are taken: send it again, signed anew, or set "
            "the clock."
        )


def _header(headers: Mapping[str, str], name: str, hook: Webhook) -> str:
    found = headers.get(name.lower())
    if not found:
        raise UnauthenticatedError(f"Webhook {hook.name} takes messages that are signed: the header {name} is missing.")
    return found


def _standard(hook: Webhook, headers: Mapping[str, str], body: bytes) -> _Signed:
    given = _header(headers, hook.header or "webhook-signature", hook)
    identity, timestamp = _header(headers, "webhook-id", hook), _header(headers, "webhook-timestamp", hook)
    text = f"{identity}.{timestamp}.".encode() + body
    return _Signed([each.removeprefix("v1,") for each in given.split()], text, timestamp, identity)


def _stripe(hook: Webhook, headers: Mapping[str, str], body: bytes) -> _Signed:
    given = _header(headers, hook.header or "Stripe-Signature", hook)
    parts = [each.strip().partition("=") for each in given.split(",")]
    timestamp = next((value for name, _, value in parts if name == "t"), "")
    text = f"{timestamp}.".encode() + body
    return _Signed([value for name, _, value in parts if name == "v1"], text, timestamp, _id_in(body))


def _plain(hook: Webhook, headers: Mapping[str, str], body: bytes) -> _Signed:
    usual = "X-Hub-Signature-256" if hook.scheme == "github" else "X-Signature"
    given = _header(headers, hook.header or usual, hook)
    return _Signed([given.strip().removeprefix("sha256=").lower()], body)


def _id_in(body: bytes) -> str:
    try:
        found = msgspec.json.decode(body)
    except msgspec.MsgspecError:
        return ""
    identity = found.get("id") if isinstance(found, dict) else None
    return identity if isinstance(identity, str) else ""


_SCHEMES: Final[dict[str, Callable[[Webhook, Mapping[str, str], bytes], _Signed]]] = {
    "standard": _standard,
    "github": _plain,
    "stripe": _stripe,
    "plain": _plain,
}
