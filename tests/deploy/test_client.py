"""What goes wrong on the way to an endpoint is an error of ours, with a fix."""

import math

import numpy as np
import pandas as pd
import pytest

from aiinfra_lab.deploy import client
from aiinfra_lab.errors import Failed, Unavailable, UsageProblem

from . import serving
from .conftest import ROW


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_number_that_json_does_not_have_is_refused_before_it_is_sent(value):
    with pytest.raises(UsageProblem) as problem:
        client.ask("http://127.0.0.1:9", "/predict", {"rows": [{"temp": value}]})
    assert "None" in problem.value.fix


@pytest.mark.parametrize(
    "row", [{"when": pd.Timestamp("2020")}, {"data": b"x"}, {"n": np.int64(1)}, {("a", "b"): 1.0}], ids=range(4)
)
def test_a_value_that_json_does_not_have_is_refused_before_it_is_sent(row):
    with pytest.raises(UsageProblem, match="a row cannot be sent") as problem:
        client.predict("http://127.0.0.1:9", [ROW, row])
    assert "`str`" in problem.value.fix


@pytest.mark.parametrize("url", ["", "ftp://127.0.0.1", "http://127.0.0.1:1"])
def test_an_address_where_nothing_answers_is_unavailable(url):
    with pytest.raises(Unavailable) as problem:
        client.ask(url, "/readyz")
    assert "%deploy show" in problem.value.fix


@pytest.mark.parametrize("max_body", [600, 20_000])
def test_rows_are_split_by_what_the_endpoint_takes(tmp_path, artifacts, max_body):
    rows = [{**ROW, "temp": float(at), "row_id": str(at)} for at in range(500)]
    with serving.endpoint(tmp_path / "log", artifacts("plain"), max_body=max_body) as small:
        found = client.predict("http://{}:{}".format(*small.address), rows, "k")
        answers = small.server.answers
    assert [row["row_id"] for row in found] == [row["row_id"] for row in rows]
    assert answers[200] >= 500 * 60 / max_body
    assert answers[413] < 20


def test_a_row_that_is_too_long_alone_is_refused_with_what_helps(tmp_path, artifacts):
    small = serving.endpoint(tmp_path / "log", artifacts("plain"), max_body=600)
    with small as there, pytest.raises(Failed, match="at most 600 bytes") as problem:
        client.predict("http://{}:{}".format(*there.address), [ROW, {**ROW, "carrier": "A" * 700}])
    assert "deploy.body_mib" in problem.value.fix
