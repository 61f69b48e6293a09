"""Who may do what: roles, tokens that hold and that do not, and where a server agrees to listen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.process import until
from tests.serving import running

from ostinato.access import Role
from ostinato.errors import UsageError
from ostinato.records import Run
from ostinato.server.accounts import change_user, create_token, create_user, has_way_in, revoke_token
from ostinato.server.serving import Serving
from ostinato.server.tokens import sign_run
from ostinato.states import State
from ostinato.store.open import open_store
from ostinato.store.remote import RemoteStore

if TYPE_CHECKING:
    from tests.serving import Running

    from ostinato.settings import Settings

REQUESTS = [
    ("GET", "/api/runs", None, "viewer"),
    ("GET", "/api/info", None, "viewer"),
    ("GET", "/metrics", None, "viewer"),
    ("GET", "/api/deployments", None, "viewer"),
    ("GET", "/api/workers", None, "viewer"),
    ("POST", "/api/runs", {"deployment": "weather", "parameters": {"cities": []}}, "operator"),
    ("POST", "/api/deployments/pause/weather", None, "operator"),
    ("PUT", "/api/pools/gpu", {"slots": 2}, "operator"),
    ("PUT", "/api/projects/other", {"root": "/x", "deployments": []}, "operator"),
    ("GET", "/api/users", None, "admin"),
    ("POST", "/api/tokens", {"name": "more"}, "admin"),
    ("GET", "/api/tokens", None, "admin"),
]
PEOPLE = ["viewer", "operator", "admin"]


@pytest.fixture
def closed(server: Running) -> Running:
    """A server that asks for tokens."""
    server.deploy("weather")
    server.http.headers.update(server.as_user("root", "admin"))
    server.serving.served.is_open = False
    return server


@pytest.mark.parametrize(("method", "path", "body", "least"), REQUESTS)
def test_every_role_may_what_is_its_own_and_no_more(
    closed: Running, method: str, path: str, body: object, least: str
) -> None:
    for role in (*PEOPLE, "worker"):
        shown = closed.token(f"a-{role}", role=role)
        answer = closed.http.request(method, path, json=body, headers=shown)
        may = role in PEOPLE and PEOPLE.index(role) >= PEOPLE.index(least)
        assert (answer.status_code < 300) is may, (role, answer.text)
        if not may:
            assert answer.status_code == 403
            assert answer.json()["type"] == "urn:ostinato:AccessError"
            assert least in answer.json()["detail"]


def test_a_run_token_reaches_nothing_of_the_public_api(closed: Running) -> None:
    run = closed.start()
    token = sign_run(closed.store.secret("run_tokens"), run["id"], closed.store.now(), 60)
    for path in ("/api/runs", f"/api/runs/{run['id']}", "/api/users", "/metrics"):
        assert closed.http.get(path, headers={"Authorization": f"Bearer {token}"}).status_code == 403


def test_a_run_token_is_narrow_on_an_open_server_too(server: Running) -> None:
    server.deploy("weather")
    run = server.start()
    token = sign_run(server.store.secret("run_tokens"), run["id"], server.store.now(), 60)
    assert server.http.get("/api/users").status_code == 200
    assert server.http.get("/api/users", headers={"Authorization": f"Bearer {token}"}).status_code == 403


@pytest.mark.parametrize(
    "shown",
    ["", "Bearer", "Basic cm9vdDpyb290", "Bearer ost_unknown", "Bearer whatever", "Bearer ostr_YWJj", "Bearer ostr_!"],
)
def test_what_is_no_token_is_refused_with_401(closed: Running, shown: str) -> None:
    answer = closed.http.get("/api/runs", headers={"Authorization": shown})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.headers["content-type"] == "application/problem+json"


def test_no_token_at_all_is_refused_where_tokens_are_asked_for(closed: Running) -> None:
    del closed.http.headers["Authorization"]
    assert closed.http.get("/api/runs").status_code == 401
    assert closed.http.get("/api/events/stream").status_code == 401
    assert closed.http.post("/api/store/claim").status_code == 401
    assert closed.http.get("/api/health").status_code == 200
    assert closed.http.get("/api/ready").status_code == 200
    assert closed.http.get("/").status_code == 200


def test_an_expired_token_is_refused(closed: Running) -> None:
    shown = closed.token("short", role="viewer", lifetime=0.000001)
    assert closed.http.get("/api/runs", headers=shown).status_code == 401


def test_the_expired_token_of_a_run_is_refused(closed: Running) -> None:
    token = sign_run(closed.store.secret("run_tokens"), "x" * 16, closed.store.now() - 100_000_000, 10)
    answer = closed.http.get("/api/runs", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 401
    assert "expired" in answer.json()["detail"]


def test_a_token_signed_by_another_store_is_refused(closed: Running) -> None:
    token = sign_run(b"x" * 32, "x" * 16, closed.store.now(), 60)
    assert closed.http.get("/api/runs", headers={"Authorization": f"Bearer {token}"}).status_code == 401


def test_a_token_revoked_here_holds_no_longer_at_once(closed: Running) -> None:
    made = closed.http.post("/api/tokens", json={"name": "ci", "role": "viewer"}).json()
    shown = {"Authorization": f"Bearer {made['token']}"}
    assert closed.http.get("/api/runs", headers=shown).status_code == 200
    assert closed.http.delete(f"/api/tokens/{made['kept']['id']}").status_code == 200
    assert closed.http.get("/api/runs", headers=shown).status_code == 401


def test_a_token_revoked_elsewhere_holds_for_seconds_only(closed: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ostinato.server.access.FRESH", 0.2)
    made = create_token(closed.store, "ci", role="viewer")
    shown = {"Authorization": f"Bearer {made.text}"}
    assert closed.http.get("/api/runs", headers=shown).status_code == 200
    revoke_token(closed.store, made.token.id)
    until(lambda: closed.http.get("/api/runs", headers=shown).status_code == 401, "the end of a revoked token", 5)


def test_tokens_are_looked_up_once_in_a_few_seconds(closed: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    shown, asked = closed.token("busy", role="worker"), []
    find = closed.store.find_token
    monkeypatch.setattr(closed.store, "find_token", lambda digest: (asked.append(digest), find(digest))[1])
    for _ in range(20):
        closed.http.get("/api/runs", headers=shown)
    assert len(asked) == 1


def test_the_tokens_of_a_disabled_user_hold_no_longer(closed: Running) -> None:
    shown = closed.as_user("eve", "operator")
    assert closed.http.get("/api/runs", headers=shown).status_code == 200
    assert closed.http.patch("/api/users/eve", json={"disabled": True}).status_code == 200
    assert closed.http.get("/api/runs", headers=shown).status_code == 401


def test_a_token_may_no_more_than_its_user(closed: Running) -> None:
    shown = closed.as_user("eve", "operator")
    change_user(closed.store, "eve", role="viewer")
    closed.http.patch("/api/users/eve", json={})  # what is known of tokens is forgotten
    assert closed.http.post("/api/deployments/pause/weather", headers=shown).status_code == 403


def test_a_token_is_shown_once_and_only_its_hash_is_kept(closed: Running) -> None:
    made = closed.http.post("/api/tokens", json={"name": "ci"}).json()
    listed = closed.http.get("/api/tokens").text
    assert made["token"].startswith("ost_")
    assert made["token"] not in listed
    assert made["kept"]["id"] in listed
    assert "hash" not in listed


def test_the_last_admin_stays(closed: Running) -> None:
    answer = closed.http.patch("/api/users/root", json={"role": "viewer"})
    assert answer.status_code == 400
    assert "last admin" in answer.json()["detail"]


def test_an_open_server_asks_for_tokens_once_there_is_a_user(server: Running) -> None:
    assert server.http.get("/api/info").json()["open"] is True
    assert server.http.post("/api/users", json={"name": "ada", "role": "admin"}).status_code == 201
    assert server.http.get("/api/info").status_code == 401


def test_an_open_server_soon_asks_for_tokens_once_a_user_was_made_elsewhere(server: Running) -> None:
    assert server.http.get("/api/runs").status_code == 200
    create_user(server.store, "ada", role="admin")
    until(lambda: server.http.get("/api/runs").status_code == 401, "a server that asks for tokens", 5)


def test_every_change_is_on_record_with_who_made_it(closed: Running) -> None:
    closed.http.post("/api/deployments/pause/weather")
    run = closed.start()
    closed.http.post(f"/api/runs/{run['id']}/cancel")
    events = closed.http.get("/api/events", params={"kind": "audit.", "limit": 1000}).json()["items"]
    told = {event["kind"]: event["data"] for event in events}
    for kind in ("audit.user_created", "audit.token_created"):
        assert told[kind]["actor"] == "local"
    for kind in ("audit.deployment_paused", "audit.run_started", "audit.run_cancelled"):
        assert told[kind]["actor"] == "user:root"
    assert told["audit.run_cancelled"]["what"] == run["id"]
    assert closed.http.get(f"/api/runs/{run['id']}").json()["created_by"] == "user:root"
    assert not any("ost_" in str(data.get("token", "")) for data in told.values())


def test_a_run_that_comes_through_the_store_is_on_record_as_of_whoever_shows_the_token(closed: Running) -> None:
    shown = closed.as_user("bob", "operator")["Authorization"].removeprefix("Bearer ")
    store = RemoteStore(closed.url, token=shown)
    made = store.create(
        Run(id="r" * 16, flow="f", state=State.QUEUED, lineage="r" * 16, pool="default", created_by="user:root")
    )
    store.close()
    assert made.created_by == "user:bob"
    (told,) = [found.event for found in closed.store.list_events(made.id) if found.event.kind == "audit.run_started"]
    assert '"actor":"user:bob"' in told.data


def test_a_server_refuses_to_listen_for_others_without_somebody_who_may(settings: Settings) -> None:
    with pytest.raises(UsageError, match="ostinato users create NAME --role admin"):
        Serving(settings, host="0.0.0.0", port=0)


def test_a_server_listens_for_others_when_an_admin_has_a_token(settings: Settings) -> None:
    store = open_store(settings.database_url)
    create_user(store, "ada", role="admin")
    assert not has_way_in(store)
    create_token(store, "laptop", user="ada")
    assert has_way_in(store)
    store.close()
    with running(settings, host="0.0.0.0") as server:
        assert server.http.get("/api/runs").status_code == 401


@pytest.mark.parametrize("spoil", ["revoked", "expired", "disabled", "viewer"])
def test_a_token_that_does_not_hold_is_no_way_in(settings: Settings, spoil: str) -> None:
    store = open_store(settings.database_url)
    create_user(store, "ada", role="admin")
    create_user(store, "bob", role="admin")
    made = create_token(
        store,
        "laptop",
        user="ada",
        role="viewer" if spoil == "viewer" else None,
        lifetime=1e-6 if spoil == "expired" else None,
    )
    if spoil == "revoked":
        revoke_token(store, made.token.id)
    if spoil == "disabled":
        change_user(store, "ada", disabled=True)
    assert not has_way_in(store)
    store.close()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"role": "boss"}, "viewer, operator, admin or worker"),
        ({"role": "admin", "user": "bob"}, "bob is viewer"),
        ({"role": "viewer", "pools": ["a"]}, "worker"),
        ({"lifetime": -1.0}, "above 0"),
    ],
)
def test_a_token_that_makes_no_sense_is_refused(settings: Settings, options: dict[str, object], told: str) -> None:
    store = open_store(settings.database_url)
    create_user(store, "bob", role=Role.VIEWER)
    with pytest.raises(UsageError, match=told):
        create_token(store, "x", **options)  # type: ignore[arg-type]
    store.close()
