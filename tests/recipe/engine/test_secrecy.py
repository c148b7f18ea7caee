"""Messages of a kernel without secrets: what is held back, and when it comes."""

import pytest

from aiinfra_lab.recipe.engine.secrecy import CleanMessages
from aiinfra_lab.secrets import Redactor

VALUE = "zq" + "7Kx-93hLp"
SHOWN = "[secret MY_TOKEN]"


def stream(text: str, name: str = "stdout") -> dict:
    return {"msg_type": "stream", "content": {"name": name, "text": text}}


def other(kind: str, **content: object) -> dict:
    return {"msg_type": kind, "content": content}


@pytest.fixture
def cleaned():
    """`cleaned(*MESSAGES)`: what comes of them, each as its kind with its text or its content."""
    messages = CleanMessages(Redactor([("MY_TOKEN", VALUE)]))

    def clean(*given: dict) -> list[tuple[str, object]]:
        found = [each for message in given for each in messages.clean(message)]
        found += messages.flush()
        return [(each["msg_type"], each["content"].get("text", each["content"])) for each in found]

    return clean


def test_a_value_that_two_messages_share_goes(cleaned):
    assert cleaned(stream(f"a {VALUE[:4]}"), stream(f"{VALUE[4:]} b")) == [("stream", "a "), ("stream", f"{SHOWN} b")]


def test_the_other_stream_and_a_widget_do_not_part_it(cleaned):
    between = stream("x", "stderr"), other("comm_msg", comm_id="1", data={"state": {"value": VALUE}})
    found = cleaned(stream(VALUE[:4]), *between, stream(VALUE[4:]))
    assert found[-1] == ("stream", SHOWN)
    assert found[1] == ("comm_msg", {"comm_id": "1", "data": {"state": {"value": SHOWN}}})


def test_what_is_held_back_comes_before_what_stands_behind_it(cleaned):
    shown = other("display_data", data={"text/html": f"<b>{VALUE}</b>", "image/png": VALUE}, metadata={})
    found = cleaned(stream("label:"), shown)
    assert [kind for kind, _ in found] == ["stream", "stream", "display_data"]
    assert found[2][1]["data"] == {"text/html": f"<b>{SHOWN}</b>", "image/png": VALUE}


def test_an_error_loses_it_in_all_its_texts(cleaned):
    ((_, content),) = cleaned(other("error", ename="E", evalue=VALUE, traceback=["x", f"y {VALUE}"]))
    assert content == {"ename": "E", "evalue": SHOWN, "traceback": ["x", f"y {SHOWN}"]}
