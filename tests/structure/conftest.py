"""The tests of one file of the project stand together, so that it is read and parsed once for all of them."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = [at for at, item in enumerate(items) if item.path.parent == HERE]
    for at, item in zip(places, sorted((items[at] for at in places), key=_file_of), strict=True):
        items[at] = item


def _file_of(item: pytest.Item) -> str:
    """The file that a test is about; none where it is about more than one."""
    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    return str(parameters.get("path", ""))
