"""Pictures, drawn to pixels by a real browser: what they show is there, in colours that can be seen on both themes."""

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any

import pytest

from aiinfra_lab.show import drawing
from aiinfra_lab.show.drawing import BLUE, GREY, ORANGE, RED, Picture

CURVE = drawing.curves(
    "loss ↓",
    {"train": [(x, 1 / (x + 1)) for x in range(20)], "validation": [(x, 0.5 + 0.01 * abs(x - 9)) for x in range(20)]},
    alt="a",
    best=(9, 0.5),
    at_best="0.5 at epoch 9",
    x_end=20,
)
PICTURES = {
    "curves": CURVE,
    "long curves": drawing.curves("x", {str(at): [(x, x % 97) for x in range(10_000)] for at in range(4)}, alt="a"),
    "numbers": drawing.numbers([1, 2, 3, 2, 1], [0, 1, 2, 3, 4], alt="a"),
    "one column": drawing.numbers([1, 2, 3, 2, 1], alt="a"),
    "categories": drawing.categories([0.5, 0.3, 0.2], [0.2, 0.3, 0.5], alt="a"),
    "many categories": drawing.categories([0.1] * 40, [0.1] * 40, alt="a"),
    "interval": drawing.interval(-0.034, -0.021, -0.008, within=(-0.04, 0.04), limit=-0.01, colour=RED, alt="a"),
    "spark": drawing.spark([1, 2, float("nan"), 3], alt="a", limit=5),
    "split": drawing.split([("champion", 0.9), ("canary", 0.1)], alt="a"),
    "days": drawing.days([1, 2, 0, 4], {0: "1 Sep", 3: "4 Sep"}, alt="a", limit=3),
}
EMPTY = {
    "curves": drawing.curves("x", {}, alt="a"),
    "one point": drawing.curves("x", {"a": [(0, 0.0)]}, alt="a"),
    "constant": drawing.curves("x", {"a": [(0, 5.0), (1, 5.0)]}, alt="a"),
    "not finite": drawing.curves("x", {"a": [(0, float("nan")), (1, float("inf"))]}, alt="a"),
    "numbers": drawing.numbers([], [], alt="a"),
    "zeros": drawing.numbers([0, 0], [0, 0], alt="a"),
    "categories": drawing.categories([], [], alt="a"),
    "spark": drawing.spark([], alt="a"),
    "days": drawing.days([], {}, alt="a"),
}


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    """An empty page of a browser."""
    sync_api = pytest.importorskip("playwright.sync_api")
    from tests.browser.lab import FLAGS, chromium

    if chromium() is None:
        pytest.skip("there is no Chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield browser.new_page(viewport={"width": 900, "height": 400})
        browser.close()


def pixels(page: Any, picture: Picture, background: str = "#fff") -> set[str]:
    """The colours that are seen where the picture is, each of at least three pixels."""
    from PIL import Image

    page.set_content(f'<body style="margin:0;background:{background}"><img src="{picture.url}"></body>')
    page.wait_for_function("() => document.querySelector('img').complete")
    shot = Image.open(io.BytesIO(page.locator("img").screenshot())).convert("RGB")
    return {"#{:02x}{:02x}{:02x}".format(*colour) for count, colour in shot.getcolors(1 << 20) if count >= 3}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_small_and_well_formed(name):
    assert len(PICTURES[name].svg) <= 5_000
    ET.fromstring(PICTURES[name].svg)


@pytest.mark.parametrize("name", EMPTY)
def test_what_has_nothing_to_show_is_drawn_all_the_same(page, name):
    assert "nan" not in EMPTY[name].svg.lower()
    assert EMPTY[name].svg.startswith("<svg xmlns=")
    pixels(page, EMPTY[name])


@pytest.mark.browser
@pytest.mark.parametrize("background", ["#ffffff", "#111111"])
@pytest.mark.parametrize(
    ("name", "colours"),
    [
        ("curves", {BLUE, ORANGE}),
        ("numbers", {BLUE, GREY}),
        ("one column", {BLUE}),
        ("categories", {BLUE}),
        ("interval", {RED, GREY}),
        ("spark", {BLUE}),
        ("split", {BLUE, ORANGE}),
        ("days", {BLUE, GREY}),
    ],
)
def test_what_a_picture_shows_is_seen_on_both_themes(page, name, colours, background):
    assert colours <= pixels(page, PICTURES[name], background)


def contrast(one: str, other: str) -> float:
    """The ratio of two colours as WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
        red, green, blue = (x / 12.92 if x <= 0.03928 else ((x + 0.055) / 1.055) ** 2.4 for x in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colour", [drawing.GREEN, BLUE, GREY, ORANGE, RED, drawing.TEAL, drawing.PURPLE])
def test_every_colour_can_be_seen_on_white_and_on_black(colour):
    assert min(contrast(colour, "#ffffff"), contrast(colour, "#111111")) >= 3


def test_axes_have_four_or_five_round_ticks():
    texts = re.findall(r'text-anchor="(?:end|middle)">([\d.,−]+)<', CURVE.svg)
    assert texts == ["0", "0.25", "0.5", "0.75", "1", "0", "5", "10", "15", "20"]


def test_words_never_stand_over_lines_and_are_escaped():
    svg = drawing.curves("a<b>", {"<x>": [(0, 1.0), (1, 2.0)], "y" * 40: [(0, 1.0)]}, alt="a").svg
    assert ("a&lt;b&gt;" in svg, "&lt;x&gt;" in svg, "y" * 21 + "…" in svg) == (True, True, True)


def test_a_long_line_keeps_its_peaks():
    line = [(float(x), 0.0) for x in range(5000)]
    line[777] = (777.0, 9.0)
    assert ">10<" in drawing.curves("x", {"a": line}, alt="a").svg
    assert len(re.findall(r"\d+(?:\.\d+)?,36", drawing.curves("x", {"a": line}, alt="a").svg)) <= 1


@pytest.mark.parametrize("values", [(5e-324, 0.0), (1e308, -1e308), (1e-310, 3e-310), (0.48388, 0.48389)])
def test_whatever_the_numbers_are_a_curve_is_drawn(values):
    svg = drawing.curves("loss", {"loss": list(enumerate(values))}, alt="a").svg
    assert ("nan" in svg.lower(), "inf" in svg.lower()) == (False, False)
    ET.fromstring(svg)


def test_an_axis_of_counts_begins_at_none_and_has_whole_numbers():
    for most, expected in ((1, [0, 1]), (3, [0, 1, 2, 3]), (15, [0, 5, 10, 15]), (7.0, [0, 2, 4, 6, 8]), (0, [0, 1])):
        assert drawing._counts(most) == expected
    line = {"": [(0.0, 5.0), (1.0, 15.0)]}
    assert ">12.5<" not in drawing.curves("machines", line, alt="", is_count=True).svg


def test_numbers_at_an_axis_have_the_room_that_they_take():
    svg = drawing.curves("loss", {"loss": [(0, -0.00084), (300, 0.00012)]}, alt="a", x_end=300).svg
    widest = max(len(text) for text in re.findall(r'text-anchor="end">([\d.,−e-]+)<', svg))
    left = float(re.search(r'<path d="M([\d.]+) [\d.]+H', svg)[1])
    assert left - 5 >= widest * 6


def test_a_long_title_ends_before_what_stands_at_its_right():
    svg = drawing.curves("validation_macro_f1_of_everything ↑", {"x": [(0, 1.0), (1, 2.0)]}, alt="a", best=(1, 2.0),
                         at_best="2 at epoch 1").svg  # fmt: skip
    assert "…</text>" in svg
