import pytest

from aiinfra_lab.errors import UsageProblem
from aiinfra_lab.uris import Uri


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
