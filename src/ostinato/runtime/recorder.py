"""What a run's rows keep of user values: results, inputs, state. Encoded here, decoded when they are found again."""

from __future__ import annotations

import logging
import random
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from ostinato.engine.lifecycle import Hit, Result
from ostinato.engine.memo import NOT_REPLAYABLE
from ostinato.errors import ResultError
from ostinato.executors.stopping import shield
from ostinato.fingerprint import fingerprint
from ostinato.future import Future, MapResults, Settled
from ostinato.io.exceptions import decode_error, encode_error
from ostinato.outcomes import Snooze, Stop
from ostinato.records import Commit, StateValue
from ostinato.runtime.arguments import encode_inputs, worth_a_reference
from ostinato.runtime.attempt import NotedState
from ostinato.states import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ostinato.context import Ended
    from ostinato.records import TaskRun
    from ostinato.runtime.arguments import Arguments
    from ostinato.runtime.call import Call
    from ostinato.runtime.journal import Journal
    from ostinato.runtime.session import Session

_log = logging.getLogger("ostinato.internal")
_PRODUCERS = 10_000


class Recorder:
    """Encodes and decodes for one run."""

    def __init__(self, session: Session, run_id: str, journal: Journal) -> None:
        self._session, self._run_id, self._journal = session, run_id, journal
        self._producers: OrderedDict[bytes, int] = OrderedDict()

    def dump(self, value: Any) -> bytes:
        """Encode a value; what is large goes to the result store, and a row that names it to the next commit.

        Raises:
            ResultError: If it cannot be stored.
        """
        found = fingerprint(value)
        stored, blob = self._session.results.dump(value, found, self._session.settings.inline_limit)
        if blob is not None:
            self._journal.name_blob(blob)
        return stored

    # --- where values come from

    def producer(self, digest: bytes) -> int | None:
        """Return the task run of this run whose result has that fingerprint, of the last 10,000."""
        return self._producers.get(digest)

    def produced(self, digest: bytes | None, seq: int, size: int) -> None:
        """Remember which task run a result came from, where it is large enough to tell."""
        if digest is None or not worth_a_reference(size):
            return
        self._producers[digest] = seq
        while len(self._producers) > _PRODUCERS:
            try:
                self._producers.popitem(last=False)
            except KeyError:  # another thread was quicker
                return

    # --- inputs

    def inputs(self, names: Sequence[str], arguments: Arguments) -> bytes | None:
        """Encode the inputs of a call, unless they are too large to keep of a call that may well succeed."""
        return encode_inputs(names, arguments, self.dump, self._session.settings.inputs_limit)

    def all_inputs(self, call: Call) -> bytes | None:
        """Encode the inputs of a call that failed, whatever their size."""
        try:
            return self.dump(dict(zip(call.spec.names, call.arguments.recorded, strict=True)))
        except ResultError:
            return None

    # --- results

    def result(self, call: Call, ended: Ended) -> Result:
        """Turn how an attempt ended into what the engine decides from."""
        result = Result(
            started_at=ended.started_at,
            finished_at=ended.finished_at,
            value=ended.value,
            error=ended.error,
            lost=ended.lost,
        )
        if result.error is None and result.lost is None:
            try:
                self._encode(call, result)
            except ResultError as error:
                result.error, result.value = error, None
        if result.error is not None or result.lost is not None:
            result.chance = random.random()  # jitter
            if result.error is not None and not isinstance(result.error, Stop):
                result.stored = encode_error(result.error)
            if call.row.inputs is None:
                result.inputs = self.all_inputs(call)
        return result

    def _encode(self, call: Call, result: Result) -> None:
        while isinstance(result.value, (Future, MapResults)):
            result.value = result.value.result()
        value = result.value
        if isinstance(value, Snooze):
            return
        found = fingerprint(value)
        result.fp = found.digest
        if not call.options.persist:
            result.stored = NOT_REPLAYABLE + b"persist=False"
            return
        try:
            result.stored, result.blob = self._session.results.dump(value, found, self._session.settings.inline_limit)
        except ResultError as error:
            raise ResultError(
                f"The result of {call.row.task} cannot be stored: {error} Or declare @task(persist=False): "
                "the result is then kept in memory only, and a resume runs the task again."
            ) from None
        self.produced(found.digest, call.row.seq, found.size)

    def settled(self, row: TaskRun) -> Settled | None:
        """Decode what is on record of a task run; None, with a warning, when it cannot be read any more."""
        value, error = None, None
        try:
            if row.state is State.FAILED:
                error = decode_error(row.result) if row.result else None
            elif row.result is not None:
                value = self._session.results.load(row.result)
        except ResultError as gone:
            _log.warning("%s runs again, since its result cannot be read: %s", row.task, gone)
            return None
        return Settled(
            task=row.task,
            seq=row.seq,
            state=row.state,
            reason=row.reason,
            value=value,
            error=error,
            fp=row.result_fp,
            changed=False,
            critical=row.critical,
        )

    def cached(self, key: str) -> Hit | None:
        """Look for a cached result that can be read."""
        entry = self._session.store.find_cached(key)
        if entry is None:
            return None
        try:
            return Hit(entry, self._session.results.load(entry.result))
        except ResultError as error:
            _log.warning("A cached result is not used, since it cannot be read: %s", error)
            return None

    # --- current.state

    def state_of(self, call: Call) -> NotedState:
        """Make ``current.state`` for an attempt."""
        identity = call.row.id
        return NotedState(lambda: self.load_state(call), lambda name, value: self.keep_state(identity, name, value))

    def load_state(self, call: Call) -> dict[str, Any]:
        """Return what earlier attempts of a task run kept."""
        if call.fresh and call.row.attempt == 1:
            return {}
        kept = self._session.store.load_states(self._run_id, call.row.id)
        return {item.name: self._session.results.load(item.value) for item in kept if item.value is not None}

    def keep_state(self, identity: str, name: str, value: Any) -> None:
        """Keep a value for a task run; durable when this returns. None removes it."""
        with shield():
            stored = None if value is None else self.dump(value)
            item = StateValue(run_id=self._run_id, task_run_id=identity, name=name, value=stored)
            self._journal.save(Commit(states=[item]))
