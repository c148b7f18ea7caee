"""Errors of packing and unpacking, on machines with and without the rest of this package."""

from __future__ import annotations


def problem_of(kind: str, what: str, fix: str) -> Exception:
    """An error of ours; on a machine that has nothing of ours, one of Python's with the same text."""
    try:
        from aiinfra_lab import errors
    except ImportError:
        return ValueError(f"{what}\n  fix: {fix}")
    problem: Exception = getattr(errors, kind)(what, fix)
    return problem
