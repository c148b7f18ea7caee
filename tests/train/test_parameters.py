import pytest

from aiinfra_lab.errors import NotFound, UsageProblem
from aiinfra_lab.train import parameters
from aiinfra_lab.train.parameters import Parameters


def test_words_become_what_they_look_like():
    words = {"epochs": "3", "lr": "1e-3", "shuffle": "True", "name": "adam", "year": "2013 ", "share": ".5"}
    read = {"epochs": 3, "lr": 0.001, "shuffle": True, "name": "adam", "year": 2013, "share": 0.5}
    assert parameters.read(words) == read


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ({"lr": ""}, "-p lr= has no value"),
        ({"lr": "nan"}, "not a finite number"),
        ({"lr": "-inf"}, "not a finite number"),
        ({"learning-rate": "1"}, "cannot be a parameter's name"),
        ({"_x": "1"}, "cannot be a parameter's name"),
        ({"get": "1"}, "cannot be a parameter's name"),
    ],
)
def test_bad_parameters_are_refused(words, what):
    with pytest.raises(UsageProblem, match=what):
        parameters.read(words)


def test_an_unknown_one_says_what_there_is():
    with pytest.raises(NotFound, match="did you mean epochs"):
        Parameters({"epochs": 3}).epoch  # noqa: B018


def test_a_default_also_says_what_kind_is_wanted():
    params = Parameters({"epochs": "many", "lr": 1})
    assert params.get("lr", 0.5) == 1.0
    assert params.get("batch", 64) == 64
    with pytest.raises(UsageProblem, match="-p epochs=many is no whole number"):
        params.get("epochs", 3)


def test_they_read_like_a_mapping():
    params = Parameters({"epochs": 3, "lr": 0.1})
    assert dict(params) == {"epochs": 3, "lr": 0.1}
    assert repr(params) == "epochs=3, lr=0.1"
    assert not hasattr(params, "_repr_html_")
