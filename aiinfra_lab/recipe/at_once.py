"""What is the same for all steps that are looked at in one moment, and takes longer to find than to use."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Hashable, Iterator
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_found: ContextVar[dict[Hashable, Any] | None] = ContextVar("found", default=None)


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """While the block runs, functions with `once` look only once. It may be entered within itself."""
    found = _found.get()
    token = _found.set({} if found is None else found)
    try:
        yield
    finally:
        _found.reset(token)


def once(look: Callable[P, T]) -> Callable[P, T]:
    """For a function whose arguments are hashable, and whose results nobody changes."""

    @functools.wraps(look)
    def looked(*args: P.args, **kwargs: P.kwargs) -> T:
        found = _found.get()
        if found is None:
            return look(*args, **kwargs)
        key = (look, args, tuple(kwargs.items()))
        if key not in found:
            found[key] = look(*args, **kwargs)
        return found[key]  # type: ignore[no-any-return]

    return looked
