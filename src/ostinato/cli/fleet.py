"""What ``ostinato doctor`` looks at in a deployment: its server, its workers, what waits, what is broken."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Final

from ostinato.cli.answer import Answer, Status
from ostinato.cli.screen import duration
from ostinato.clock import SECOND
from ostinato.errors import OstinatoError
from ostinato.io.blobs import safe_url
from ostinato.link import Link
from ostinato.runtime.process import is_gone
from ostinato.runtime.session import version
from ostinato.settings import urls_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ostinato.records import Worker
    from ostinato.settings import Settings
    from ostinato.store.store import Store

_PATIENCE: Final = 5.0
_LONG: Final = 10 * SECOND
"""What waits for longer, where nobody could take it, is an error."""
_NAMED: Final = 5


def check_server(settings: Settings) -> Answer:
    """Look whether the servers that are named can do their work, and which version they are."""
    urls = urls_of(settings.api)
    if not urls:
        return Answer("server", "ok", "none is named by OSTINATO_API: this machine uses the database itself")
    answers = [_check_server(url, settings.token) for url in urls]
    worst = next((answer for status in ("error", "warning") for answer in answers if answer.status == status), None)
    found = "\n".join(answer.found for answer in answers)
    if worst is None:
        return Answer("server", "ok", found)
    status: Status = "error" if all(answer.status == "error" for answer in answers) else "warning"
    return Answer("server", status, found, worst.advice)


def _check_server(url: str, token: str) -> Answer:
    link = Link(url, token=token, patience=0)
    try:
        link.call("GET", "/api/ready", timeout=_PATIENCE)
        found = json.loads(link.call("GET", "/api/info", timeout=_PATIENCE).body)
    except OstinatoError as error:
        return Answer("server", "error", str(error), "Look whether it runs (ostinato server), and at OSTINATO_TOKEN.")
    finally:
        link.close()
    text = f"{safe_url(url)}, version {found['version']}, you are {found['you']} ({found['role']})"
    if found["version"] != version():
        return Answer("server", "warning", text, f"This is version {version()}; have both the same before long.")
    return Answer("server", "ok", text)


def check_workers(store: Store, settings: Settings) -> Answer:
    """Count the workers; tell of those that are dead, or of another version."""
    del settings
    now, workers = store.now(), store.list_workers()
    stale = [worker for worker in workers if worker.expires_at <= now or is_gone(worker)]
    alive = [worker for worker in workers if worker not in stale]
    serving = [worker for worker in alive if worker.pools]
    text = f"{len(alive)} alive"
    if serving:
        text += f", {len(serving)} of them for work pools (slots: {sum(worker.slots for worker in serving)})"
    if stale:
        advice = "`ostinato runs list` sees to their runs; a server does so by itself."
        return Answer("workers", "warning", f"{text}, {len(stale)} dead: {_names(stale)}", advice)
    others = [worker for worker in serving if worker.version != version()]
    if others:
        advice = f"This is version {version()}. Upgrade them when it suits: a worker that ends in order loses nothing."
        return Answer("workers", "warning", f"{text}; of other versions: {_names(others)}", advice)
    return Answer("workers", "ok", text)


def check_queue(store: Store, settings: Settings) -> Answer:
    """Look for runs that wait where no worker could take them."""
    del settings
    now = store.now()
    workers = [worker for worker in store.list_workers() if worker.expires_at > now and not is_gone(worker)]
    served = {pool for worker in workers if not worker.draining for pool in worker.pools}
    lengths = store.list_queue_lengths()
    waiting = sum(length.waiting for length in lengths)
    text = f"{waiting:,} run{'' if waiting == 1 else 's'} wait{'s' if waiting == 1 else ''}"
    lonely = [length for length in lengths if length.waiting and length.pool not in served]
    old = [length for length in lonely if length.oldest_at is not None and now - length.oldest_at > _LONG]
    if old:
        pools = list(dict.fromkeys(length.pool for length in old))
        longest = duration(min(length.oldest_at or now for length in old), now)
        found = f"{text}; no worker serves pool {', '.join(pools)}, where one waits for {longest}"
        return Answer("queue", "error", found, f"Start one: ostinato worker --pool {' --pool '.join(pools)}")
    if lonely:
        return Answer("queue", "warning", f"{text}; no worker serves pool {lonely[0].pool}")
    paused = [pool.name for pool in store.list_pools() if pool.paused]
    if paused and waiting:
        return Answer("queue", "warning", f"{text}; paused: {', '.join(paused)}", "See `ostinato pools list`.")
    return Answer("queue", "ok", text)


def check_projects(store: Store, settings: Settings) -> Answer:
    """Look for modules of projects that could not be imported."""
    del settings
    projects = store.list_projects()
    broken = [(project, json.loads(project.errors)) for project in projects]
    files = [
        f"{os.path.relpath(file, project.root) if file.startswith(project.root) else file} of {project.name}: "
        f"{str(error).strip().splitlines()[-1]}"
        for project, errors in broken
        for file, error in errors.items()
    ]
    if files:
        more = f"\n… {len(files) - _NAMED} more" if len(files) > _NAMED else ""
        found = "cannot be imported: " + "\n".join(files[:_NAMED]) + more
        return Answer("projects", "error", found, "Mend it and deploy again; what was deployed from it before stays.")
    return Answer("projects", "ok", f"{len(projects)} deployed")


def _names(workers: Sequence[Worker]) -> str:
    named = ", ".join(f"{worker.pid} on {worker.host.partition('/')[0]}" for worker in workers[:_NAMED])
    return f"{named}, …" if len(workers) > _NAMED else named
