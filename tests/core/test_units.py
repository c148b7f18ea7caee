import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiinfra_lab import errors, units
from aiinfra_lab.errors import UsageProblem


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(units).failed == doctest.testmod(errors).failed == 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("20s", 20),
        ("1h30m", 5400),
        ("2d", 172800),
        ("500ms", 0.5),
        (7200, 7200),
        ("1.5h", 5400),
        ("2 hours", 7200),
        ("1 hour 30 minutes", 5400),
        ("1 Week", 604800),
        ("3 days", 259200),
        ("10 secs", 10),
    ],
)
def test_durations(text, seconds):
    assert units.parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["99999999999999d", "banana", "", "-2h", "0", "2 bananas", "2h banana", "nan", "inf", None]
)
def test_what_is_no_duration_is_refused_with_an_example(text):
    with pytest.raises(UsageProblem, match="write 30s"):
        units.parse_duration(text)


@pytest.mark.parametrize("text", ["1.5", "-0.1", "150%", "lots", "nan"])
def test_what_is_no_share_is_refused_with_an_example(text):
    with pytest.raises(UsageProblem, match=r"write 0\.05 or 5%"):
        units.parse_share(text)


@pytest.mark.parametrize(
    ("text", "share"), [("5%", 0.05), ("0.05", 0.05), (0.5, 0.5), ("100%", 1.0), (0, 0.0), ("5 percent", 0.05)]
)
def test_shares(text, share):
    assert units.parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize(
    ("text", "usd"), [("$5", 5.0), ("5", 5.0), ("0.5usd", 0.5), (2, 2.0), ("5 USD", 5.0), ("5 dollars", 5.0)]
)
def test_money(text, usd):
    assert units.parse_usd(text) == usd


@given(st.floats(min_value=0.001, max_value=1e8))
def test_what_was_read_is_read_again_as_itself(number):
    assert units.parse_duration(number) == units.parse_usd(number) == number


def test_a_quantity_in_a_verbs_body_is_a_number():
    assert (units.number(2.5), units.number(None)) == (2.5, None)
    with pytest.raises(AssertionError):
        units.number("2h")


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (5 * 2**20, "5.0 MiB"),
        (2**40, "1.0 TiB"),
        (2**50, "1024.0 TiB"),
    ],
)
def test_sizes_are_shown_in_binary_units(count, words):
    assert units.show_bytes(count) == words


@pytest.mark.parametrize("text", ["-1", "five", "5eur"])
def test_what_is_no_money_is_refused(text):
    with pytest.raises(UsageProblem, match="write 5 or 5usd"):
        units.parse_usd(text)


@given(st.floats(min_value=0.001, max_value=1e7))
def test_every_duration_can_be_shown(seconds):
    assert units.show_duration(seconds)[0].isdigit()


def test_what_is_no_number_is_shown_as_nothing():
    assert units.show_duration(float("nan")) == units.show_usd(float("inf")) == "–"
    assert units.show_usd(-0.5) == "-0.50 USD"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(59.6, "1 min"), (9.97, "10 s"), (0.9999, "1.0 s"), (119.8, "2 min"), (59.4, "59 s"), (5.04, "5.0 s")],
)
def test_a_duration_that_rounds_up_is_shown_in_the_next_unit(seconds, words):
    assert units.show_duration(seconds) == words


@pytest.mark.parametrize(("text", "number"), [("2%", 0.02), (0.02, 0.02), ("-1", -1.0), ("250", 250.0)])
def test_a_difference_may_be_any_number(text, number):
    assert units.parse_difference(text) == pytest.approx(number)
    with pytest.raises(UsageProblem, match=r"write 0\.05 or 5%"):
        units.parse_difference("some")
