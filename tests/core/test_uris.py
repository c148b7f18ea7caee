import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiinfra_lab.errors import UsageProblem
from aiinfra_lab.nouns import TABLE
from aiinfra_lab.uris import Uri, leading_version, split_label


@pytest.mark.parametrize(
    "text", ["data:flights", "data:flights@1", "models:delay@champion", "features:delay@2#9f03ab", "gpu:a.b-c_1"]
)
def test_a_uri_is_written_as_it_was_read(text):
    assert str(Uri.parse(text)) == text


def test_where_the_noun_is_fixed_it_may_be_left_out():
    assert Uri.parse("delay@7", "models") == Uri("models", "delay", 7)


@pytest.mark.parametrize(
    ("text", "noun", "says"),
    [
        ("flights", None, "write NOUN:flights"),
        ("dta:flights", None, "did you mean data"),
        ("data:flights", "models", "a models one is needed"),
        ("data:Flights", None, "cannot be a name"),
        ("data:../x", None, "cannot be a name"),
        ("data:", None, "cannot be a name"),
        ("data:flights@0", None, "neither a version nor an alias"),
        ("data:flights@Champion", None, "neither a version nor an alias"),
        ("data:flights@1#../x", None, "no part"),
    ],
)
def test_what_is_no_uri_is_refused_with_the_fix(text, noun, says):
    with pytest.raises(UsageProblem, match=says):
        Uri.parse(text, noun)


NAMES = st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,62}", fullmatch=True)
TAGS = st.one_of(st.none(), st.integers(1, 10**9), st.from_regex(r"[a-z][a-z0-9_-]{0,31}", fullmatch=True))
PARTS = st.one_of(st.none(), st.from_regex(r"[0-9a-z]{1,64}", fullmatch=True))


@given(st.sampled_from(sorted(TABLE)), NAMES, TAGS, PARTS)
def test_whatever_is_put_together_is_taken_apart_again(noun, name, tag, part):
    version, alias = (tag, None) if isinstance(tag, int) else (None, tag)
    uri = Uri(noun, name, version, alias, part)
    assert Uri.parse(str(uri)) == Uri.parse(uri.label, noun) == uri
    assert uri.bare == Uri(noun, name)
    assert Uri.is_one(uri)
    assert Uri.is_one(uri, noun)


@given(NAMES, st.integers(1, 10**9), PARTS)
def test_a_label_is_split_as_its_uri_is(name, version, part):
    uri = Uri("data", name, version, None, part)
    assert split_label(uri.label) == (name, version, part)
    assert split_label(name) == (name, None, None)


@given(st.text())
def test_any_text_can_be_split_and_none_is_an_error_of_its_own(text):
    name, version, _ = split_label(text)
    assert name + (f"@{version}" if version is not None else "") in (text, name, f"{name}@{version}")
    with contextlib.suppress(UsageProblem):
        Uri.parse(text, "data")


@pytest.mark.parametrize(
    ("uri", "text", "covers"),
    [
        ("data:a", "data:a", True),
        ("data:a", "data:a@1", True),
        ("data:a", "data:a#0f", True),
        ("data:a", "data:ab@1", False),
        ("data:a@1", "data:a@1", True),
        ("data:a@1", "data:a@10", False),
        ("data:a@1", "data:a@1#0f", False),
        ("data:a@1", "data:a", False),
    ],
)
def test_a_name_covers_its_versions_and_a_version_only_itself(uri, text, covers):
    assert Uri.covers(uri, text) is covers


@pytest.mark.parametrize(
    ("file", "number"),
    [("a@3", 3), ("a@3-0f12.parquet", 3), ("a@30", 30), ("ab@3", 0), ("a", 0), ("a@x", 0), ("b@1", 0)],
)
def test_a_file_says_which_version_it_belongs_to(file, number):
    assert leading_version(file, "a") == number


@pytest.mark.parametrize(
    ("text", "noun", "is_one"),
    [
        ("data:x", None, True),
        ("data:x", "gpu", False),
        ("x", None, False),
        ("/a/b:c", None, False),
        ("http://x", None, False),
        ("data", None, False),
    ],
)
def test_a_text_with_a_noun_before_its_colon_is_a_uri(text, noun, is_one):
    assert Uri.is_one(text, noun) is is_one


def test_the_whole_of_a_part_is_its_version():
    part = Uri.parse("features:a@2#0f")
    assert (str(part.whole), str(part.bare), str(part.at(3)), part.tag) == (
        "features:a@2",
        "features:a",
        "features:a@3",
        "2",
    )
