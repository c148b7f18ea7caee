import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from aiinfra_lab.show import (
    Card,
    Comparison,
    Listing,
    LiveFrame,
    Result,
    bar_chart,
    in_notebook,
    label,
    line_chart,
    shown,
    shown_apart,
)

# What JupyterLab's sanitizer keeps in a notebook that is not trusted (measured on 4.6.6).
TAGS = {
    "section", "p", "strong", "span", "table", "tbody", "thead", "tr", "th", "td", "img", "details", "summary", "pre",
}  # fmt: skip
ATTRIBUTES = {"class", "title", "alt", "src", "scope"}


@dataclass(frozen=True)
class Session(Result):
    uri: str
    state: str
    deadline_s: float
    spent_usd: float
    note: str | None = None


FULL = Card(
    "a <b>",
    "running",
    facts=[("where", "<here>")],
    header=("x", "y"),
    rows=[("1", "&")] * 40,
    notes=["note"],
    picture=line_chart({"loss": [(0, 1.0), (1, 0.5)]}),
    picture_alt="loss falls",
    details=[("log", "text")],
)


@pytest.mark.parametrize(
    ("name", "before", "after", "texts"),
    [
        ("metric auc", 0.76471, 0.76472, ("0.76471", "0.76472")),
        ("metric auc", 0.5, 0.75, ("0.5", "0.75")),
        ("seed", 1, None, ("1", "–")),
        ("time_s", 120.2, 120.4, ("120.2", "120.4")),
    ],
)
def test_two_values_that_differ_do_not_read_alike(name, before, after, texts):
    assert shown_apart(name, before, after) == texts


def test_a_result_is_its_uri_and_shows_units():
    session = Session("gpu:a", "running", 90.0, 0.5)
    assert str(session) == f"{session}" == "gpu:a"
    assert "deadline  1 min 30 s" in session.card().text()
    assert "spent     0.50 USD" in session.card().text()


def test_both_forms_are_always_there():
    assert set(Session("gpu:a", "running", 1, 0)._repr_mimebundle_()) == {"text/plain", "text/html"}


def test_html_holds_only_what_an_untrusted_notebook_keeps():
    html = FULL.html()
    assert set(re.findall(r"<(\w+)", html)) <= TAGS
    assert set(re.findall(r' (\w[\w-]*)="', html)) <= ATTRIBUTES


def test_text_from_outside_is_escaped():
    assert "<b>" not in FULL.html()
    assert "&lt;here&gt;" in FULL.html()


def test_a_long_table_is_cut_and_says_so():
    assert FULL.html().count("<tr>") == 1 + 1 + 20
    assert "… and 20 more" in FULL.text()


def test_an_ordinary_result_is_small():
    rows = [("models:delay@7", "2026-01-01 12:00:00", "champion", "0.767")] * 20
    assert len(Card("models", header=("uri", "made", "alias", "auc"), rows=rows).html()) < 5_000


@pytest.mark.parametrize(
    "draw", [lambda: line_chart({"a": [(i, i % 7) for i in range(5000)]}), lambda: bar_chart([("x", 1.0)] * 50)]
)
def test_a_picture_is_small_and_is_an_image(draw):
    assert draw().startswith("<svg xmlns=")
    assert len(draw()) < 12_000


def test_a_chart_of_one_point_or_of_none_can_be_drawn():
    assert line_chart({"a": [(0, 0.0)]}).startswith("<svg")
    assert line_chart({}) == bar_chart([]) == ""


def test_an_empty_listing_says_what_to_do():
    assert "put one there" in Listing("x", (), ("uri",), "put one there").card().text()


def test_values_are_shown_with_their_units():
    assert (shown("a_s", 0.5), shown("b_usd", 0.002), shown("c_share", 0.051)) == ("500 ms", "0.0020 USD", "5.1 %")
    assert (shown("d", True), shown("e", None), shown("f", 12345)) == ("yes", "–", "12,345")


def test_a_frame_ends_with_its_last_card_or_is_taken_away():
    class Handle:
        def update(self, bundle, raw):
            self.shown = bundle

    frame = LiveFrame(Card("first"))  # outside a notebook it has nothing to draw on
    frame._handle = handle = Handle()
    frame.close(Card("last"))
    assert handle.shown["text/plain"] == "last"
    frame.clear()
    assert handle.shown == {"text/plain": ""}


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("x_bytes", 1536, "1.5 KiB"),
        ("x_gib", 16, "16 GiB"),
        ("x_usd", 0, "0.00 USD"),
        ("x_at", 1e30, "1e+30"),
        ("x", 0.123456, "0.1235"),
        ("x", "", "–"),
        ("x", ("a", 1), "a, 1"),
        ("x", {"rate_s": 2.0}, "rate_s=2.0 s"),
        ("x_s", "soon", "soon"),
    ],
)
def test_every_value_has_one_way_to_be_read(name, value, words):
    assert shown(name, value) == words


@pytest.mark.parametrize(
    ("name", "text"), [("started_at", "started"), ("spent_usd", "spent"), ("for_", "for"), ("a_b", "a b")]
)
def test_a_label_leaves_the_unit_to_the_value(name, text):
    assert label(name) == text


@dataclass(frozen=True)
class Nested(Result):
    uri: str
    path: Path
    inner: tuple[Session, ...]
    table: dict[int, object]
    hidden: str = field(default="", metadata={"json": False})


def test_a_result_as_json_is_plain_down_to_the_last_value():
    nested = Nested("x:a", Path("/tmp/x"), (Session("gpu:a", "running", 1.0, 0.0),), {1: (2, None)}, "secret")
    found = nested.as_json()
    assert json.loads(json.dumps(found)) == found
    assert (found["path"], found["inner"][0]["uri"], found["table"]) == ("/tmp/x", "gpu:a", {"1": [2, None]})
    assert "hidden" not in found


def test_a_comparison_shows_what_differs_or_that_nothing_does():
    same = Comparison("a:x@2", "a:x@1", ())
    other = Comparison("a:x@2", "a:x@1", (("rows", "1", "2"),), code="- old\n+ new")
    assert "nothing differs" in same.card().text()
    assert other.card().text().splitlines()[2].split() == ["rows", "1", "2"]
    assert "+ new" in other.card().text()


def test_a_listing_is_a_sequence_of_its_items():
    items = tuple(Session(f"gpu:{name}", "running", 1.0, 0.0) for name in "ab")
    listing = Listing("gpu", items, ("uri", "state"))
    assert (len(listing), listing[0], [item.uri for item in listing]) == (2, items[0], ["gpu:a", "gpu:b"])
    assert repr(listing) == listing.card().text()


def test_a_frame_that_comes_too_soon_is_left_out(monkeypatch):
    drawn: list[str] = []
    frame = LiveFrame(Card("first"))
    frame._handle = type("Handle", (), {"update": lambda self, bundle, raw: drawn.append(bundle["text/plain"])})()
    frame.update(Card("too soon"))
    monkeypatch.setattr(LiveFrame, "MIN_S", 0.0)
    frame.update(Card("second"))
    assert drawn == ["second"]


def test_a_test_runs_outside_a_notebook():
    assert not in_notebook()


def test_two_lines_of_a_chart_have_two_colours_and_their_names():
    svg = line_chart({"loss": [(0, 1.0), (1, 0.5)], "val<loss>": [(0, 2.0), (1, 1.5)]}, x="epochs", y="nats")
    assert svg.count("<polyline") == 2
    assert "val&lt;loss&gt;" in svg
    assert "epochs" in svg
    assert len(set(re.findall(r'stroke="(#\w+)" stroke-width', svg))) == 2


def test_a_bar_chart_marks_what_stands_out_and_draws_its_limit():
    svg = bar_chart([("a", 1.0), ("b", 0.2)], mark=["b"], limit=0.5)
    assert svg.count("<rect") == 2
    assert len(set(re.findall(r'height="13" fill="(#\w+)"', svg))) == 2
    assert "stroke-dasharray" in svg
    assert "stroke-dasharray" not in bar_chart([("a", 0.1)])


def test_a_limit_beyond_every_bar_is_drawn_and_no_bar_reaches_it():
    svg = bar_chart([("a", 0.1), ("b", 0.4)], limit=0.5)
    line = float(re.search(r'd="M([\d.]+) 0V', svg)[1])
    assert max(150 + float(long) for long in re.findall(r'width="([\d.]+)" height="13"', svg)) < line


def test_bars_may_have_texts_in_the_place_of_their_values():
    svg = bar_chart([("a", 0.1), ("b", 0.4)], texts=["3 % of <rows>", "–"])
    assert ("3 % of &lt;rows&gt;" in svg, ">0.4<" in svg) == (True, False)
