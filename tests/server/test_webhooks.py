"""Webhooks: signed messages become events, once; whatever is not right is refused and says why."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.process import until

from ostinato.clock import SECOND
from ostinato.server.signatures import make_secret
from ostinato.timing import Webhook

if TYPE_CHECKING:
    from tests.serving import Running

BODY = {"id": "evt_1", "type": "order", "data": {"id": "4711", "items": [{"sku": 7}]}}


def a_hook(server: Running, scheme: str, **fields: Any) -> Webhook:
    values = {"key_from": "data.id", "secret": make_secret(scheme), "created_at": server.store.now()}
    hook = Webhook(name="orders", kind="orders.landed", scheme=scheme, **(values | fields))
    server.store.put_webhook(hook)
    return hook


def sign(hook: Webhook, body: bytes, at: int, identity: str = "msg_1") -> dict[str, str]:
    """Sign as the senders' own documentation says, written here a second time."""

    def hexed(text: bytes, key: bytes = hook.secret.encode()) -> str:
        return hmac.new(key, text, hashlib.sha256).hexdigest()

    if hook.scheme == "standard":
        key = base64.b64decode(hook.secret.removeprefix("whsec_"))
        text = f"{identity}.{at}.".encode() + body
        signature = "v1," + base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
        return {"webhook-id": identity, "webhook-timestamp": str(at), "webhook-signature": f"v1,other {signature}"}
    if hook.scheme == "stripe":
        return {"Stripe-Signature": f"t={at},v1={hexed(str(at).encode() + b'.' + body)},v0=old"}
    if hook.scheme == "github":
        return {"X-Hub-Signature-256": f"sha256={hexed(body)}"}
    return {hook.header or "X-Signature": hexed(body)}


def post(server: Running, headers: dict[str, str], body: bytes, **options: Any) -> Any:
    return server.http.post("/api/webhooks/orders", content=body, headers=headers, **options)


def landed(server: Running) -> list[Any]:
    return [found.event for found in server.store.list_events(limit=1000) if found.event.kind == "orders.landed"]


def seconds(server: Running) -> int:
    return server.store.now() // SECOND


SCHEMES = ["standard", "stripe", "github", "plain"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_signed_message_becomes_an_event_without_a_login(either: Running, scheme: str) -> None:
    either.as_user("ada", "admin")
    until(lambda: either.http.get("/api/webhooks").status_code == 401, "the server to ask for tokens")
    hook, body = a_hook(either, scheme), json.dumps(BODY).encode()
    answer = post(either, sign(hook, body, seconds(either)), body)
    assert (answer.status_code, answer.json()) == (202, {"taken": True, "duplicate": False})
    (event,) = landed(either)
    assert (event.key, json.loads(event.data), event.run_id) == ("4711", BODY, "")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_wrong_signature_or_a_changed_body_is_refused(server: Running, scheme: str) -> None:
    hook, body = a_hook(server, scheme), json.dumps(BODY).encode()
    other = a_hook(server, scheme)
    signed = sign(hook, body, seconds(server))
    right = sign(other, body, seconds(server))
    for headers, content in ((signed, body), (right, body + b" "), ({}, body), (dict.fromkeys(right, "x"), body)):
        answer = post(server, headers, content)
        assert answer.status_code == 401, answer.text
        assert "signature" in answer.json()["detail"] or "signed" in answer.json()["detail"]
    assert landed(server) == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_very_same_message_again_is_refused(either: Running, scheme: str) -> None:
    hook, body = a_hook(either, scheme), json.dumps(BODY).encode()
    headers = sign(hook, body, seconds(either))
    assert post(either, headers, body).status_code == 202
    answer = post(either, headers, body)
    assert (answer.status_code, "already" in answer.json()["detail"]) == (409, True)
    assert len(landed(either)) == 1


@pytest.mark.parametrize("scheme", ["standard", "stripe"])
def test_a_message_that_is_signed_anew_is_known_again(server: Running, scheme: str) -> None:
    hook, body = a_hook(server, scheme), json.dumps(BODY).encode()
    assert post(server, sign(hook, body, seconds(server) - 5), body).status_code == 202
    again = post(server, sign(hook, body, seconds(server)), body)
    assert (again.status_code, again.json()) == (202, {"taken": False, "duplicate": True})
    assert len(landed(server)) == 1


@pytest.mark.parametrize("scheme", ["standard", "stripe"])
@pytest.mark.parametrize("apart", [-301, 310])
def test_a_message_of_another_time_is_stale(server: Running, scheme: str, apart: int) -> None:
    hook, body = a_hook(server, scheme), json.dumps(BODY).encode()
    answer = post(server, sign(hook, body, seconds(server) + apart), body)
    assert answer.status_code == 400
    assert "at most 300 s" in answer.json()["detail"]
    assert landed(server) == []


def test_a_message_that_comes_many_times_at_once_is_taken_once(either: Running) -> None:
    hook, body = a_hook(either, "github"), json.dumps(BODY).encode()
    headers, found = sign(hook, body, 0), list[int]()
    threads = [threading.Thread(target=lambda: found.append(post(either, headers, body).status_code)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(found) == [202, 409, 409, 409, 409, 409]
    assert len(landed(either)) == 1


@pytest.mark.parametrize(
    ("body", "key_from", "says"),
    [
        (b"{no json", None, "is JSON"),
        (b'{"data": {}}', "data.id", "has no data.id"),
        (b"[1]", "data.id", "has no data.id"),
        (json.dumps({"data": {"id": "x" * 2000}}).encode(), "data.id", "at most 1000"),
    ],
)
def test_a_message_that_is_no_event_says_why(server: Running, body: bytes, key_from: str | None, says: str) -> None:
    hook = a_hook(server, "plain", key_from=key_from)
    answer = post(server, sign(hook, body, 0), body)
    assert answer.status_code == 400
    assert says in answer.json()["detail"]
    assert landed(server) == []


def test_keys_are_found_in_lists_and_numbers_become_text(server: Running) -> None:
    hook, body = a_hook(server, "plain", key_from="data.items.0.sku", header="X-Shop"), json.dumps(BODY).encode()
    assert post(server, sign(hook, body, 0), body).status_code == 202
    assert landed(server)[0].key == "7"


def test_a_body_without_end_is_cut_off(server: Running) -> None:
    hook, body = a_hook(server, "plain"), b'{"x": "' + b"y" * (1 << 20) + b'"}'
    assert post(server, sign(hook, body, 0), body).status_code == 413


def test_an_unknown_webhook_is_not_found_and_others_keep_their_secrets(server: Running) -> None:
    hook = a_hook(server, "plain")
    assert server.http.post("/api/webhooks/order", content=b"{}").status_code == 404
    listed = server.http.get("/api/webhooks")
    assert [one["name"] for one in listed.json()] == ["orders"]
    assert hook.secret not in listed.text


def test_a_message_may_come_under_any_name_of_an_open_server(server: Running) -> None:
    hook, body = a_hook(server, "plain"), json.dumps(BODY).encode()
    headers = sign(hook, body, 0) | {"Host": "hooks.example.org", "Origin": "https://shop.example.org"}
    assert post(server, headers, body).status_code == 202
    assert server.http.get("/api/webhooks", headers={"Host": "hooks.example.org"}).status_code == 403


def test_the_schemes_signatures_are_those_of_their_own_examples() -> None:
    """Vectors of Standard Webhooks' and GitHub's own documentation."""
    from ostinato.server.signatures import check

    hook = Webhook(name="x", kind="x", scheme="standard", secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    assert check(hook, headers, b'{"test": 2432232314}', 1614265330 * SECOND).id == "msg_p5jXN8AQM9LWM0D4loKWxJek"
    github = Webhook(name="x", kind="x", scheme="github", secret="It's a Secret to Everybody")
    signed = {"x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}
    assert check(github, signed, b"Hello, World!", 0)
