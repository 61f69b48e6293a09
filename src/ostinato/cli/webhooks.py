"""``ostinato webhooks add | list | remove``: who may send events from outside."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from ostinato.cli.options import AsJson, store
from ostinato.cli.screen import show, show_json, table, when
from ostinato.clock import to_rfc3339
from ostinato.errors import UsageError
from ostinato.runtime.auditing import audit
from ostinato.server.signatures import check_scheme, make_secret
from ostinato.settings import load_settings
from ostinato.timing import Webhook
from ostinato.waiting import check_emitted

Name = Annotated[str, Parameter(name="NAME", help="Its name, the end of its address.")]
Kind = Annotated[str, Parameter(name="--kind", help="The kind of the events that it makes: orders.landed.")]
KeyFrom = Annotated[
    str | None, Parameter(name="--key-from", help="Where the event's key stands in the body: data.id. Else no key.")
]
Header = Annotated[str | None, Parameter(name="--header", help="The header of the signature, if it is not the usual.")]
Scheme = Annotated[
    str | None,
    Parameter(
        name="--scheme",
        help="How it is signed: standard (Standard Webhooks), github, stripe, plain (HMAC of the body).",
    ),
]
Secret = Annotated[
    str | None, Parameter(name="--secret", help="The sender's own secret, - to read it; else one is made, shown once.")
]


def add(
    name: Name,
    /,
    *,
    kind: Kind,
    key_from: KeyFrom = None,
    header: Header = None,
    scheme: Scheme = None,
    secret: Secret = None,
    json: AsJson = False,
) -> None:
    """Let somebody send events, signed with a secret; one of that name is replaced."""
    chosen = scheme or ("standard" if header is None else "plain")
    check_scheme(chosen)
    check_emitted(kind, "")
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise UsageError(f"The name of a webhook is a part of its address: letters, digits, - _ and ., not {name!r}.")
    given = sys.stdin.readline().strip() if secret == "-" else secret  # noqa: S105  the dash stands for standard input
    with store() as opened:
        hook = Webhook(
            name=name,
            kind=kind,
            key_from=key_from,
            scheme=chosen,
            header=header,
            secret=given or make_secret(chosen),
            created_at=opened.now(),
        )
        opened.put_webhook(hook)
        audit(opened, None, "webhook_changed", name, more={"kind": kind, "scheme": chosen})
    address = f"{load_settings().api or 'http://127.0.0.1:4600'}/api/webhooks/{name}"
    if json:
        show_json(_shape(hook) | {"secret": hook.secret, "address": address})
        return
    print(f"Messages to {address} become events {kind}.")
    if given is None:
        print(f"They are signed ({chosen}) with this secret, which is not shown again:\n\n  {hook.secret}\n")


def list_webhooks(*, json: AsJson = False) -> None:
    """List webhooks by name; their secrets are not shown."""
    with store() as opened:
        hooks, now = opened.list_webhooks(), opened.now()
    if json:
        show_json([_shape(hook) for hook in hooks])
        return
    if not hooks:
        print("There is no webhook yet: ostinato webhooks add NAME --kind orders.landed")
        return
    made = table("webhook", "kind", "key from", "signed", "header", "made", whole=("webhook", "made"))
    for hook in hooks:
        made.add_row(
            hook.name, hook.kind, hook.key_from or "", hook.scheme, hook.header or "", when(hook.created_at, now)
        )
    show(made)


def remove(name: Name, /, *, json: AsJson = False) -> None:
    """Take no more messages of a webhook."""
    with store() as opened:
        opened.remove_webhook(name)
        audit(opened, None, "webhook_removed", name)
    if json:
        show_json({"name": name})
    else:
        print(f"Webhook {name} is forgotten; what it sent stays.")


def _shape(hook: Webhook) -> dict[str, Any]:
    facts = msgspec.structs.asdict(hook)
    del facts["secret"]
    return facts | {"created_at": to_rfc3339(hook.created_at)}
