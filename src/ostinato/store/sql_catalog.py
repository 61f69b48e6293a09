"""What is deployed, and who may do what, over SQL: the `Catalog` and `Accounts` of a store."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, TypeVar

import msgspec

from ostinato.access import Token, User
from ostinato.errors import UnknownNameError, UsageError, nearest
from ostinato.records import Worker
from ostinato.store import sql_reactions, sql_schedules, statements
from ostinato.store.pruning import BUNDLE
from ostinato.store.rows import records
from ostinato.store.transactions import Session, Transactions, named
from ostinato.timing import NOTHING
from ostinato.work import Deployed, Pool, Project, Queue

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ostinato.store.claiming import Marks
    from ostinato.timing import Timing

T = TypeVar("T")


class SqlCatalog(Transactions):
    """Projects, deployments, pools, queues; users, tokens, secrets."""

    _marks: Marks | None

    # --- the catalog

    def put_project(self, project: Project, deployed: Sequence[Deployed], timing: Timing = NOTHING) -> list[Deployed]:
        """Store what a project holds now, in one transaction."""

        def work(tx: Session) -> list[Deployed]:
            tx.rows(statements.CHANGE_CATALOG)
            before = {each.name: each for each in _deployed(tx)}
            for each in deployed:
                _refuse_if_taken(each, before.get(each.name), project)
            tx.change(statements.PUT_PROJECT, **named(project))
            for each in deployed:
                paused = before[each.name].paused if each.name in before else each.paused
                stored = msgspec.structs.replace(each, project=project.name, paused=paused)
                tx.change(statements.PUT_DEPLOYED, **named(stored))
            # those of before too: they may be of a version that did not name them
            bundles = {project.bundle, *(each.bundle for each in (*before.values(), *deployed))}
            for digest in sorted(bundles - {None}, key=str):
                tx.change(statements.NAME_BUNDLE, hash=digest, owner=BUNDLE)
            kept = {each.name for each in deployed}
            _remove(tx, [name for name, each in before.items() if each.project == project.name and name not in kept])
            sql_schedules.put_declared(tx, project.name, deployed, timing.schedules)
            sql_reactions.put_declared(tx, project.name, timing.automations)
            return _deployed(tx, project=project.name)

        return self._change(work)

    def list_projects(self) -> list[Project]:
        """List projects by name."""
        return self._read(lambda tx: records(Project, tx.rows(statements.LIST_PROJECTS)))

    def remove_project(self, name: str) -> None:
        """Remove a project and its deployments; runs stay."""

        def work(tx: Session) -> None:
            tx.rows(statements.CHANGE_CATALOG)
            if not tx.change(statements.REMOVE_PROJECT, name=name):
                known = [row[0] for row in tx.rows(statements.LIST_PROJECTS)]
                raise UnknownNameError(f"There is no project {name!r}.{nearest(name, known)}")
            _remove(tx, [each.name for each in _deployed(tx, project=name)])
            sql_schedules.remove_declared(tx, name)
            sql_reactions.remove_declared(tx, name)

        self._change(work)

    def list_deployed(self, *, project: str | None = None, flow: str | None = None) -> list[Deployed]:
        """List deployments by name."""
        return self._read(lambda tx: _deployed(tx, project=project, flow=flow))

    def get_deployed(self, name: str) -> Deployed:
        """Return a deployment; the error names the nearest one."""
        return self._read(lambda tx: _get_deployed(tx, name))

    def pause_deployed(self, name: str, *, paused: bool) -> Deployed:
        """Pause a deployment or resume it: its queued runs are kept back, or let go."""

        def work(tx: Session) -> Deployed:
            tx.rows(statements.CHANGE_CATALOG)
            tx.change(statements.PAUSE_DEPLOYED, name=name, paused=paused)
            found = _get_deployed(tx, name)
            tx.change(statements.REFRESH_TICKETS + " WHERE deployment = :name", name=name)
            return found

        return self._change(work)

    def put_pool(self, pool: Pool) -> None:
        """Declare a work pool, or change it."""
        self._write(lambda tx: tx.change(statements.PUT_POOL, **named(pool)))
        self._hint()

    def list_pools(self) -> list[Pool]:
        """List the pools that were declared, and those that deployments or workers name."""

        def work(tx: Session) -> list[Pool]:
            pools = {pool.name: pool for pool in records(Pool, tx.rows(statements.LIST_POOLS))}
            names = {row[0] for row in tx.rows(statements.NAMED_POOLS)}
            for worker in records(Worker, tx.rows(statements.LIST_WORKERS)):
                names.update(worker.pools)
            return [pools.get(name) or Pool(name=name) for name in sorted({*pools, *names})]

        return self._read(work)

    def remove_pool(self, name: str) -> None:
        """Forget what was declared of a pool and its queues; refused while runs wait in it."""

        def work(tx: Session) -> None:
            tx.rows(statements.CHANGE_CATALOG)
            if tx.rows(statements.ANY_TICKET, name=name):
                raise UsageError(f"Runs wait in the pool {name!r}. Cancel them, or let them be done, before it goes.")
            known = [row[0] for row in tx.rows(statements.LIST_POOLS)]
            removed = tx.change(statements.REMOVE_POOL, name=name) + tx.change(statements.REMOVE_QUEUES, name=name)
            if not removed:
                raise UnknownNameError(f"No pool {name!r} was declared.{nearest(name, known)}")

        self._write(work)

    def put_queue(self, queue: Queue) -> None:
        """Declare a queue, or change it: the runs that wait in it too."""

        def work(tx: Session) -> None:
            tx.rows(statements.CHANGE_CATALOG)
            tx.change(statements.PUT_QUEUE, **named(queue))
            where = {"pool": queue.pool, "queue": queue.name}
            tx.change(statements.REFRESH_TICKETS + " WHERE pool = :pool AND queue = :queue", **where)
            tx.change(statements.PUT_LEVELS_OF_QUEUE, **where)

        self._change(work)

    def list_queues(self, pool: str | None = None) -> list[Queue]:
        """List the queues that were declared."""
        where, values = ("", {}) if pool is None else (" WHERE pool = :pool", {"pool": pool})
        query = f"{statements.LIST_QUEUES}{where} ORDER BY pool, name"
        return self._read(lambda tx: records(Queue, tx.rows(query, **values)))

    def _change(self, work: Callable[[Session], T]) -> T:
        """Change what tickets depend on: searches begin again, and whoever dispatches looks."""
        result = self._write(work)
        if self._marks:
            self._marks.forget()
        self._hint()
        return result

    # --- accounts

    def put_user(self, user: User) -> None:
        """Add a user or change one."""
        self._write(lambda tx: tx.change(statements.PUT_USER, **named(user)))

    def list_users(self) -> list[User]:
        """List users by name."""
        return self._read(lambda tx: records(User, tx.rows(statements.LIST_USERS)))

    def put_token(self, token: Token) -> None:
        """Keep a token's hash, or change what is kept with it."""
        self._write(lambda tx: tx.change(statements.PUT_TOKEN, **named(token)))

    def find_token(self, digest: str) -> Token | None:
        """Find a token by its SHA-256, if it still holds."""
        found = self._read(lambda tx: records(Token, tx.rows(statements.FIND_TOKEN, hash=digest, now=tx.now())))
        return found[0] if found else None

    def list_tokens(self) -> list[Token]:
        """List tokens, newest first, those that no longer hold too."""
        return self._read(lambda tx: records(Token, tx.rows(statements.LIST_TOKENS)))

    def secret(self, name: str) -> bytes:
        """Return a random secret of 32 bytes that all servers of this store share; made when first asked for."""
        found = self._read(lambda tx: tx.rows(statements.GET_RANDOM, name=name))
        if not found:
            made = secrets.token_bytes(32)
            self._write(lambda tx: tx.change(statements.PUT_RANDOM, name=name, value=made))
            found = self._read(lambda tx: tx.rows(statements.GET_RANDOM, name=name))
        return bytes(found[0][0])


def _deployed(tx: Session, *, project: str | None = None, flow: str | None = None) -> list[Deployed]:
    given = {name: value for name, value in (("project", project), ("flow", flow)) if value is not None}
    where = " WHERE " + " AND ".join(f"{name} = :{name}" for name in given) if given else ""
    return records(Deployed, tx.rows(f"{statements.LIST_DEPLOYED}{where} ORDER BY name", **given))


def _get_deployed(tx: Session, name: str) -> Deployed:
    found = records(Deployed, tx.rows(statements.LIST_DEPLOYED + " WHERE name = :name", name=name))
    if not found:
        known = [each.name for each in _deployed(tx)]
        raise UnknownNameError(
            f"There is no deployment {name!r}.{nearest(name, known)} See `ostinato deployments list`."
        )
    return found[0]


def _refuse_if_taken(wanted: Deployed, there: Deployed | None, project: Project) -> None:
    if there is not None and there.project != project.name:
        raise UsageError(
            f"The project {there.project!r} has deployed {wanted.name!r} already, so {project.name!r} cannot. "
            f"Give one of the flows another name, or remove that project."
        )


def _remove(tx: Session, names: list[str]) -> None:
    """Remove deployments; their queued runs are no longer kept back by them."""
    if names:
        tx.change(statements.REMOVE_DEPLOYED, names=names)
        tx.change(statements.REFRESH_TICKETS + " WHERE deployment = ANY(:names)", names=names)
