"""What a cell prints as one output, whatever pieces it came in."""

import pytest
from nbformat.v4 import new_output

from aiinfra_lab.recipe.engine.streams import StreamJoiner, overwritten


def shown(*messages) -> list[tuple[str, str]]:
    """The outputs after these: (stream, text), "clear", or anything else for something that is displayed."""
    joiner, outputs = StreamJoiner(), []
    for message in messages:
        if message == "clear":
            outputs.clear()
        elif isinstance(message, tuple):
            outputs.append(new_output("stream", name=message[0], text=message[1]))
        else:
            outputs.append(new_output("display_data", data={"text/plain": message}))
        joiner.take(outputs)
    joiner.flush()
    return [(one.get("name", "display"), one.get("text") or one.data["text/plain"]) for one in outputs]


@pytest.mark.parametrize(
    ("messages", "found"),
    [
        ([("stdout", "a"), ("stdout", "b")], [("stdout", "ab")]),
        ([("stdout", "a"), ("stderr", "b"), ("stdout", "c")], [("stdout", "a"), ("stderr", "b"), ("stdout", "c")]),
        (
            [("stdout", "a"), "x", ("stdout", "b"), ("stdout", "c")],
            [("stdout", "a"), ("display", "x"), ("stdout", "bc")],
        ),
        ([("stdout", "a"), ("stdout", "b"), "clear", ("stdout", "c")], [("stdout", "c")]),
        ([("stdout", "a"), "clear", "x"], [("display", "x")]),
        (
            [("stderr", "0%"), ("stderr", "\r50%"), ("stderr", "\r100%\n"), ("stderr", "done")],
            [("stderr", "100%\ndone")],
        ),
        (["x", "y"], [("display", "x"), ("display", "y")]),
    ],
)
def test_what_follows_each_other_on_one_stream_is_one_output(messages, found):
    assert shown(*messages) == found


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", "a\nb"),
        ("a\rb", "b"),
        ("a\r", "a\r"),
        ("a\r\nb", "a\nb"),
        ("x\n1\r2\r3\ny", "x\n3\ny"),
        ("a\rb\r", "b\r"),
        ("\r", "\r"),
    ],
)
def test_a_carriage_return_overwrites(text, shown):
    assert overwritten(text) == shown
    assert overwritten(overwritten(text)) == shown


def test_a_bar_that_is_drawn_again_is_short_however_often_that_was():
    pieces = [("stderr", f"\r{n:3}%") for n in range(100)]
    assert shown(*pieces) == [("stderr", " 99%")]
