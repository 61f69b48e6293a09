"""Read the options that say where work is carried out and what it takes: ``pool``, ``queue``, ``resources``."""

from __future__ import annotations

import re
from typing import Any, Final

from ostinato.errors import DefinitionError
from ostinato.resources import Resources

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""What pools, queues, projects and variants of a deployment may be called: it stands in URLs and on command lines."""


def pool_of(pool: Any) -> str | None:
    """Read a `pool` option.

    Raises:
        DefinitionError: If it is no name.
    """
    return None if pool is None else name_of(pool, "pool")


def queue_of(queue: Any) -> str | None:
    """Read a `queue` option.

    Raises:
        DefinitionError: If it is no name.
    """
    return None if queue is None else name_of(queue, "queue")


def name_of(name: Any, option: str) -> str:
    """Check a name.

    Raises:
        DefinitionError: If it is not a text of letters, digits, dots, underscores and hyphens.
    """
    if isinstance(name, str) and NAME.fullmatch(name):
        return name
    message = (
        f"{option} must be a name of letters, digits, '.', '_' and '-' that begins with a letter or a digit, "
        f"got {name!r}."
    )
    raise DefinitionError(message)


def resources_of(resources: Any) -> Resources | None:
    """Read a `resources` option.

    Raises:
        DefinitionError: If it is no `Resources`.
    """
    if resources is None or isinstance(resources, Resources):
        return resources
    message = f'resources must be Resources(...), got {resources!r}. For example resources=Resources(memory="2GiB").'
    raise DefinitionError(message)
