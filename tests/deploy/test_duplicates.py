"""A name that stands twice is found wherever it stands, and nothing else is taken for one."""

import json

import pytest

from aiinfra_lab.deploy.server.duplicates import repeated_name


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b'{"rows":[{"a":1,"a":2}]}', "a"),
        (b'{"rows":[{"a":1},{"b":1,"a":2,"b":1}]}', "b"),
        (b'{"rows":[],"key":1,"rows":[]}', "rows"),
        (b'{"rows":[{"a":1,"\\u0061":2}]}', "a"),
        (b'{"rows":[{"a":{"deep":1,"deep":2}}]}', "deep"),
        (b'{"rows":[{"a":":::","b":1,"b":1}]}', "b"),
        (b'{"rows":[{"a":"\\":\\"","a":1}]}', "a"),
        (b'[{"a":1,"a":1}]', "a"),
        (b'{"":1,"":2}', ""),
    ],
)
def test_a_repeated_name_is_found(body, name):
    assert repeated_name(body) == name


@pytest.mark.parametrize(
    "body",
    [
        {"rows": [{"a": 1, "b": "12:30:00"}], "key": "x:y"},
        {"rows": [{"a": '":"', "b": "\\"}, {"a": None}]},
        {"rows": [{"a": [[1.0], [2.0]]}]},
        {"rows": [{"a": {"b": {"a": 1}}}]},
        [{"a": 1}, {"a": 1}],
        {"rows": {"a": 1}}, "a:b", None, 3,
    ],
)  # fmt: skip
def test_what_stands_once_is_no_finding(body):
    assert repeated_name(json.dumps(body).encode()) is None


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"a":NaN,"a":1}', b'{"\xff":1,"\xff":1}', b"[" * 200_000, b'{"a":' * 9999]
)
def test_what_is_no_json_is_left_to_the_reader(body):
    assert repeated_name(body) is None
