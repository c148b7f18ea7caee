import re
from dataclasses import dataclass

import pytest

from aiinfra_lab.show import Card, Listing, LiveFrame, Result, bar_chart, line_chart, shown

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
