"""What the noun data tells of its things to those who know none of them."""

from pathlib import Path

from aiinfra_lab import data
from aiinfra_lab.data.noun import NOUN
from aiinfra_lab.data.record import DataVersion
from aiinfra_lab.resolve import resolve


def digest(uri: str) -> str:
    return NOUN.digest(resolve(uri, DataVersion))


def added(path: Path, name: str, content: str, **options) -> str:
    path.write_text(content)
    return data.add(name, path, **options).uri


def test_the_same_content_has_the_same_digest_whatever_it_is_called_and_other_content_another_one(workspace):
    path = workspace / "x.csv"
    first = added(path, "one", "code,n\n01,1\n02,2\n")
    same = added(path, "other", "code,n\n01,1\n02,2\n")
    changed = added(path, "one", "code,n\n01,1\n02,3\n")
    assert digest(first) == digest(same) != digest(changed)


def test_the_same_bytes_that_are_read_otherwise_are_something_else(workspace):
    path = workspace / "x.csv"
    numbers = added(path, "one", "code,n\n10,1\n20,2\n")
    text = added(path, "other", "code,n\n10,1\n20,2\n", text=["code"])
    assert digest(numbers) != digest(text)
