"""One call that has become a task run: all that its drivers need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator

    from ostinato.authoring.flow import Flow
    from ostinato.authoring.spec import Spec
    from ostinato.authoring.task import TaskOptions
    from ostinato.engine.lifecycle import Command
    from ostinato.future import Settled
    from ostinato.records import TaskRun
    from ostinato.runtime.arguments import Arguments
    from ostinato.runtime.slots import Entry
    from ostinato.runtime.wanted import Wanted


class Call:
    """A task run under way."""

    __slots__ = ("arguments", "entry", "flow", "fresh", "life", "options", "parcel", "row", "spec", "wanted")

    def __init__(
        self,
        spec: Spec,
        options: TaskOptions,
        row: TaskRun,
        arguments: Arguments,
        life: Generator[Command, Any, Settled],
        *,
        fresh: bool,
        flow: Flow[Any, Any] | None = None,
        parcel: bytes | None = None,
        wanted: Wanted | None = None,
    ) -> None:
        self.spec = spec
        self.options = options
        self.row = row
        """As it was last noted or saved."""
        self.arguments = arguments
        self.life = life
        self.fresh = fresh
        """No attempt of it was ever made before, so nothing can be kept in ``current.state``."""
        self.flow = flow
        """The flow, when this stands for a child run."""
        self.parcel = parcel
        """The encoded arguments, when it is sent to another pool."""
        self.entry: Entry | None = None
        """The slots of limits that its attempt holds or waits for."""
        self.wanted = wanted
        """What is waited for, when this is a wait."""

    @property
    def named(self) -> dict[str, Any]:
        """The arguments by parameter."""
        return dict(zip(self.spec.names, self.arguments.values, strict=True))
