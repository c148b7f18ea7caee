"""LAB001: the comments that silence rules, looked at themselves."""

from __future__ import annotations

from collections.abc import Iterator

from ...errors import did_you_mean
from .base import Diagnostic, LineEdit, Severity
from .subject import IGNORE, LintCell, LintSubject


class UnknownIgnore:
    """A comment silences a rule that does not exist, or names none.

    `# lab: ignore[LAB301]` behind a line silences that rule there, and at the head of a cell in all of it. Several
    stand behind commas.
    """

    code = "LAB001"
    severity: Severity = "warning"

    def check(self, subject: LintSubject) -> Iterator[Diagnostic]:
        """See `LintRule`."""
        from .rules import RULES  # here, since this rule is one of them

        known = [rule.code for rule in RULES]
        for cell in subject.cells:
            for line, codes in cell.ignored:
                wrong = [code for code in codes if code not in known]
                if wrong == [""]:
                    yield subject.found(self, cell, line, "no rule is named here", "write # lab: ignore[LAB301]")
                elif wrong:
                    edit = _without(cell, line, [code for code in codes if code in known])
                    fix = did_you_mean(wrong[0], known) if wrong[0] else "take the comma out"
                    yield subject.found(self, cell, line, f"there is no rule {', '.join(wrong)}", fix, edit)


def _without(cell: LintCell, line: int, codes: list[str]) -> LineEdit:
    """That comment with these codes alone; without any it goes, and so does a line that held nothing else."""
    text = cell.lines[line - 1]
    found = IGNORE.search(text)
    reason = text[found.end() :].strip() if found else ""
    kept = f"# lab: ignore[{', '.join(codes)}]" if codes else "#" if reason else ""
    new = IGNORE.sub(kept, text, count=1).rstrip()
    return LineEdit(cell.number, line, line, (new,) if new.strip() else ())
