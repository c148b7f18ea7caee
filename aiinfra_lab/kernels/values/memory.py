"""Memory that arrays and tensors look at: what several of them share is sent once, and shared again over there."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from .form import ALIGNED, Node

_MOST_TIMES = 2  # what is sent of memory with gaps, by what is looked at


class MemorySpan(NamedTuple):
    """What an array looks at. item, size: bytes of an element, and of all; low, high: where these lie, with gaps or
    more than one in the same place; at: where the first one is; strides: in bytes; compact: makes a copy without gaps,
    in C's order."""

    owner: object
    item: int
    size: int
    low: int
    high: int
    at: int
    strides: list[int]
    compact: Callable[[], Any]


def span_of(
    owner: object, at: int, shape: Sequence[int], strides: Sequence[int], itemsize: int, compact: Callable[[], Any]
) -> MemorySpan:
    size, low, high = itemsize, at, at + itemsize
    for count, stride in zip(shape, strides, strict=True):
        size *= count
        low, high = low + min(0, (count - 1) * stride), high + max(0, (count - 1) * stride)
    return MemorySpan(owner, itemsize, size, low, high if size else low, at, [*strides], compact)


def places_of(spans: list[MemorySpan], part: Callable[..., int]) -> tuple[list[Node], list[object]]:
    """Where each is found over there, as the part, the first byte and the strides, None for those of C's order; and
    whoever shares memory that is not sent as one, since most of it is looked at by none of them."""
    places: list[Node] = [None] * len(spans)
    apart: list[object] = []
    for numbers in _overlapping(spans):
        group = [spans[number] for number in numbers]
        low, high = min(span.low for span in group), max(span.high for span in group)
        if 0 < high - low <= sum(span.size for span in group) * (1 if len(group) == 1 else _MOST_TIMES):
            is_aligned = all((span.at - low) % max(1, span.item) == 0 for span in group)
            before = 0 if is_aligned else low % ALIGNED  # then each element is aligned there as it is here
            number = part(bytes(before), _raw(group, low, high))
            for place, span in zip(numbers, group, strict=True):
                places[place] = [number, before + span.at - low, span.strides]
            continue
        apart += [span.owner for span in group if len(group) > 1]
        for place, span in zip(numbers, group, strict=True):
            places[place] = [part(span.compact() if span.size else b""), 0, None]
    return places, apart


def meet(spans: Iterable[tuple[int, int]], others: Iterable[tuple[int, int]]) -> bool:
    """Whether any of these reaches into any of the others, or one of the others into another one."""
    ranges = sorted([(*each, False) for each in spans] + [(*each, True) for each in others])
    ends = {True: 0, False: 0}
    for low, high, is_other in ranges:
        if low < high and low < max(ends[True], ends[False] if is_other else 0):
            return True
        ends[is_other] = max(ends[is_other], high)
    return False


def _overlapping(spans: list[MemorySpan]) -> Iterator[list[int]]:
    """Their numbers, in groups whose memory overlaps: all of them live, so that it is the same memory."""
    group: list[int] = []
    end = 0
    for number in sorted(range(len(spans)), key=lambda number: spans[number].low):
        span = spans[number]
        if not span.size:  # an empty view looks at nothing
            yield [number]
            continue
        if group and span.low < end:
            group.append(number)
            end = max(end, span.high)
            continue
        if group:
            yield group
        group, end = [number], span.high
    if group:
        yield group


def _raw(group: list[MemorySpan], low: int, high: int) -> memoryview:
    """The memory itself, which lives as long as this."""
    found = (ctypes.c_char * (high - low)).from_address(low)
    found.owners = [span.owner for span in group]  # type: ignore[attr-defined]
    return memoryview(found).cast("B")
