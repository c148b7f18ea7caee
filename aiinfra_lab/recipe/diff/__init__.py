"""What differs between two runs, by meaning: what differs each time, such as a time or an address, does not count."""

from .result import RunDifference, compare_runs

__all__ = ["RunDifference", "compare_runs"]
