"""What is known of a function once, so that each of its calls is quick: names, annotations, how to bind."""

from __future__ import annotations

import inspect
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ostinato.annotations import compile_hint, compile_return, hints_of, show_hint, show_value
from ostinato.errors import DefinitionError, TypeMismatchError, nearest
from ostinato.fingerprint import code_fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_MAIN = "__main__"


class Spec:
    """A function, looked at. What costs time is worked out when it is first needed.

    Attributes:
        fn: The function.
        key: ``file.function``: the same whether the file is run, imported or loaded by its path.
        names: Its parameters, in order.
        is_async: Whether calling it gives a coroutine.
    """

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn
        self.is_async = inspect.iscoroutinefunction(fn)
        if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
            message = (
                f"{_name(fn)} is a generator; a task or flow returns its result. Return a list instead of yielding."
            )
            raise DefinitionError(message)
        self.signature = inspect.signature(fn)
        self.names = tuple(self.signature.parameters)
        kinds = {p.kind for p in self.signature.parameters.values()}
        self._plain = kinds <= {inspect.Parameter.POSITIONAL_OR_KEYWORD}
        self._count = len(self.names)

    @cached_property
    def key(self) -> str:
        """The function's place: the stem of its file and its qualified name."""
        module = getattr(self.fn, "__module__", None) or ""
        code = getattr(inspect.unwrap(self.fn), "__code__", None)
        if code is not None and not code.co_filename.startswith("<"):
            stem = Path(code.co_filename).stem
            stem = Path(code.co_filename).parent.name if stem == "__init__" else stem
        else:
            stem = module.rpartition(".")[2].strip("_") or "main"
        return f"{stem}.{_name(self.fn).replace('<locals>.', '')}"

    @cached_property
    def code(self) -> str:
        """The fingerprint of the compiled code."""
        return code_fingerprint(self.fn)

    @cached_property
    def hints(self) -> dict[str, Any]:
        """Annotations by parameter, ``return`` among them."""
        return hints_of(self.fn)

    @cached_property
    def checks(self) -> list[tuple[int, Any]]:
        """The parameters that are checked: their place and what tells whether a value fits."""
        found = []
        for place, parameter in enumerate(self.signature.parameters.values()):
            if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD} or parameter.name not in self.hints:
                continue
            fits = compile_hint(self.hints[parameter.name])
            if fits is not None:
                found.append((place, fits))
        return found

    @cached_property
    def check_return(self) -> Any:
        """What tells whether a result fits, or None."""
        return compile_return(self.hints["return"]) if "return" in self.hints else None

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """Return one value per parameter, in order, defaults filled in.

        Raises:
            TypeMismatchError: If the arguments do not fit the signature.
        """
        if not kwargs and self._plain and len(args) == self._count:
            return args
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeMismatchError(self._explain(str(error), kwargs)) from None
        bound.apply_defaults()
        return tuple(bound.arguments.values())

    def _explain(self, reason: str, kwargs: dict[str, Any]) -> str:
        unknown = [name for name in kwargs if name not in self.names]
        hint = nearest(unknown[0], self.names) if unknown else ""
        if "wait_for" in unknown:
            hint = " Order without data by task.with_options(wait_for=[...])."
        return f"{self.key}{self.signature} cannot be called like this: {reason}.{hint}"

    def call(self, values: Sequence[Any]) -> Any:
        """Call the function with one value per parameter."""
        if self._plain:
            return self.fn(*values)
        bound = inspect.BoundArguments(self.signature, dict(zip(self.names, values, strict=True)))
        return self.fn(*bound.args, **bound.kwargs)

    def check(self, values: Sequence[Any], origin: Callable[[int], str]) -> None:
        """Check arguments against their annotations.

        Args:
            values: One per parameter.
            origin: Says where the value at a place came from.

        Raises:
            TypeMismatchError: For the first that does not fit.
        """
        for place, fits in self.checks:
            if not fits(values[place]):
                name = self.names[place]
                message = (
                    f"{self.key}: argument {name!r} must be {show_hint(self.hints[name])}, "
                    f"got {show_value(values[place])}{origin(place)}."
                )
                raise TypeMismatchError(message)

    def check_result(self, value: Any) -> None:
        """Check a result against its annotation.

        Raises:
            TypeMismatchError: If it does not fit.
        """
        if self.check_return is not None and not self.check_return(value):
            message = (
                f"{self.key} must return {show_hint(self.hints['return'])}, but returned {show_value(value)}. "
                f"Correct the function or its annotation."
            )
            raise TypeMismatchError(message)


def spec_of(fn: Callable[..., Any]) -> Spec:
    """Look at a function."""
    return Spec(fn)


def _name(fn: Any) -> str:
    return str(getattr(fn, "__qualname__", None) or getattr(fn, "__name__", None) or type(fn).__qualname__)
