"""Whether a value fits an annotation.

The hints that tasks mostly carry (classes, unions, ``list[...]``, ``dict[..., ...]``, ``tuple[...]``,
`Literal`, `Any`) are compiled here to plain functions: quick, deterministic, every item looked at. For the
rest there is beartype, imported when such a hint is first met. A hint that cannot be resolved or is not
understood fits everything: checking never breaks what would have run.

As in PEP 484, an int fits ``float``, and both fit ``complex``.
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ostinato.outcomes import OUTCOMES

if TYPE_CHECKING:
    from collections.abc import Callable

    Fits = Callable[[Any], bool]

_TOWER: dict[type, tuple[type, ...]] = {float: (float, int), complex: (complex, float, int)}
_COLLECTIONS = (list, set, frozenset)


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations of a function by parameter, ``return`` among them; unresolvable ones are left out."""
    try:
        return get_type_hints(function, include_extras=True)
    except Exception:  # a forward reference to something imported for type checkers only
        return _resolvable(function)


def _resolvable(function: Callable[..., Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    names = {**getattr(function, "__globals__", {})}
    for name, hint in getattr(function, "__annotations__", {}).items():
        if not isinstance(hint, str):
            found[name] = hint
            continue
        try:
            found[name] = eval(hint, names)  # noqa: S307  # as typing.get_type_hints does
        except Exception:  # noqa: S112  # it then checks nothing
            continue
    return found


def compile_hint(hint: Any) -> Fits | None:
    """Make the function that tells whether a value fits, or None where everything fits."""
    if hint is Any or hint is object or isinstance(hint, (TypeVar, str)):
        return None
    if hint is None or hint is type(None):
        return lambda value: value is None
    if isinstance(hint, type) and get_origin(hint) is None:
        return _of_class(hint)
    return _of_generic(hint)


def _of_class(hint: type) -> Fits | None:
    if getattr(hint, "_is_protocol", False) or hasattr(hint, "__supertype__"):
        return _of_beartype(hint) if getattr(hint, "_is_runtime_protocol", False) else None
    if getattr(hint, "__total__", None) is not None and issubclass(hint, dict):  # a TypedDict
        return _of_beartype(hint)
    classes = _TOWER.get(hint, hint)
    return lambda value: isinstance(value, classes)


def _of_generic(hint: Any) -> Fits | None:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _of_beartype(hint) if _has_validators(hint) else compile_hint(arguments[0])
    if origin is Union or origin is types.UnionType:
        return _of_union(arguments)
    if origin is Literal:
        return lambda value: any(value == a and type(value) is type(a) for a in arguments)
    if origin in _COLLECTIONS and len(arguments) == 1:
        return _of_items(origin, compile_hint(arguments[0]))
    if origin is dict and len(arguments) == 2:  # noqa: PLR2004  # means something only here
        return _of_mapping(compile_hint(arguments[0]), compile_hint(arguments[1]))
    if origin is tuple and arguments:
        return _of_tuple(arguments)
    return _of_beartype(hint)


def _has_validators(hint: Any) -> bool:
    return any(type(extra).__module__.startswith("beartype") for extra in hint.__metadata__)


def _of_union(arguments: tuple[Any, ...]) -> Fits | None:
    checks = [compile_hint(argument) for argument in arguments]
    if any(check is None for check in checks):
        return None
    known = [check for check in checks if check is not None]
    return lambda value: any(check(value) for check in known)


def _of_items(origin: Any, item: Fits | None) -> Fits:
    if item is None:
        return lambda value: isinstance(value, origin)
    return lambda value: isinstance(value, origin) and all(map(item, value))


def _of_mapping(key: Fits | None, item: Fits | None) -> Fits:
    def fits(value: Any) -> bool:
        if not isinstance(value, dict):
            return False
        return (key is None or all(map(key, value))) and (item is None or all(map(item, value.values())))

    return fits


def _of_tuple(arguments: tuple[Any, ...]) -> Fits:
    if len(arguments) == 2 and arguments[1] is ...:  # noqa: PLR2004  # means something only here
        return _of_items(tuple, compile_hint(arguments[0]))
    if arguments == ((),):
        return lambda value: value == ()
    checks = [compile_hint(argument) for argument in arguments]

    def fits(value: Any) -> bool:
        if not isinstance(value, tuple) or len(value) != len(checks):
            return False
        return all(check is None or check(item) for check, item in zip(checks, value, strict=True))

    return fits


def _of_beartype(hint: Any) -> Fits | None:
    from beartype import BeartypeConf  # a tenth of a second that most scripts need not pay
    from beartype.door import is_bearable

    configuration = BeartypeConf(is_pep484_tower=True)
    try:
        is_bearable(None, hint, conf=configuration)
    except Exception:  # a hint that beartype does not know
        return None
    return lambda value: is_bearable(value, hint, conf=configuration)


def compile_return(hint: Any) -> Fits | None:
    """Make the check of a result: outcomes such as `Skip` always fit."""
    fits = compile_hint(hint)
    if fits is None:
        return None
    return lambda value: fits(value) or isinstance(value, OUTCOMES)


def show_hint(hint: Any) -> str:
    """Write an annotation as its user did: ``list[dict]``, ``polars.DataFrame``, ``int | None``."""
    if hint is None or hint is type(None):
        return "None"
    if isinstance(hint, type) and get_origin(hint) is None:
        return hint.__qualname__ if hint.__module__ == "builtins" else f"{hint.__module__}.{hint.__qualname__}"
    return str(hint).replace("typing.", "")


def show_value(value: Any) -> str:
    """Say what a value is in a few words: its type, and where it is short, itself."""
    text = ""
    if isinstance(value, (str, bytes, int, float, bool, type(None), list, tuple, dict, set)):
        text = repr(value)
    name = show_hint(type(value))
    if not text or text == name:
        return name
    return f"{name} ({text if len(text) <= 60 else text[:57] + '...'})"  # noqa: PLR2004  # means something only here
