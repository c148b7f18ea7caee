"""The redactor: every form of a value, however the text is cut into pieces, and nothing else."""

import base64
import html
import itertools
import json
import time
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiinfra_lab.secrets import RedactedStream, Redactor, is_secret, is_secret_variable

from .conftest import VALUE

ODD = "p w'd\"é<&>/+\\=" + "9"
SHOWN = "[secret API_KEY]"
FORMS = {
    "as it is": str,
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
    "base64 for URLs": lambda value: base64.urlsafe_b64encode(value.encode()).decode(),
    "in a header": lambda value: base64.b64encode(f"user:{value}".encode()).decode(),
    "in the middle of base64": lambda value: base64.b64encode(f"ab{value}yz!".encode()).decode(),
    "hexadecimal": lambda value: value.encode().hex(),
    "HEXADECIMAL": lambda value: value.encode().hex().upper(),
    "URL": quote,
    "URL without slashes": lambda value: quote(value, safe=""),
    "a form": quote_plus,
    "JSON": json.dumps,
    "JSON with letters": lambda value: json.dumps(value, ensure_ascii=False),
    "repr": repr,
    "repr of bytes": lambda value: repr(value.encode()),
    "HTML": html.escape,
}


@pytest.fixture
def redactor():
    return Redactor([("API_KEY", VALUE), ("ODD", ODD)])


@pytest.mark.parametrize("value", [VALUE, ODD], ids=["plain", "odd"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_each_form_of_a_value_goes(redactor, form, value):
    name = "API_KEY" if value == VALUE else "ODD"
    text = f"before {form(value)} behind"
    cleaned = redactor.clean(text)
    assert f"[secret {name}]" in cleaned
    assert cleaned.startswith("before ")
    assert cleaned.endswith(" behind")
    assert form(value).strip("'\"") not in cleaned


@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
@pytest.mark.parametrize("behind", ["", "y", "yz"])
def test_base64_leaves_only_what_is_beside_the_value(redactor, before, behind):
    text = base64.b64encode((before + VALUE + behind).encode()).decode()
    left = redactor.clean(text).replace(SHOWN, "").rstrip("=")
    assert len(left) <= -(-8 * len(before) // 6) + -(-8 * len(behind) // 6)


@pytest.mark.parametrize("text", ["", "nothing", "hf_", VALUE[:-1], "https://host/path", "a@b.c", "s3://a:b@c"])
def test_what_holds_none_is_the_same_object(redactor, text):
    assert redactor.clean(text) is text


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("postgres://ann:hunter22@db/flights", "postgres://ann:[secret in a URL]@db/flights"),
        (f"https://ann:{VALUE}@db", f"https://ann:{SHOWN}@db"),
        ("https://ann:${PASSWORD}@db", "https://ann:${PASSWORD}@db"),
        ("https://ann:***@db", "https://ann:***@db"),
        ("https://host:8080/a@b", "https://host:8080/a@b"),
    ],
)
def test_the_password_in_a_url_goes_whosoever_it_is(redactor, text, cleaned):
    assert redactor.clean(text) == cleaned


def test_a_key_of_many_lines_goes_line_by_line():
    lines = [f"{at}" * 3 + VALUE * 3 for at in range(3)]
    redactor = Redactor([("KEY", "-----BEGIN KEY-----\n" + "\n".join(lines))])
    assert redactor.clean(f"log: {lines[1]}\nlog: {lines[2]}") == "log: [secret KEY]\nlog: [secret KEY]"


def test_of_two_that_overlap_no_part_is_left():
    redactor = Redactor([("A", "abcdef12"), ("B", "ef12ghij")])
    assert redactor.clean("x abcdef12ghij y") == "x [secret A] y"


def test_values_of_any_shape(redactor):
    found = redactor.clean_value({"a": [VALUE, 1, None], VALUE: (True, f"x{VALUE}")})
    assert found == {"a": [SHOWN, 1, None], SHOWN: (True, f"x{SHOWN}")}


def test_cleaned_twice_is_cleaned_once(redactor):
    once = redactor.clean(f"{VALUE} {ODD}")
    assert redactor.clean(once) is once


texts = st.lists(st.sampled_from([VALUE, ODD, VALUE[:5], VALUE[3:], ODD[:1], " ", "\n", "zq", "text"]), max_size=12)


@given(parts=texts, cuts=st.lists(st.integers(0, 120), max_size=12))
def test_however_a_stream_is_cut_it_is_what_the_whole_is(parts, cuts):
    redactor = Redactor([("API_KEY", VALUE), ("ODD", ODD)])
    text = "".join(parts)
    places = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    stream = RedactedStream(redactor)
    shown = [stream.feed(text[start:end]) for start, end in itertools.pairwise(places)]
    assert "".join([*shown, stream.flush()]) == redactor.clean(text)


@given(
    value=st.text(min_size=6, max_size=40) | st.text("\ud800\udc80ab1", min_size=6),
    before=st.text(max_size=5),
    behind=st.text(max_size=5),
)
def test_no_value_is_left_whatever_it_is(value, before, behind):
    if is_secret(value) and value not in "[secret X]":
        assert value not in Redactor([("X", value)]).clean(before + value + behind).replace("[secret X]", "\0")


def test_a_stream_holds_back_no_more_than_may_be_a_beginning(redactor):
    stream = RedactedStream(redactor)
    assert stream.feed("a line\n") == "a line\n"
    assert stream.feed(f"key: {VALUE[:4]}") == "key: "
    assert stream.feed(f"{VALUE[4:]}!") == f"{SHOWN}!"
    assert stream.flush() == ""


def test_a_stream_of_secrets_alone_is_not_kept_for_ever():
    stream = RedactedStream(Redactor([("A", "abcabcabc")]))
    shown = [stream.feed("abcabc") for _ in range(1000)]
    assert sum(map(len, shown)) > 0
    assert "abcabcabc" not in "".join(shown)


@pytest.mark.parametrize(
    "value",
    [
        "short",
        "123456",
        "2026-11-28",
        "111111111111",
        "disabled",
        "PASSWORD",
        "ALERT_URL",
        "/usr/lib/key.pem",
        "~/.ssh/id",
    ],
)
def test_what_stands_in_texts_by_chance_is_left(value):
    assert not is_secret(value)


@pytest.mark.parametrize("value", ["swordfish", "1234567890", "/k3y/9f+aZq==", '{"type": "account"}', "hunter2"])
def test_what_is_no_word_of_every_text_goes(value):
    assert is_secret(value)


@pytest.mark.parametrize(
    "name",
    ["API_KEY", "MY_API_KEY", "HF_TOKEN", "DB_PASSWORD", "AWS_SECRET_ACCESS_KEY", "APP_SECRET", "CREDENTIALS", "KEYS",
     "OPENAI_API_KEY_2", "TOKEN_PROD", "SLACK_WEBHOOK_URL", "github_pat", "DBPASS_PWD"],
)  # fmt: skip
def test_a_secret_variable(name):
    assert is_secret_variable(name)


@pytest.mark.parametrize(
    "name",
    [
        "PATH",
        "PWD",
        "OLDPWD",
        "MAX_TOKENS",
        "KEYBOARD",
        "TOKENIZERS_PARALLELISM",
        "SSH_AUTH_SOCK",
        "TOKEN_FILE",
        "MONEY",
    ],
)
def test_another_variable(name):
    assert not is_secret_variable(name)


@pytest.mark.parametrize("line", ["x", "://", "://aaaaaaaa", "zq7", f"{VALUE} ", "a:b@c "])
def test_its_cost_grows_with_the_text_alone(redactor, line):
    def took_s(size: int) -> float:
        text = line * (size // len(line))
        began = time.process_time()
        redactor.clean(text)
        return time.process_time() - began

    assert took_s(2_000_000) < 20 * took_s(400_000) + 0.5
