import json
import re
import time
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path

import pytest

from aiinfra_lab.show import (
    Band,
    Card,
    Code,
    Comparison,
    Dim,
    Figure,
    Fold,
    Listed,
    Listing,
    LiveFrame,
    Meter,
    NotebookName,
    Number,
    Plots,
    Progress,
    Quote,
    Result,
    RowHeader,
    Strong,
    Table,
    drawing,
    html,
    in_notebook,
    label,
    log_time,
    mark_of,
    moment,
    sentence,
    shown,
    shown_apart,
)  # fmt: skip

# What JupyterLab's sanitizer keeps in a notebook that is not trusted (measured on 4.6.6).
TAGS = {
    "section", "p", "strong", "span", "table", "tbody", "thead", "tfoot", "tr", "th", "td", "img", "details", "summary",
    "pre", "code", "b", "i", "small", "div", "ul", "li", "a", "progress", "meter",
}  # fmt: skip
ATTRIBUTES = {"class", "title", "alt", "src", "scope", "align", "href", "value", "max", "high"}


def card(title: str) -> Card:
    return Card(kind="", uri=title)


@dataclass(frozen=True)
class Session(Result):
    uri: str
    state: str
    deadline_s: float
    spent_usd: float
    note: str | None = None


CURVE = drawing.curves("loss", {"train": [(0, 1.0), (1, 0.5)]}, alt="loss falls <fast>")
HALF = Meter(1, 2, "half", high=1)
FULL = Card(
    kind="Thing",
    uri="a <b>",
    state=mark_of("running"),
    when="as of 14:02",
    lead="**3 of 12** drifted, see `%drift ls` & https://example.org/a.",
    advice="mend it",
    progress=Progress(1, 4, "epoch **1** of 4"),
    facts=[("where", "<here>")],
    figures=[Figure("p95", "38", "ms")],
    parts=[
        Band(drawing.split([("champion", 0.9), ("canary", 0.1)], alt="90 % champion"), "Split"),
        Table(
            ("x", Number("y"), "bar", "state"),
            [(NotebookName("1"), "&", HALF, (mark_of("failed"), Strong("bad"), Dim("old"), Code("%x")))] * 40,
            total=("all", "40", "", ""),
        ),
        Plots([CURVE], "Curves"),
        Quote("a  b\n  <c>", "Ask it"),
        Fold("more", Listed(["p", "q"])),
        Fold("rows", Table(("z",), [("1",)]), is_open=True),
    ],
    notes=["note one", "note two"],
    next=["Next: `%gpu ls`"],
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
    html = FULL.html()
    assert ("a &lt;b&gt;" in html, "&lt;here&gt;" in html, "falls &lt;fast&gt;" in html) == (True, True, True)


def test_a_long_table_is_cut_and_says_so():
    assert FULL.html().count("<tr>") == 1 + 20 + 1 + 2 + 2
    assert "… and 20 more" in FULL.text()


def test_text_has_the_same_facts_in_the_same_order():
    alts = re.sub(r"<img alt=\"([^\"]*)\"[^>]*>", r" \1 ", FULL.html())
    inline = re.sub(r"</?(a|b|code)\b[^>]*>", "", alts)
    words = unescape(re.sub(r"<[^>]+>", " ", inline))
    text = re.sub("[█░`]", "", FULL.text())
    assert only_words(text) == only_words(words)


def only_words(text: str) -> list[str]:
    """Without what parts them."""
    return re.sub("[:·]", " ", text).split()


def test_two_wide_columns_share_the_room():
    rows = [("a", "it cannot be reached " * 4, "write an address of it there " * 8)]
    lines = Card(kind="", uri="x", parts=[Table(("name", "why", "do"), rows)]).text().splitlines()
    at = [next(line for line in lines if "why" in line).index(word) for word in ("why", "do")]
    assert abs((at[1] - at[0]) - (100 - at[1])) < 12


def test_text_fits_a_terminal_of_100_columns():
    words = "several words that go on " * 20
    table = Table(("name", Number("n"), "why", "do"), [("a-name-without-a-space", "1", words, words)] * 3)
    wide = Card(kind="", uri="x", lead=words, facts=[("a", words)], parts=[table, Fold("f", Listed([words]))])
    assert max(map(len, wide.text().splitlines())) <= 100
    assert wide.text().count("a-name-without-a-space") == 3


def test_numbers_stand_right_below_each_other():
    text = Card(kind="", uri="x", parts=[Table(("a", Number("n"), "b"), [("x", "1", "y"), ("x", "1,000", "y")])]).text()
    assert [line.index("y") for line in text.splitlines()[2:]] == [12, 12]
    assert "      1  y" in text


def test_a_sentence_has_code_bold_words_and_links_and_nothing_else():
    link = '<a href="https://example.org/?a=1&amp;b=2">https://example.org/?a=1&amp;b=2</a>'
    shown = html.sentence("**a** `<b>` <c> https://example.org/?a=1&b=2. **")
    assert shown == f"<b>a</b> <code>&lt;b&gt;</code> &lt;c&gt; {link}. **"


@pytest.mark.parametrize(
    ("text", "shown"),
    [("it ended", "It ended."), ("did you mean b?", "Did you mean b?"), ("write `b`", "Write `b`"), ("Yes.", "Yes.")],
)
def test_a_sentence_has_one_mark_at_its_end(text, shown):
    assert sentence(text) == shown


def test_an_ordinary_result_is_small():
    rows = [("models:delay@7", "2026-01-01 12:00:00", "champion", "0.767")] * 20
    table = Table((RowHeader("name"), "made", Number("auc"), "alias"), [(a, b, d, c) for a, b, c, d in rows])
    assert len(Card(kind="", uri="models", parts=[table]).html()) < 5_000


def test_an_empty_listing_says_what_to_do():
    assert "Put one there" in Listing("x", (), ("uri",), "put one there").card().text()


def test_values_are_shown_with_their_units():
    assert (shown("a_s", 0.5), shown("b_usd", 0.002), shown("c_share", 0.051)) == ("500 ms", "0.0020 USD", "5.1 %")
    assert (shown("d", True), shown("e", None), shown("f", 12345)) == ("yes", "–", "12,345")


def test_a_frame_ends_with_its_last_card_or_is_taken_away():
    class Handle:
        def update(self, bundle, raw):
            self.shown = bundle

    frame = LiveFrame(card("first"))  # outside a notebook it has nothing to draw on
    frame._handle = handle = Handle()
    frame.close(card("last"))
    assert handle.shown["text/plain"] == "last"
    frame.clear()
    assert handle.shown == {"text/plain": ""}


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("x_bytes", 1536, "1.5 KiB"),
        ("x_gib", 16, "16 GiB"),
        ("x_usd", 0, "0.00 USD"),
        ("x_at", 1e30, "–"),
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
    assert "Nothing differs." in same.card().text()
    assert other.card().text().splitlines()[2].split() == ["rows", "1", "2"]
    assert "+ new" in other.card().text()


def test_a_listing_is_a_sequence_of_its_items():
    items = tuple(Session(f"gpu:{name}", "running", 1.0, 0.0) for name in "ab")
    listing = Listing("gpu", items, ("uri", "state"))
    assert (len(listing), listing[0], [item.uri for item in listing]) == (2, items[0], ["gpu:a", "gpu:b"])
    assert repr(listing) == listing.card().text()


def test_a_frame_that_comes_too_soon_is_left_out(monkeypatch):
    drawn: list[str] = []
    frame = LiveFrame(card("first"))
    frame._handle = type("Handle", (), {"update": lambda self, bundle, raw: drawn.append(bundle["text/plain"])})()
    frame.update(card("too soon"))
    monkeypatch.setattr(LiveFrame, "MIN_S", 0.0)
    frame.update(card("second"))
    assert drawn == ["second"]


def test_a_test_runs_outside_a_notebook():
    assert not in_notebook()


def test_a_list_shows_a_state_with_its_reason_and_what_lives_on_as_living():
    @dataclass(frozen=True)
    class Item:
        uri: str
        state: str

    items = (Item("gpu:a", "running"), Item("train:b@1", "running"), Item("gpu:c", "ended (budget)"))
    rows = Listing("lab:things", items, ("uri", "state")).card().parts[0].rows
    assert [str(row[1]) for row in rows[:2]] == ["● running", "◐ running"]
    assert rows[2][1] == (mark_of("ended"), "(budget)")


@dataclass(frozen=True)
class Measured(Result):
    uri: str
    metrics: dict[str, float]
    made_at: float = 0.0


def test_a_list_has_a_column_for_each_metric_that_there_is_room_for():
    items = (Measured("train:a@2", {"auc": 0.71, "loss": 0.5}), Measured("train:a@1", {"loss": 0.6}))
    table = Listing("train", items, ("uri", "metrics", "made_at")).card().parts[0]
    assert [*table.titles] == ["name", "loss", "auc", "made"]
    assert [[*row[1:3]] for row in table.rows] == [["0.5", "0.71"], ["0.6", "–"]]
    assert all(isinstance(title, Number) for title in table.titles[1:3])


def test_metrics_that_there_is_no_room_for_share_one_column():
    metrics = {f"a_metric_of_name_{number}": 0.5 for number in range(4)}
    table = Listing("train", (Measured("train:a@1", metrics),), ("uri", "metrics")).card().parts[0]
    assert [*table.titles] == ["name", "a_metric_of_name_0", "a_metric_of_name_1", "more metrics"]
    assert table.rows[0][3] == "2 more"


def test_a_list_that_is_cut_says_where_all_of_it_is():
    items = tuple(Measured(f"train:a@{number}", {"loss": 0.5}) for number in range(21))
    long = Listing("train", items, ("uri", "metrics"))
    assert "`.df()` of this result has all of them" in long.card().text()
    assert [*long.df()["uri"]] == [item.uri for item in items]
    assert "`.df()`" not in Listing("train", items[:20], ("uri", "metrics")).card().text()


def test_a_list_says_what_it_lists_and_how_many():
    items = (Measured("train:a@1", {}),)
    everything = Listing("train", items, ("uri",), title="Training runs").card()
    of_one = Listing("train", items, ("uri",), title="Training runs", of="train:a").card()
    assert everything.text().splitlines()[0] == "Training runs  1 in all"
    assert of_one.text().splitlines()[0] == "Training runs train:a  1 in all"


def test_a_moment_of_today_has_no_date():
    assert re.fullmatch(r"\d\d:\d\d", moment(time.time()))
    assert re.fullmatch(r"1970-01-0\d \d\d:\d\d", moment(86400.0))


def test_a_name_that_may_be_cut_is_whole_on_hovering():
    table = Table(("name", "x"), [("short", "1"), ("a-name-that-is-longer-than-its-column", "2")])
    html = Card(kind="", uri="x", parts=[table]).html()
    assert html.count('title="a-name-that-is-longer-than-its-column"') == html.count("title=") == 1


def test_a_moment_of_today_has_no_date_and_another_one_has() -> None:
    today, earlier = time.time(), time.time() - 400 * 86400
    assert re.fullmatch(r"\d\d:\d\d", moment(today))
    assert shown("ended_at", today) == moment(today)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", moment(earlier))
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", log_time(today))


def test_a_label_however_long_leaves_room_for_its_value():
    text = Card(kind="Run", uri="train:a@1", facts=[("a" * 120, "0.5 and more")]).text()
    assert "0.5" in text
