"""Both reports keep the contract: Evidently's, and one from a package of its own that every verb finds."""

from pathlib import Path

import pytest

from aiinfra_lab import cli, completion, providers
from aiinfra_lab.config import settings
from aiinfra_lab.drift import exports
from aiinfra_lab.drift.base import SampleReport
from aiinfra_lab.drift.evidently import Evidently
from aiinfra_lab.errors import Conflict, Denied, Failed, NotFound
from aiinfra_lab.testing.drift import ReportContract, sample


@pytest.mark.slow
class TestEvidently(ReportContract):
    @pytest.fixture
    def report(self, workspace: Path) -> SampleReport:
        return Evidently(settings())


class TestTextReport(ReportContract):
    @pytest.fixture
    def report(self, workspace: Path, installed: None) -> SampleReport:
        made: SampleReport = providers.make("drift.report", "text")
        return made


def test_a_verdict_can_be_written_as_json_and_as_every_report(installed):
    assert exports.forms() == ["json", "evidently", "text"]
    assert completion.complete("drift", "get delay --as ") == ["evidently", "json", "text"]
    assert completion.complete("drift", "get delay --as=e") == ["--as=evidently"]


def test_the_help_names_every_report(installed, capsys):
    assert cli.main(["drift", "get", "--help"]) == 0
    assert "[--as json|evidently|text]" in capsys.readouterr().out


def test_a_report_on_samples_that_are_gone_says_how_to_make_them_again(workspace):
    with pytest.raises(NotFound) as problem:
        exports.write({"endpoint": "deploy:d", "against": "data:t@1"}, "gone", "evidently", workspace / "report")
    assert problem.value.fix == "check again: `%drift check deploy:d --against data:t@1 --report`"


def test_a_report_that_makes_nothing_of_the_samples_writes_nothing(workspace, installed):
    name = exports.keep(sample(0), sample(0))
    with pytest.raises(Failed) as problem:
        exports.write({"endpoint": "deploy:d", "against": "data:t@1"}, name, "text", workspace / "report")
    assert (problem.value.fix, (workspace / "report").exists()) == ("take --as json", False)


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_file_that_cannot_be_written_is_denied(workspace, installed, form):
    name = exports.keep(sample(), sample())
    (workspace / "file").touch()
    with pytest.raises(Denied) as problem:
        exports.write({"endpoint": "deploy:d", "against": "data:t@1"}, name, form, workspace / "file" / "there")
    assert problem.value.fix == "choose another --into"


@pytest.mark.parametrize("form", ["json", "text"])
def test_what_is_there_is_not_written_over(workspace, installed, form):
    (workspace / "there").write_text("theirs")
    with pytest.raises(Conflict) as problem:
        exports.write({"endpoint": "deploy:d", "against": "data:t@1"}, "", form, workspace / "there")
    assert (problem.value.fix, (workspace / "there").read_text()) == ("choose another --into", "theirs")


def test_the_samples_come_back_as_they_were_and_are_nobody_elses(workspace):
    name = exports.keep(sample(), sample(50, moved=1.0))
    reference, current = exports.samples(name, again="")
    assert reference.equals(sample())
    assert current.equals(sample(50, moved=1.0))
    assert (workspace / ".aiinfra" / "samples" / name).stat().st_mode & 0o777 == 0o700


def test_who_numbers_a_verdict_finds_no_samples_to_look_through(workspace):
    for _ in range(3):
        exports.keep(sample(), sample())
    assert not (settings().home / "drift").exists()


def test_samples_that_an_older_version_kept_are_still_found(workspace):
    name = exports.keep(sample(), sample())
    (settings().home / "samples").rename(settings().home / "drift")
    assert [frame.height for frame in exports.samples(name, again="")] == [sample().height] * 2
