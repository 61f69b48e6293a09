"""What a function is, for its fingerprint: what it does, not where it stands.

Compiled code is taken apart into what its behaviour depends on. Line numbers, file names and docstrings
are left out, so that moving or documenting a function changes nothing.
"""

from __future__ import annotations

import functools
import inspect
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ostinato.fingerprint import Walk

_HAS_DOCSTRING = 0x4000000
"""The flag by which Python 3.14 and later mark it; before, a str as the first constant of a ``def`` is one."""


def code_of(function: Any) -> list[Any]:
    """List what the behaviour of a callable depends on, apart from its name."""
    if isinstance(function, MethodType):
        return [function.__func__, function.__self__]
    if isinstance(function, functools.partial):
        return [function.func, function.args, function.keywords]
    if isinstance(function, FunctionType):
        return _function_parts(function)
    if isinstance(function, BuiltinFunctionType):
        return [function.__qualname__]
    if isinstance(function, type):
        own = vars(function)
        return [function, *(own[name] for name in ("__new__", "__init__") if isinstance(own.get(name), FunctionType))]
    wrapped = getattr(function, "__wrapped__", None)
    if callable(wrapped):
        return [type(function).__qualname__, wrapped]
    call = getattr(type(function), "__call__", None)  # noqa: B004  # the function itself is wanted
    return [call, function] if isinstance(call, FunctionType) else [function]


def _function_parts(function: FunctionType) -> list[Any]:
    cells = []
    for cell in function.__closure__ or ():
        try:
            cells.append(cell.cell_contents)
        except ValueError:  # not filled yet
            cells.append(...)
    wrapped = getattr(function, "__wrapped__", None)
    if any(wrapped is cell for cell in cells):
        wrapped = None
    return [function.__code__, function.__defaults__, function.__kwdefaults__, cells, wrapped]


def write_function(walk: Walk, function: FunctionType) -> None:
    """Write a function: its name, and what it does."""
    walk.tag(b"f", function.__qualname__)
    walk.items(_function_parts(function))


def write_method(walk: Walk, method: MethodType) -> None:
    """Write a bound method: its function and what it is bound to."""
    walk.tag(b"b", method.__func__, method.__self__)


def write_builtin(walk: Walk, function: BuiltinFunctionType) -> None:
    """Write a function made in C by its name, with what it is bound to."""
    owner = function.__self__
    walk.tag(b"u", function.__qualname__, None if isinstance(owner, ModuleType) else owner)


def write_partial(walk: Walk, partial: functools.partial[Any]) -> None:
    """Write a partial."""
    walk.tag(b"p", partial.func, partial.args, partial.keywords)


def write_code(walk: Walk, code: CodeType) -> None:
    """Write compiled code."""
    walk.tag(b"c", code.co_code, code.co_exceptiontable)
    walk.items([code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars])
    walk.items([code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & ~_HAS_DOCSTRING])
    walk.items(_constants(code))


def _constants(code: CodeType) -> list[Any]:
    """List the constants without the docstring and, in the body of a class, without its line number."""
    constants: list[Any] = list(code.co_consts)
    if constants and isinstance(constants[0], str) and _documented(code):
        constants[0] = None
    if "__firstlineno__" in code.co_names:
        constants = [None if type(x) is int and x == code.co_firstlineno else x for x in constants]
    return constants


def _documented(code: CodeType) -> bool:
    if code.co_flags & _HAS_DOCSTRING:
        return True
    is_def = bool(code.co_flags & inspect.CO_NEWLOCALS) and not code.co_name.startswith("<")
    return is_def and not hasattr(inspect, "CO_HAS_DOCSTRING")
