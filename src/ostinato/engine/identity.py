"""Who a call is: the same when the body is run again, whatever else has moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ostinato.fingerprint import combine
from ostinato.ids import derived_id

if TYPE_CHECKING:
    from collections.abc import Iterable


def call_fingerprint(task: str, digests: Iterable[bytes]) -> bytes:
    """Fingerprint a call by its task and the content of its inputs.

    Args:
        task: The task's key.
        digests: One per parameter, in the order of the signature, defaults included.

    Returns:
        16 bytes.
    """
    return combine("call", task, *digests)


def keyed_fingerprint(task: str, key: str) -> bytes:
    """Fingerprint a call that its user gave a key: its inputs do not count."""
    return combine("key", task, key)


def task_run_id(lineage: str, parent: str, fingerprint: bytes, n: int) -> str:
    """Identify a call.

    Args:
        lineage: The run's lineage: forks share it with the run they come from.
        parent: The id of the task run whose body makes the call; empty for the flow's.
        fingerprint: Of the task and its inputs.
        n: How many such calls this body made before, from 0.

    Returns:
        32 hexadecimal digits.
    """
    return combine(lineage, parent, fingerprint, n.to_bytes(8, "big")).hex()


def child_run_id(run_id: str, task_run: str) -> str:
    """Identify the child run that stands behind a task run of kind ``flow``."""
    return derived_id(combine("child", run_id, task_run))


def sent_run_id(run_id: str, task_run: str, attempt: int) -> str:
    """Identify the run as which one attempt of a task run is sent to another pool."""
    return derived_id(combine("sent", run_id, task_run, attempt.to_bytes(8, "big")))


def started_run_id(run_id: str, task_run: str, clears: int) -> str:
    """Identify the run that a body starts by ``flow.start``: a clear starts another."""
    return derived_id(combine("started", run_id, task_run, clears.to_bytes(8, "big")))


def asked_id(run_id: str, task_run: str, clears: int) -> str:
    """Identify the question that a body asks: a clear asks anew."""
    return derived_id(combine("asked", run_id, task_run, clears.to_bytes(8, "big")))
