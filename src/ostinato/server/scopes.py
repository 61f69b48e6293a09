"""What a run's token may reach: its own run, and what came of it.

```
run of the token ─┬─ child in the same process (no work pool) ─ … ──► OWN     it may write these
                  └─ child that a worker took from a pool ─ … ──────► KIN     it may read, await and cancel these too
run it was forked from ─ … ─────────────────────────────────────────► SEEN    it may read these too
```

Parents, pools and branches of a run never change while it runs, so they are remembered.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ostinato.errors import AccessError, UnknownRunError
from ostinato.records import Event, Run, RunFilter
from ostinato.states import State
from ostinato.store.wire import Scope, Verb
from ostinato.timing import Ask

if TYPE_CHECKING:
    from collections.abc import Iterable

    import msgspec

    from ostinato.access import Who
    from ostinato.store.store import Store

_MOST: Final = 50_000
_DEEPEST: Final = 100


class _Descent(NamedTuple):
    """Where a run comes from."""

    parent: str | None
    pool: str | None
    branch_of: str | None


class Scopes:
    """Checks what runs' tokens name. For threads that may block."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, _Descent] = {}
        self._granted: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    def check(self, who: Who, verb: Verb, request: msgspec.Struct) -> None:
        """Refuse what a run's token may not do.

        Raises:
            AccessError: Saying what it may.
        """
        if verb.scope is Scope.NONE:
            raise AccessError(f"The token of a run may not {verb.name}. {_MAY}")
        if verb.scope is Scope.FREE:
            return
        assert who.run_id is not None
        named = getattr(request, verb.names)
        for run_id in _runs_in(named):
            if verb.name == "await_runs" and run_id is not None and self._find(run_id) is None:
                continue  # a child run's id is awaited before the run is there
            if run_id is None or not self._may(who.run_id, run_id, verb.scope):
                raise AccessError(f"{who.name} may not {verb.name} {_shown(run_id)}. {_MAY}")
        worker_id = named.worker_id if isinstance(named, Run) else getattr(request, "worker_id", None)
        if worker_id is not None and worker_id != self._store.get_run(who.run_id).worker_id:
            raise AccessError(f"{who.name} may not lease a run to the worker {worker_id[:40]!r}, which is not its own.")
        if isinstance(named, Run):
            self._check_new(who.run_id, named)

    def grant(self, who: Who, asked: Run, found: Run) -> None:
        """Let a run's token see the run that it was given instead of the one it would create: its key named that one.

        Raises:
            AccessError: If it was given one because it named the id of a run that is not its own.
        """
        assert who.run_id is not None
        if found.id == asked.id:
            if not self._may(who.run_id, found.id, Scope.KIN):
                raise AccessError(f"{who.name} may not create a run with the id of another. {_MAY}")
            return
        with self._lock:
            if len(self._granted) >= _MOST:
                self._granted.clear()
            self._granted.add((who.run_id, found.id))

    def _check_new(self, own: str, run: Run) -> None:
        if run.branch_of is not None and not self._may(own, run.branch_of, Scope.SEEN):
            raise AccessError(f"The token of run {own} may not fork run {_shown(run.branch_of)}. {_MAY}")
        if run.state not in (State.RUNNING, State.QUEUED, State.SCHEDULED):
            raise AccessError(
                f"The token of run {own} may create runs that are still to be carried out, not {run.state}."
            )

    def _may(self, own: str, run_id: str, scope: Scope) -> bool:
        if self._descends(own, run_id, through_pools=scope is not Scope.OWN):
            return True
        return scope is Scope.SEEN and ((own, run_id) in self._granted or self._is_branch(own, run_id))

    def _descends(self, own: str, run_id: str, *, through_pools: bool) -> bool:
        current: str | None = run_id
        for _ in range(_DEEPEST):
            if current == own:
                return True
            descent = self._find(current) if current is not None else None
            if descent is None or (descent.pool is not None and not through_pools):
                return False
            current = descent.parent
        return False

    def _is_branch(self, own: str, run_id: str) -> bool:
        current: str | None = own
        for _ in range(_DEEPEST):
            descent = self._find(current) if current is not None else None
            if descent is None:
                return False
            current = descent.branch_of
            if current == run_id:
                return True
        return False

    def _find(self, run_id: str) -> _Descent | None:
        found = self._known.get(run_id)
        if found is None:
            try:
                run = self._store.get_run(run_id)
            except UnknownRunError:
                return None
            found = _Descent(run.parent_run_id, run.pool, run.branch_of)
            with self._lock:
                if len(self._known) >= _MOST:
                    self._known.clear()
                self._known[run_id] = found
        return found


def _runs_in(named: Any) -> Iterable[str | None]:
    """List the runs that an argument names; None where it does not say which."""
    if isinstance(named, Run | RunFilter):
        return [named.parent_run_id]
    if isinstance(named, list):
        return [item.run_id if isinstance(item, Event) else item for item in named]
    return [named.run_id if isinstance(named, Ask) else named]


def _shown(run_id: str | None) -> str:
    return "without naming a run of its own" if run_id is None else repr(run_id[:40])


_MAY: Final = "It reaches its own run and that run's child runs, and nothing else."
