"""The other registry is the one of the tests: MLflow makes a database in each workspace, which takes seconds."""

import pytest

from ...train.conftest import ledger

__all__ = ["ledger"]


@pytest.fixture(autouse=True)
def quick_registry(ledger: str) -> None:
    """See the module."""
