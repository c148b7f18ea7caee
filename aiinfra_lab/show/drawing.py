"""Pictures drawn from data as SVG texts, for `<img>`: no theme reaches them.

So their colours are mid-tones with a contrast of 3:1 and more on white and on black, shapes repeat what colours say,
and everything that a picture shows stands in the card as text too. Each is at most 5 KB.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

GREY, BLUE, ORANGE, TEAL, PURPLE, GREEN, RED = (
    "#808080", "#2f7fc1", "#c8741a", "#1a9a82", "#a35bb8", "#2e9650", "#d64545",
)  # fmt: skip
_SERIES = ((BLUE, ""), (ORANGE, "6 3"), (TEAL, "2 3"), (PURPLE, "8 3 2 3"))
_MOST_POINTS = 240  # of all lines of a picture together: so it stays below 5 KB
_MOST_CATEGORIES = 7
_LEAST_SPREAD = 1e-290  # of less than that no quarter has a power of ten
_TEXT = (
    "<style>text{fill:#757575;font:11px system-ui,sans-serif}.b{font-weight:600}"
    "@media(prefers-color-scheme:dark){text{fill:#808080}}</style>"
)
_LETTER = 6.2  # the width of a letter at 11 px, a little more than the mean

Points = Sequence[tuple[float, float]]
Arm = Literal["champion", "canary", "candidate", "shadow"]


@dataclass(frozen=True, slots=True)
class Picture:
    """An SVG text, and what it shows in words."""

    svg: str
    alt: str

    @property
    def url(self) -> str:
        """As the source of an `<img>`, the only form that untrusted notebooks keep."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg.encode()).decode()


class Scale:
    """Maps a range of values to one of pixels."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        # By halves: the difference itself may be larger than any float.
        self.half_low, self.start = low / 2, start
        self.factor = (end - start) / (high / 2 - low / 2) if high / 2 > low / 2 else 0.0

    def __call__(self, value: float) -> float:
        return self.start + (value / 2 - self.half_low) * self.factor


def curves(
    title: str,
    series: Mapping[str, Points],
    *,
    alt: str,
    best: tuple[float, float] | None = None,
    at_best: str = "",
    x_title: str = "epoch",
    x_end: float | None = None,
    is_wide: bool = False,
    is_count: bool = False,
) -> Picture:
    """Lines of one metric on real axes, at most four. Non-finite points are left out.

    title: the metric, e.g. `loss ↓` where lower is better. best: the point that is marked with a star, on the last
    series that has it. at_best: what stands at the title's right, after the star. x_end: where the axis ends while
    the work goes on, so that it does not jump. is_count: the values are of whole things, and their axis begins at none.
    """
    width, height, top, bottom = (415 if is_wide else 272), 160, 36, 33
    drawn = [*series.items()][: len(_SERIES)]
    most = min(120, _MOST_POINTS // max(len(drawn), 1))
    lines = {name: _thin([point for point in line if all(map(math.isfinite, point))], most) for name, line in drawn}
    points = [point for line in lines.values() for point in line]
    if not points:
        return Picture(_svg(width, height, _text(0, 11, _cut(title, width), "b")), alt)
    x_ticks = _ticks(min(x for x, _ in points), max(x_end or -math.inf, *(x for x, _ in points)), whole=True)
    highest = max(y for _, y in points)
    y_ticks = _counts(highest) if is_count else _ticks(min(y for _, y in points), highest)
    x0, x1 = min(x_ticks[0], *(x for x, _ in points)), max(x_ticks[-1], x_end or -math.inf, *(x for x, _ in points))
    # Room for the widest number at the left, and for half of the last one at the right.
    left = max(40, round(_wide(map(_tick, y_ticks))) + 8)
    right = max(8, round(_wide([_tick(x_ticks[-1])]) / 2) + 1)
    across = Scale(x0, x1, left, width - right)
    up = Scale(y_ticks[0], y_ticks[-1], height - bottom, top)
    room = width - right - (_wide([f"★ {at_best}"]) + 8 if at_best else 0)
    made = [_TEXT, _text(0, 11, _cut(title, room), "b")]
    if at_best:
        star = f'<tspan style="fill:{_colour_of(lines, best)}">★</tspan> ' if best else ""
        made.append(f'<text class="b" x="{width - right}" y="11" text-anchor="end">{star}{_e(at_best)}</text>')
    made += _axes(x_ticks, y_ticks, across, up, (left, width - right, height - bottom), x_title)
    made += _lines(lines, across, up, left)
    if best:
        made.append(_best(across(best[0]), up(best[1]), height - bottom, _colour_of(lines, best)))
    return Picture(_svg(width, height, "".join(made)), alt)


def numbers(reference: Sequence[float], current: Sequence[float] = (), *, alt: str) -> Picture:
    """Two histograms over the same bins, as shares: the reference as a grey area, the current one as a blue line.

    With one alone it is that of a column: small, and blue.
    """
    width, height = (120, 29) if current else (84, 21)
    tallest = max([*reference, *current], default=0.0) or 1.0
    made = []
    if current:
        made.append(_steps(reference, tallest, width, height, f'fill="{GREY}" fill-opacity=".38" stroke="{GREY}"'))
        made.append(_steps(current, tallest, width, height, f'fill="none" stroke="{BLUE}" stroke-width="2"'))
    else:
        made.append(
            _steps(
                reference, tallest, width, height, f'fill="{BLUE}" fill-opacity=".18" stroke="{BLUE}" stroke-width="2"'
            )
        )
    return Picture(_svg(width, height, "".join(made) + _floor(width, height)), alt)


def categories(reference: Sequence[float], current: Sequence[float] = (), *, alt: str) -> Picture:
    """The shares of the most frequent values, seven at most: pairs of bars, the reference left; one bar each alone."""
    width, height = (120, 29) if current else (84, 21)
    sides = [reference, current] if current else [reference]
    pairs = [*zip(*sides, strict=True)][:_MOST_CATEGORIES]
    tallest = max((share for pair in pairs for share in pair), default=0.0) or 1.0
    step = width / max(len(pairs), 1)
    bar = min(14.0, (step - 2) / (2 if current else 1))
    made = []
    for at, pair in enumerate(pairs):
        for side, share in enumerate(pair):
            tall = share / tallest * (height - 3)
            colour = f'"{GREY}" fill-opacity=".6"' if current and not side else f'"{BLUE}"'
            made.append(
                f'<rect x="{_n(at * step + 1 + side * bar)}" y="{_n(height - 1 - tall)}" width="{_n(bar)}" '
                f'height="{_n(tall)}" fill={colour}/>'
            )
    return Picture(_svg(width, height, "".join(made) + _floor(width, height)), alt)


def interval(
    low: float,
    value: float,
    high: float,
    *,
    within: tuple[float, float],
    alt: str,
    limit: float | None = None,
    is_more_worse: bool = False,
    colour: str = GREY,
) -> Picture:
    """A value with its interval on an axis; what leaves the axis ends at its edge.

    within: both ends of the axis; where 0 lies inside, it is a solid line. limit: a dashed line, and red is what lies
    below it, or above where more is worse.
    """
    width, height = 150, 18
    at = Scale(*within, 0, width)
    made = []
    if limit is not None:
        edge = at(limit)
        start, end = (edge, width) if is_more_worse else (0.0, edge)
        made.append(f'<rect x="{_n(start)}" width="{_n(end - start)}" height="18" fill="{RED}" fill-opacity=".14"/>')
        made.append(f'<path d="M{_n(edge)} 0V18" stroke="{RED}" stroke-dasharray="3 2"/>')
    a, b, c = (_n(min(width - 1, max(1, at(x)))) for x in (low, value, high))
    if within[0] < 0 < within[1]:
        # In the middle of a pixel: between two, a thin line is grey on grey.
        made.append(f'<path d="M{round(at(0))}.5 0V18" stroke="{GREY}"/>')
    made.append(f'<path d="M{a} 9H{c}M{a} 5v8M{c} 5v8" stroke="{colour}" stroke-width="2"/>')
    made.append(f'<path d="M{b} 4l5 5-5 5-5-5z" fill="{colour}"/>')
    return Picture(_svg(width, height, "".join(made)), alt)


def spark(
    values: Sequence[float],
    *,
    alt: str,
    limit: float | None = None,
    colour: str = BLUE,
    width: int = 84,
    height: int = 20,
) -> Picture:
    """A small line without axes, its last value as a dot; the dashed line is a limit."""
    known = [(float(at), value) for at, value in enumerate(values) if math.isfinite(value)]
    known = [*_thin(known, 120)]
    if not known:
        return Picture(_svg(width, height, ""), alt)
    top = max(value for _, value in [*known, (0.0, limit if limit is not None else -math.inf)])
    low = min(value for _, value in [*known, (0.0, limit if limit is not None else math.inf)])
    across, up = Scale(0, max(len(values) - 1, 1), 0, width - 5), Scale(low, top, height - 3, 3)
    made = (
        [f'<path d="M0 {_n(up(limit))}H{width}" stroke="{RED}" stroke-dasharray="3 2"/>'] if limit is not None else []
    )
    path = " ".join(f"{_n(across(x))},{_n(up(y))}" for x, y in known)
    made.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    made.append(f'<circle cx="{_n(across(known[-1][0]))}" cy="{_n(up(known[-1][1]))}" r="2.2" fill="{colour}"/>')
    return Picture(_svg(width, height, "".join(made)), alt)


def split(shares: Sequence[tuple[Arm, float]], *, alt: str) -> Picture:
    """How traffic is split between arms, to be stretched: 720 wide, and without text."""
    made, at = [_hatched(ORANGE, 7)], 0.0
    for arm, share in shares:
        wide = share * 720
        if wide > 2:
            fill = {"champion": BLUE, "canary": "url(#h)", "candidate": PURPLE, "shadow": "none"}[arm]
            made.append(f'<rect x="{_n(at + 1)}" width="{_n(wide - 2)}" height="10" rx="2" fill="{fill}"/>')
        at += wide
    return Picture(_svg(720, 10, "".join(made), ' preserveAspectRatio="none"'), alt)


def key(arm: Arm) -> Picture:
    """The sign of an arm, 12 x 12, beside its word."""
    if arm == "canary":
        inner = _hatched(ORANGE, 5) + '<rect y="1" width="12" height="10" rx="2" fill="url(#h)"/>'
    elif arm in ("champion", "candidate"):
        fill = BLUE if arm == "champion" else PURPLE
        inner = f'<rect y="1" width="12" height="10" rx="2" fill="{fill}"/>'
    else:
        dashes = f'stroke="{PURPLE}" stroke-width="1.6" stroke-dasharray="2.5 1.8"'
        inner = f'<rect x=".8" y="1.8" width="10.4" height="8.4" rx="2" fill="none" {dashes}/>'
    return Picture(_svg(12, 12, inner), "")


def days(bars: Sequence[float], labels: Mapping[int, str], *, alt: str, limit: float | None = None) -> Picture:
    """One bar a day; labels: bar → what stands below it; the dashed line is a limit."""
    width, height, floor = 560, 84, 66
    tallest = max([*bars, limit or 0.0], default=0.0) or 1.0
    step = width / max(len(bars), 1)
    made = [_TEXT]
    for at, bar in enumerate(bars):
        tall = bar / tallest * (floor - 4)
        made.append(
            f'<rect x="{_n(at * step + 1)}" y="{_n(floor - tall)}" width="{_n(max(1, step - 2))}" height="{_n(tall)}" '
            f'fill="{BLUE}"/>'
        )
    made.append(f'<path d="M0 {floor}.5H{width}" stroke="{GREY}"/>')
    if limit is not None:
        y = _n(floor - limit / tallest * (floor - 4))
        made.append(f'<path d="M0 {y}H{width}" stroke="{RED}" stroke-dasharray="4 3"/>')
    for at, label in labels.items():
        anchor = "start" if at == 0 else "end" if at == len(bars) - 1 else "middle"
        x = 0 if at == 0 else width if at == len(bars) - 1 else (at + 0.5) * step
        made.append(f'<text x="{_n(x)}" y="80" text-anchor="{anchor}">{_e(label)}</text>')
    return Picture(_svg(width, height, "".join(made)), alt)


def _colour_of(lines: Mapping[str, Points], point: tuple[float, float] | None) -> str:
    found = [colour for (colour, _), line in zip(_SERIES, lines.values(), strict=False) if point in line]
    return found[-1] if found else _SERIES[max(0, len(lines) - 1)][0]


def _axes(
    x_ticks: Sequence[float],
    y_ticks: Sequence[float],
    across: Scale,
    up: Scale,
    box: tuple[int, int, int],
    x_title: str,
) -> Iterable[str]:
    left, right, floor = box
    for tick in y_ticks:
        y, opacity = _n(up(tick)), ".9" if tick == y_ticks[0] else ".25"
        yield f'<path d="M{left} {y}H{right}" stroke="{GREY}" stroke-opacity="{opacity}"/>'
        yield f'<text x="{left - 5}" y="{_n(up(tick) + 4)}" text-anchor="end">{_tick(tick)}</text>'
    for tick in x_ticks:
        x = _n(across(tick))
        yield f'<path d="M{x} {floor}v4" stroke="{GREY}"/>'
        yield f'<text x="{x}" y="{floor + 15}" text-anchor="middle">{_tick(tick)}</text>'
    yield f'<text x="{right}" y="{floor + 29}" text-anchor="end">{_e(x_title)}</text>'


def _lines(lines: Mapping[str, Points], across: Scale, up: Scale, left: int) -> Iterable[str]:
    at = float(left)
    for (colour, dashes), (name, line) in zip(_SERIES, lines.items(), strict=False):
        if not line:
            continue
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        path = " ".join(f"{_n(across(x))},{_n(up(y))}" for x, y in line)
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"{dashed}/>'
        yield f'<circle cx="{_n(across(line[-1][0]))}" cy="{_n(up(line[-1][1]))}" r="2" fill="{colour}"/>'
        if len(lines) > 1:
            cut = name if len(name) <= 22 else name[:21] + "…"
            yield f'<path d="M{_n(at)} 24h16" stroke="{colour}" stroke-width="2"{dashed}/>' + _text(at + 20, 28, cut)
            at += 36 + len(cut) * _LETTER


def _best(x: float, y: float, floor: int, colour: str) -> str:
    star = "l2 4.6 4.9.4-3.7 3.3 1.1 4.8-4.3-2.5-4.3 2.5 1.1-4.8-3.7-3.3 4.9-.4z"
    return (
        f'<path d="M{_n(x)} {_n(y)}V{floor}" stroke="{colour}" stroke-dasharray="2 2"/>'
        f'<path d="M{_n(x)} {_n(y - 7)}{star}" fill="{colour}"/>'
    )


def _steps(shares: Sequence[float], tallest: float, width: int, height: int, look: str) -> str:
    if not shares:
        return ""
    step, floor = width / len(shares), height - 1
    tops = "".join(
        f"V{_n(floor - share / tallest * (height - 3))}H{_n((at + 1) * step)}" for at, share in enumerate(shares)
    )
    return f'<path d="M0 {floor}{tops}V{floor}" {look}/>'


def _floor(width: int, height: int) -> str:
    return f'<path d="M0 {height - 1}.5H{width}" stroke="{GREY}"/>'


def _hatched(colour: str, size: int) -> str:
    return (
        f'<defs><pattern id="h" width="{size}" height="{size}" patternUnits="userSpaceOnUse" '
        f'patternTransform="rotate(45)"><rect width="{size}" height="{size}" fill="{colour}" fill-opacity=".5"/>'
        f'<rect width="{size / 2 - 0.1:.1f}" height="{size}" fill="{colour}"/></pattern></defs>'
    )


def _ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Four or five round numbers: they hold the range, or lie in it where only whole numbers may stand."""
    if not high - low > _LEAST_SPREAD:
        room = max(abs(low) * 0.1, 1e-9)
        low, high = (low, low + 1) if whole else (low - room, high + room)
    raw = high / 4 - low / 4  # the difference itself may be larger than any float
    size = 10 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= raw * 0.999)
    if whole:
        step = max(1.0, math.ceil(step))
        first, last = math.ceil(low / step), math.floor(high / step)
    else:
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{at * step:.10g}") for at in range(first, last + 1)] or [low]


def _counts(most: float) -> list[float]:
    """Whole numbers from none on that hold so many."""
    step = next(
        size for digits in range(16) for size in (10**digits, 2 * 10**digits, 5 * 10**digits) if 4 * size >= most
    )
    return [float(at * step) for at in range(max(1, math.ceil(most / step)) + 1)]


def _thin(line: Points, most: int) -> Points:
    """At most so many points: of each stretch its first, its lowest and its highest, so that no peak is lost."""
    if len(line) <= most:
        return line
    step = -(-len(line) * 3 // most)
    kept: list[tuple[float, float]] = []
    for at in range(0, len(line), step):
        part = line[at : at + step]
        kept += sorted({part[0], min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])})
    return [*kept, line[-1]] if kept[-1] != line[-1] else kept


def _wide(texts: Iterable[str]) -> float:
    """How wide the widest text is, in pixels."""
    return max((len(text) * _LETTER for text in texts), default=0.0)


def _cut(text: str, room: float) -> str:
    most = max(1, int(room / (_LETTER * 1.1)))  # titles are bold
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _text(x: float, y: float, text: str, name: str = "") -> str:
    named = f' class="{name}"' if name else ""
    return f'<text{named} x="{_n(x)}" y="{_n(y)}">{_e(text)}</text>'


def _svg(width: int, height: int, inner: str, more: str = "") -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}"{more}>{inner}</svg>'
    )


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _tick(value: float) -> str:
    if value and (abs(value) >= 100_000 or abs(value) < 0.001):
        mantissa, _, power = f"{value:.3g}".partition("e")
        return f"{mantissa}e{int(power)}" if power else mantissa
    return f"{value:,.10g}".replace("-", "−")


def _e(text: object) -> str:
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
