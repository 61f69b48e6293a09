"""What a flow or a task needs of the machine it runs on."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec

from ostinato.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Mapping

_UNITS: Final = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_UNITS_BINARY: Final = {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SIZE: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?\s*", re.IGNORECASE)
_OWN: Final = ("cpu", "memory", "gpu")


@dataclass(frozen=True, slots=True)
class Resources:
    """What a flow's run, or a task run, takes while it runs; workers pack by it.

    Args:
        cpu: Cores, parts of one too.
        memory: Bytes, or a text: ``"512MB"``, ``"2GiB"``. What takes more is ended, with `ostinato.OutOfMemory`.
        gpu: Graphics processors.
        named: Anything else that a worker says it has: ``{"licence": 1}``.

    Raises:
        DefinitionError: If a value makes no sense.
    """

    cpu: float = 0.0
    memory: float | str = 0
    gpu: float = 0.0
    named: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the values."""
        for name, value in {"cpu": self.cpu, "gpu": self.gpu, **self.named}.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
                message = f"Resources({name}=...) must be a number, 0 or more, got {value!r}."
                raise DefinitionError(message)
        for name in self.named:
            if name in _OWN:
                message = f"Resources(named=...) cannot hold {name!r}: write Resources({name}=...)."
                raise DefinitionError(message)
        parse_size(self.memory)

    @property
    def amounts(self) -> dict[str, float]:
        """What is asked for, by name; memory in bytes; what is 0 left out."""
        all_of = {"cpu": self.cpu, "memory": parse_size(self.memory), "gpu": self.gpu, **self.named}
        return {name: amount for name, amount in all_of.items() if amount}

    def to_json(self) -> str:
        """Encode it for a row."""
        return msgspec.json.encode(self.amounts).decode()


def parse_size(size: float | str) -> int:
    """Read a number of bytes: ``2_000_000``, ``"512MB"``, ``"2GiB"``.

    Raises:
        DefinitionError: If it is neither.
    """
    if isinstance(size, (int, float)) and not isinstance(size, bool) and 0 <= size < float("inf"):
        return int(size)
    found = _SIZE.fullmatch(size) if isinstance(size, str) else None
    if found is None:
        message = f'A size is a number of bytes or a text such as "512MB" or "2GiB", got {size!r}.'
        raise DefinitionError(message)
    unit = (found[2] or "").lower()
    return int(float(found[1]) * (_UNITS.get(unit) or _UNITS_BINARY[unit]))


def amounts_of(text: str | None) -> dict[str, float]:
    """Decode what a row holds."""
    return {} if not text else msgspec.json.decode(text, type=dict[str, float])


def fits(wanted: Mapping[str, float], free: Mapping[str, float]) -> bool:
    """Tell whether what is wanted is free."""
    return all(amount <= free.get(name, 0.0) for name, amount in wanted.items())
