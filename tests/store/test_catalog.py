"""What is deployed, which pools there are, and who may do what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.store.builders import a_deployed, a_project, a_run, a_worker, claim, queued

from ostinato.access import Role, Token, User
from ostinato.errors import UnknownNameError, UsageError
from ostinato.records import Event, RunFilter
from ostinato.work import Pool, Queue

if TYPE_CHECKING:
    from tests.store.conftest import Opener

    from ostinato.clock import ManualClock
    from ostinato.store.store import Store


def test_project_is_stored_with_its_deployments_and_read_back(store: Store) -> None:
    full = a_deployed(
        "etl/daily", flow="etl", pool="gpu", queue="q", priority=3, parameters='{"a":1}', schema='{"type":"object"}',
        blueprint="[]", resources='{"cpu":1}', options='{"cold":true}', description="ä", tags=["x"], code="c",
        code_policy="pinned", bundle="b", broken="no", updated_at=7,
    )  # fmt: skip
    project = a_project(bundle="b", errors='{"m.py":"boom"}', python="3.11", version="1", updated_at=7)
    assert store.put_project(project, [full, a_deployed("b")]) == [a_deployed("b"), full]
    assert store.list_projects() == [project]
    assert store.list_deployed() == [a_deployed("b"), full]
    assert store.list_deployed(flow="etl") == store.list_deployed(project="p", flow="etl") == [full]
    assert store.list_deployed(project="q") == []
    assert store.get_deployed("etl/daily") == full


def test_new_state_of_a_project_keeps_pauses_and_drops_what_is_gone(store: Store) -> None:
    store.put_project(a_project(), [a_deployed("a"), a_deployed("b")])
    store.pause_deployed("a", paused=True)
    run = queued(store, deployment="b")
    after = store.put_project(a_project(), [a_deployed("a", pool="new"), a_deployed("c")])
    assert [(d.name, d.pool, d.paused) for d in after] == [("a", "new", True), ("c", "default", False)]
    assert store.find_ticket(run.id) is not None


def test_name_of_another_projects_deployment_is_refused_and_nothing_written(store: Store) -> None:
    store.put_project(a_project("p"), [a_deployed("a")])
    with pytest.raises(UsageError, match="'p' has deployed 'a'"):
        store.put_project(a_project("q"), [a_deployed("b", project="q"), a_deployed("a", project="q")])
    assert [p.name for p in store.list_projects()] == ["p"]
    assert [d.name for d in store.list_deployed()] == ["a"]


def test_removed_project_takes_its_deployments_along(store: Store) -> None:
    store.put_project(a_project("p"), [a_deployed("a")])
    store.put_project(a_project("q"), [a_deployed("b", project="q")])
    store.remove_project("p")
    assert [d.name for d in store.list_deployed()] == ["b"]


def test_unknown_names_are_told_with_the_nearest(store: Store) -> None:
    store.put_project(a_project("shop"), [a_deployed("orders")])
    for verb in (lambda: store.get_deployed("order"), lambda: store.pause_deployed("order", paused=True)):
        with pytest.raises(UnknownNameError, match="Did you mean 'orders'"):
            verb()
    with pytest.raises(UnknownNameError, match="Did you mean 'shop'"):
        store.remove_project("shob")
    with pytest.raises(UnknownNameError, match="nowhere"):
        store.remove_pool("nowhere")


def test_pools_are_those_declared_deployed_to_and_served(store: Store) -> None:
    store.put_pool(Pool(name="gpu", slots=2, description="d"))
    store.put_project(a_project(), [a_deployed(pool="cpu")])
    a_worker(store, pools=["served", "gpu"])
    assert store.list_pools() == [Pool(name="cpu"), Pool(name="gpu", slots=2, description="d"), Pool(name="served")]
    store.put_pool(Pool(name="gpu", paused=True))
    assert store.list_pools()[1] == Pool(name="gpu", paused=True)


def test_pool_goes_with_its_queues_but_not_while_runs_wait(store: Store) -> None:
    store.put_pool(Pool(name="default"))
    store.put_queue(Queue(pool="default", name="q", priority=9))
    queued(store)
    with pytest.raises(UsageError, match="wait"):
        store.remove_pool("default")
    claim(store)
    store.remove_pool("default")
    assert (store.list_pools(), store.list_queues()) == ([], [])


def test_queues_are_listed_by_pool(store: Store) -> None:
    queues = [Queue(pool="a", name="x", priority=-5, paused=True), Queue(pool="b", name="w")]
    for queue in queues:
        store.put_queue(queue)
    assert store.list_queues() == queues
    assert store.list_queues("b") == queues[1:]


def test_users_are_added_and_changed(store: Store) -> None:
    ada, bob = User(name="ada", role=Role.ADMIN, created_at=1), User(name="bob", role=Role.VIEWER, disabled=True)
    store.put_user(bob)
    store.put_user(ada)
    assert store.list_users() == [ada, bob]
    store.put_user(User(name="ada", role=Role.OPERATOR))
    assert store.list_users()[0].role is Role.OPERATOR


def test_token_is_found_by_its_hash_only_while_it_holds(store: Store, clock: ManualClock) -> None:
    def token(name: str, **fields: object) -> Token:
        made = Token(id=name, hash=f"h{name}", name=name, role=Role.WORKER, **fields)  # type: ignore[arg-type]
        store.put_token(made)
        return made

    store.put_user(User(name="ada", role=Role.ADMIN))
    good = token("good", pools=["gpu"], user="ada", created_at=1)
    short = token("short", expires_at=clock.now() + 1, created_at=2)
    token("revoked", revoked_at=1, created_at=3)
    token("orphan", user="nobody", created_at=4)
    assert store.find_token("hgood") == good
    assert store.find_token("hshort") == short
    assert [store.find_token(h) for h in ("hrevoked", "horphan", "hx", "good")] == [None] * 4
    clock.move(1)
    assert store.find_token("hshort") is None
    store.put_user(User(name="ada", role=Role.ADMIN, disabled=True))
    assert store.find_token("hgood") is None
    assert [t.id for t in store.list_tokens()] == ["orphan", "revoked", "short", "good"]


@pytest.mark.usefixtures("not_over_http")
def test_secret_is_random_and_shared(store: Store, opener: Opener, clock: ManualClock) -> None:
    made = store.secret("run_tokens")
    assert len(made) == 32
    assert opener(clock=clock).secret("run_tokens") == made
    assert store.secret("other") != made


def test_duty_has_one_holder_until_it_ends(store: Store, opener: Opener, clock: ManualClock) -> None:
    other = opener(clock=clock)
    assert store.lead("pruner", "one", 5)
    assert not other.lead("pruner", "two", 5)
    assert other.lead("waker", "two", 5)
    clock.move(4)
    assert store.lead("pruner", "one", 5)
    clock.move(4)
    assert not other.lead("pruner", "two", 5)
    clock.move(1)
    assert other.lead("pruner", "two", 5)
    assert not store.lead("pruner", "one", 5)


def test_emitted_events_are_stored_in_order(store: Store) -> None:
    run = a_run(store)
    events = [Event(at=1, kind="audit", run_id="", data='{"a":"\u00e4"}'), Event(at=2, kind="x", run_id=run.id, seq=3)]
    store.emit(events)
    store.emit([])
    assert [e.event for e in store.list_events()] == events


def test_runs_are_listed_by_deployment_and_pool(store: Store) -> None:
    one, two = queued(store, deployment="d"), queued(store, pool="gpu", deployment="e")
    a_run(store)
    assert [r.id for r in store.list_runs(RunFilter(deployment="d"))] == [one.id]
    assert [r.id for r in store.list_runs(RunFilter(pool="gpu"))] == [two.id]
    assert store.list_runs(RunFilter(pool="gpu", deployment="d")) == []
