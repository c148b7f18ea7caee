"""docs/lint.md is what the rules' docstrings make."""

import inspect
from pathlib import Path

import pytest

from aiinfra_lab.recipe.lint import RULES
from aiinfra_lab.recipe.lint.pages import page

DOCS = Path(__file__).parents[3] / "docs" / "lint.md"


def test_the_page_is_current():
    assert DOCS.read_text() == page(), "python -m aiinfra_lab.recipe.lint.pages > docs/lint.md"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_each_rule_is_explained(rule):
    first, *rest = (inspect.getdoc(rule) or "").splitlines()
    assert first.endswith(".")
    assert len(rest) > 1
    assert f"| {rule.code} | {rule.severity} |" in page()


def test_codes_are_unique_and_in_order():
    codes = [rule.code for rule in RULES]
    assert codes == sorted(set(codes))
