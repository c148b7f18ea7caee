import contextlib
import math
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiinfra_lab import rules
from aiinfra_lab.errors import UsageProblem
from aiinfra_lab.rules import CONNECTIVES, SIGNS, Rule, Term

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
METRICS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_./-]{0,8}", fullmatch=True).filter(
    lambda name: not name.endswith(("_ms", "_s"))
)
TERMS = st.one_of(
    st.builds(Term, METRICS, st.sampled_from(SIGNS), NUMBERS, st.sampled_from(["", "%"]), st.sampled_from(CONNECTIVES)),
    st.builds(
        Term,
        st.sampled_from(["p95_ms", "wait_s"]),
        st.sampled_from(SIGNS),
        NUMBERS,
        st.sampled_from(["ms", "s"]),
        st.sampled_from(CONNECTIVES),
    ),
)


def first_joined_by_and(terms):
    return Rule((msgspec.structs.replace(terms[0], connective="and"), *terms[1:]))


RULES = st.lists(TERMS, min_size=1, max_size=5).map(first_joined_by_and)


@given(RULES)
def test_a_rules_text_and_its_json_are_read_back_as_the_rule(rule):
    assert rules.parse(str(rule)) == rule
    assert msgspec.json.decode(msgspec.json.encode(rule), type=Rule) == rule


@given(st.text())
def test_any_text_is_a_rule_or_a_usage_problem(text):
    with contextlib.suppress(UsageProblem):
        rule = rules.parse(text)
        assert rules.parse(str(rule)) == rule


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("p95_ms>80 or errors >1 %", "p95_ms > 80 or errors > 1%"),
        ("auc > 0.70, loss<.5", "auc > 0.7 and loss < 0.5"),
        (" wait_s <= 1e-3 ", "wait_s <= 0.001"),
        ("p95_ms > 0.5 s and p50_ms > 20ms", "p95_ms > 0.5s and p50_ms > 20ms"),
        ("val/auc-1 >= -2", "val/auc-1 >= -2"),
    ],
)
def test_each_rule_has_one_spelling(text, canonical):
    assert str(rules.parse(text)) == canonical


@pytest.mark.parametrize(
    ("text", "threshold"),
    [("errors > 1%", 0.01), ("p95_ms > 2s", 2000), ("p95_ms > 2ms", 2), ("wait_s > 20ms", 0.02), ("wait_s > 3", 3)],
)
def test_a_threshold_is_in_the_metrics_own_unit(text, threshold):
    assert rules.parse(text).terms[0].threshold == threshold


@given(st.integers(-(10**9), 10**9), st.integers(0, 6))
def test_a_value_exactly_on_a_bound_is_on_it_whatever_unit_the_bound_is_written_in(digits, places):
    written = Decimal(digits).scaleb(-places)
    for text, power in ((f"x > {written}%", -2), (f"x_ms > {written}s", 3), (f"x_s > {written}ms", -3)):
        assert rules.parse(text).terms[0].threshold == float(written.scaleb(power))


def test_a_rate_is_no_duration():
    assert rules.parse("rows_per_s > 5").terms[0].threshold == 5
    with pytest.raises(UsageProblem, match="rows_per_s is no duration"):
        rules.parse("rows_per_s > 5ms")


@given(st.booleans(), st.booleans(), st.booleans())
def test_and_binds_tighter_than_or(a, b, c):
    measured = {"a": float(a), "b": float(b), "c": float(c)}
    assert rules.parse("a > 0 or b > 0 and c > 0").holds(measured) == (a or (b and c))
    assert rules.parse("a > 0, b > 0 or c > 0").holds(measured) == ((a and b) or c)


@pytest.mark.parametrize(("sign", "holds"), [(">", [0, 0, 1]), (">=", [0, 1, 1]), ("<", [1, 0, 0]), ("<=", [1, 1, 0])])
def test_a_sign_is_what_it_says(sign, holds):
    term = rules.parse(f"auc {sign} 0.7").terms[0]
    assert [term.holds(value) for value in (0.6, 0.7, 0.8)] == holds
    assert term.wants_more == sign.startswith(">")


def test_what_was_not_measured_satisfies_nothing():
    assert not rules.parse("auc > 0").holds({})
    assert not rules.parse("auc < 0").holds({"auc": math.nan})


@pytest.mark.parametrize(
    ("text", "what", "fix"),
    [
        ("", "the rule is empty", "leave it out, or write"),
        (" ", "the rule is empty", "leave it out, or write"),
        ("auc", "a comparison of auc is missing before the end", "write"),
        ("auc > ", "the number that auc", "write"),
        ("auc => 1", "'=>' is not a comparison of auc (character 5", "did you mean >=?"),
        ("auc > 1 AND loss < 1", "'AND' is not", "did you mean and?"),
        ("auc > 0.7 adn loss < 1", "character 11", "did you mean and?"),
        ("auc > 0.7 and", "before the end", "write"),
        ("auc > 0.7,", "before the end", "write"),
        ("auc > 8.0.0", "before '.0'", "write"),
        ("auc > 80mss", "'mss' is not a unit", "did you mean ms?"),
        ("auc > 80ms", "auc is no duration", "auc_ms"),
        ("p95_ms > 5%", "p95_ms is a duration and no share", "write ms"),
        ("auc > 1e999", "too large", "write"),
        ("(auc > 1)", "before '(auc > 1)'", "write"),
    ],
)
def test_what_is_no_rule_is_refused_with_the_place_and_a_fix(text, what, fix):
    with pytest.raises(UsageProblem) as problem:
        rules.parse(text)
    assert what in problem.value.what
    assert fix in problem.value.fix


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("aux > 1", "did you mean auc?"),
        ("auc < 1", "write >, nothing else is read here"),
        ("auc > 1 and auc > 1", "write or, nothing else is read here"),
        ("auc > 1, auc > 1", "write or, nothing else is read here"),
    ],
)
def test_what_the_caller_cannot_use_is_refused_with_what_it_can(text, fix):
    with pytest.raises(UsageProblem) as problem:
        rules.parse(text, metrics=["auc"], signs=[">"], connectives=["or"])
    assert problem.value.fix == fix


@pytest.mark.parametrize(
    ("strict", "loose", "covers"),
    [
        ("auc > 0.8", "auc > 0.7", True),
        ("auc > 0.7", "auc >= 0.7", True),
        ("auc >= 0.7", "auc > 0.7", False),
        ("auc > 0.7", "auc > 0.7", True),
        ("loss < 0.4", "loss < 0.5", True),
        ("loss < 0.5", "loss > 0.4", False),
        ("auc > 70%", "auc > 0.6", True),
        ("auc > 0.9", "f1 > 0.1", False),
    ],
)
def test_a_stricter_bound_covers_a_looser_one(strict, loose, covers):
    assert rules.parse(strict).terms[0].covers(rules.parse(loose).terms[0]) is covers


@pytest.mark.parametrize(
    ("one", "other", "excludes"),
    [
        ("auc > 0.9", "auc < 0.7", True),
        ("auc > 0.7", "auc < 0.9", False),
        ("auc >= 0.7", "auc <= 70%", False),
        ("auc > 0.7", "auc <= 0.7", True),
        ("auc > 0.9", "f1 < 0.1", False),
        ("auc > 0.9", "auc > 0.1", False),
    ],
)
def test_bounds_exclude_each_other_where_no_value_satisfies_both(one, other, excludes):
    terms = [rules.parse(text).terms[0] for text in (one, other)]
    assert {terms[0].excludes(terms[1]), terms[1].excludes(terms[0])} == {excludes}


def test_a_connective_that_is_not_read_is_named_without_the_comma():
    with pytest.raises(UsageProblem) as problem:
        rules.parse("auc > 0.7 or loss < 0.5", connectives=["and"])
    assert problem.value.fix == "write and, nothing else is read here"
    assert rules.parse("auc > 0.7, loss < 0.5", connectives=["and"]).terms[1].connective == "and"
