"""`Deployment`: a flow with what it is started with. A flow is a deployment of itself; more are variants of it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ostinato.authoring.flow import Flow
from ostinato.authoring.placing import name_of, pool_of, queue_of, resources_of
from ostinato.authoring.task import tags_of
from ostinato.deadlines import Due, to_due
from ostinato.errors import DefinitionError, ParameterError, nearest
from ostinato.limits import Overlap, to_overlap
from ostinato.schedules import When, check_parameters, schedules_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import timedelta

    from ostinato.resources import Resources

MOST_PRIORITY = 499


@dataclass(frozen=True, slots=True)
class Deployment:
    """A variant of a flow that can be started by its name, ``flow/name``.

    Put it in a variable at the top of a module of the project: ``nightly = Deployment(report, name="nightly",
    parameters={"full": True})``.

    Args:
        flow: The flow.
        name: What tells it from other variants; None to say how the flow itself is deployed.
        parameters: Parameters that it gives unless a start says otherwise.
        pool: The work pool, instead of the flow's.
        queue: The queue in it, instead of the flow's.
        priority: Among the runs of its queue, -499 to 499; the higher, the sooner.
        tags: Labels besides the flow's.
        resources: What a run of it takes, instead of the flow's.
        description: Instead of the flow's docstring.
        overlap: What happens when a run of it is started while another is under way, instead of the flow's: see
            `ostinato.limits.Overlap`.
        schedule: When it runs, one or several: see `ostinato.schedules`. Only the flow's own deployment, which has no
            name, takes the flow's where there is none.
        deadline: By when a run must have begun and ended, instead of the flow's: see `ostinato.deadlines.Due`.

    Raises:
        DefinitionError: If a value makes no sense.
        ParameterError: If a parameter is unknown or its value does not fit, with a message per field.
    """

    flow: Flow[..., Any]
    name: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    pool: str | None = None
    queue: str | None = None
    priority: int = 0
    tags: Iterable[str] = ()
    resources: Resources | None = None
    description: str | None = None
    overlap: Overlap | str | None = None
    schedule: When | Sequence[When] | None = None
    deadline: Due | timedelta | None = None
    place: str = field(init=False, repr=False, compare=False, default="")
    """Where it is written, ``/path/file.py, line 3``: tells one that two modules hold from two of one name."""

    def __post_init__(self) -> None:
        """Check the values."""
        if not isinstance(self.flow, Flow):
            message = f"Deployment(flow, ...) takes a flow, got {self.flow!r}. Put @flow on the function."
            raise DefinitionError(message)
        if self.name is not None:
            name_of(self.name, "Deployment(name=...)")
        whole = isinstance(self.priority, int) and not isinstance(self.priority, bool)
        if not whole or abs(self.priority) > MOST_PRIORITY:
            message = f"Deployment(priority=...) must be a whole number, -{MOST_PRIORITY} to {MOST_PRIORITY}, got "
            raise DefinitionError(f"{message}{self.priority!r}.")
        pool_of(self.pool), queue_of(self.queue), resources_of(self.resources)
        if (overlap := to_overlap(self.overlap)) is not None:
            overlap.check(self.flow.spec.names)
        caller = sys._getframe(2)  # noqa: SLF001  # past the __init__ that dataclass makes
        object.__setattr__(self, "place", f"{caller.f_code.co_filename}, line {caller.f_lineno}")
        object.__setattr__(self, "tags", tags_of(self.tags))
        object.__setattr__(self, "deadline", to_due(self.deadline) or self.flow.options.deadline)
        object.__setattr__(self, "schedule", schedules_of(self.schedule))
        check_parameters(self.schedules, self.flow.spec.names, self.full_name)
        object.__setattr__(self, "parameters", self._checked())

    @property
    def full_name(self) -> str:
        """The name it is started by: the flow's, or ``flow/variant``."""
        return self.flow.name if self.name is None else f"{self.flow.name}/{self.name}"

    @property
    def overlaps(self) -> Overlap | None:
        """What happens when one of its runs is started while another is under way; None if both run."""
        return self.flow.options.overlap if self.overlap is None else to_overlap(self.overlap)

    @property
    def schedules(self) -> tuple[When, ...]:
        """When it runs."""
        own = schedules_of(self.schedule)
        return own or (self.flow.options.schedule if self.name is None else ())

    def __repr__(self) -> str:
        """Show the name."""
        return f"<Deployment {self.full_name}>"

    def _checked(self) -> dict[str, Any]:
        """Check the parameters by the flow's annotations, and convert them."""
        if not self.parameters:
            return {}
        names = self.flow.spec.names
        fields = {
            name: f"is no parameter; {self.flow.name} takes {', '.join(names) or 'none'}.{nearest(name, names)}"
            for name in self.parameters
            if name not in names
        }
        if fields:
            lines = "".join(f"\n  {name}: {text}" for name, text in fields.items())
            raise ParameterError(f"The parameters of {self.full_name} are refused:{lines}", fields)
        from ostinato.authoring.parameters import validate  # brings pydantic: only where parameters are given

        return validate(self.full_name, self.flow.spec, dict(self.parameters))
