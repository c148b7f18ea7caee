"""What every report on a verdict's two samples keeps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ..drift.base import SampleReport
from ..errors import Failed

if TYPE_CHECKING:
    import polars as pl

__all__ = ["ReportContract"]


def sample(rows: int = 200, *, moved: float = 0.0) -> pl.DataFrame:
    """Numbers and texts, some of them missing, and a score."""
    import polars as pl

    # 37 and 61 share no factor with 100: every hundredth comes once before any comes twice.
    numbers = [None if row % 20 == 0 else (row * 37 % 100) / 100 + moved for row in range(rows)]
    # Letters beyond ASCII and markup: what a report gets wrong when it forgets to encode or to escape.
    texts = [None if row % 30 == 0 else ("réd", "green", "<b>&")[row % 3] for row in range(rows)]
    scores = [(row * 61 % 100) / 100 for row in range(rows)]
    schema = {"x": pl.Float64, "colour": pl.String, "score": pl.Float64}
    return pl.DataFrame({"x": numbers, "colour": texts, "score": scores}, schema=schema)


def empty_folder(tmp_path: Path) -> Path:
    """A folder in which nothing is but what a report leaves there."""
    folder = tmp_path / "reports"
    folder.mkdir()
    return folder


class ReportContract:
    """A provider's test inherits this and gives the fixture `report`."""

    def test_the_report_is_one_file_and_nothing_beside_it(self, report: SampleReport, tmp_path: Path) -> None:
        into = empty_folder(tmp_path) / "report"
        report.write(sample(), sample(moved=0.5), into)
        assert into.stat().st_size > 0
        assert list(into.parent.iterdir()) == [into]

    def test_it_says_something_of_every_column(self, report: SampleReport, tmp_path: Path) -> None:
        report.write(sample(), sample(moved=0.5), tmp_path / "report")
        written = (tmp_path / "report").read_bytes()
        assert [name for name in ("x", "colour", "score") if name.encode() not in written] == []

    def test_written_again_it_takes_the_place_of_the_old_one(self, report: SampleReport, tmp_path: Path) -> None:
        into = empty_folder(tmp_path) / "report"
        into.write_text("what was there before")
        report.write(sample(), sample(), into)
        assert b"what was there before" not in into.read_bytes()

    def test_other_samples_give_another_report(self, report: SampleReport, tmp_path: Path) -> None:
        report.write(sample(), sample(), tmp_path / "one")
        report.write(sample(), sample(moved=3.0), tmp_path / "two")
        assert (tmp_path / "one").read_bytes() != (tmp_path / "two").read_bytes()

    def test_the_samples_stay_as_they_are(self, report: SampleReport, tmp_path: Path) -> None:
        reference, current = sample(), sample(moved=0.5)
        report.write(reference, current, tmp_path / "report")
        assert reference.equals(sample())
        assert current.equals(sample(moved=0.5))

    def test_nothing_is_printed(self, report: SampleReport, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        report.write(sample(), sample(), tmp_path / "report")
        assert capfd.readouterr() == ("", "")

    def test_samples_without_rows_make_a_report_or_an_error_with_a_fix(
        self, report: SampleReport, tmp_path: Path
    ) -> None:
        into = empty_folder(tmp_path) / "report"
        try:
            report.write(sample(0), sample(0), into)
        except Failed as problem:
            into.write_text(problem.fix)
        assert into.stat().st_size > 0

    def test_a_file_that_cannot_be_written_is_an_error_and_nothing_is_left(
        self, report: SampleReport, tmp_path: Path
    ) -> None:
        into = empty_folder(tmp_path) / "report"
        into.mkdir()
        with pytest.raises(OSError, match=r".+"):
            report.write(sample(), sample(), into)
        assert list(into.parent.iterdir()) == [into]
