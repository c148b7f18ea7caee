"""What goes wrong on the way to an endpoint is an error of ours, with a fix."""

import math

import pytest

from aiinfra_lab.deploy import client
from aiinfra_lab.errors import Unavailable, UsageProblem


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_number_that_json_does_not_have_is_refused_before_it_is_sent(value):
    with pytest.raises(UsageProblem) as problem:
        client.ask("http://127.0.0.1:9", "/predict", {"rows": [{"temp": value}]})
    assert "None" in problem.value.fix


@pytest.mark.parametrize("url", ["", "ftp://127.0.0.1", "http://127.0.0.1:1"])
def test_an_address_where_nothing_answers_is_unavailable(url):
    with pytest.raises(Unavailable) as problem:
        client.ask(url, "/readyz")
    assert "%deploy show" in problem.value.fix
