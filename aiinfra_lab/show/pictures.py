"""SVG texts, drawn from data, in colours that can be read on white and on black."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence

_INK = "#808080"  # readable on white and on JupyterLab's dark background alike
_LINES = ("#2f7fc1", "#d9822b", "#3d9a50", "#b4539b")


def line_chart(series: Mapping[str, Sequence[tuple[float, float]]], *, x: str = "", y: str = "") -> str:
    """An SVG text with one line per series (at most 4, at most 200 points each), axes labelled with their ranges."""
    width, height, left, bottom = 420, 160, 52, 28
    points = [point for line in series.values() for point in line]
    if not points:
        return ""
    (x0, x1), (y0, y1) = (_range([point[axis] for point in points]) for axis in (0, 1))

    def at(px: float, py: float) -> str:
        across = left + (px - x0) / (x1 - x0) * (width - left - 8)
        return f"{across:.1f},{height - bottom - (py - y0) / (y1 - y0) * (height - bottom - 18):.1f}"

    drawn = []
    for colour, (name, line) in zip(_LINES, series.items(), strict=False):
        path = " ".join(at(*point) for point in _thin(line, 200))
        drawn.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{path}"/>')
        drawn.append(f'<text x="{left + 90 * len(drawn) // 2 - 40}" y="11" fill="{colour}">{_e(name)}</text>')
    axes = (
        f'<path d="M{left} 16V{height - bottom}H{width - 8}" fill="none" stroke="{_INK}"/>'
        f'<text x="2" y="24" fill="{_INK}">{y1:.3g}</text>'
        f'<text x="2" y="{height - bottom}" fill="{_INK}">{y0:.3g}</text>'
        f'<text x="{left}" y="{height - 10}" fill="{_INK}">{x0:g}</text>'
        f'<text x="{width - 8}" y="{height - 10}" text-anchor="end" fill="{_INK}">{x1:g} {_e(x)}</text>'
        f'<text x="2" y="11" fill="{_INK}">{_e(y)}</text>'
    )
    return _svg(width, height, axes + "".join(drawn))


def bar_chart(
    bars: Sequence[tuple[str, float]],
    *,
    mark: Sequence[str] = (),
    limit: float | None = None,
    texts: Sequence[str] = (),
) -> str:
    """An SVG text with one horizontal bar per (label, value >= 0), at most 20; labels in `mark` stand out.

    limit: a dashed line. texts: what stands behind each bar instead of its value.
    """
    if not bars:
        return ""
    bars, width, left, step, right = bars[:20], 420, 150, 18, 60
    if texts:
        width, right = width + 90, right + 90
    top = max([value for _, value in bars] + ([] if limit is None else [limit])) or 1.0
    drawn = []
    for row, (name, value) in enumerate(bars):
        y, long = row * step + 4, value / top * (width - left - right)
        colour = _LINES[1] if name in mark else _LINES[0]
        text = texts[row] if texts else f"{value:.3g}"
        drawn.append(
            f'<text x="{left - 6}" y="{y + 11}" text-anchor="end" fill="{_INK}">{_e(name[:24])}</text>'
            f'<rect x="{left}" y="{y}" width="{long:.1f}" height="13" fill="{colour}"/>'
            f'<text x="{left + long + 4:.1f}" y="{y + 11}" fill="{_INK}">{_e(text)}</text>'
        )
    if limit is not None:
        x = left + limit / top * (width - left - right)
        drawn.append(f'<path d="M{x:.1f} 0V{len(bars) * step + 4}" stroke="{_INK}" stroke-dasharray="3"/>')
    return _svg(width, len(bars) * step + 8, "".join(drawn))


def data_url(svg: str) -> str:
    """An SVG text as the source of an `<img>`, the only form that untrusted notebooks keep."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _svg(width: int, height: int, inner: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="11">{inner}</svg>'
    )


def _thin(line: Sequence[tuple[float, float]], most: int) -> Sequence[tuple[float, float]]:
    step = max(1, -(-len(line) // most))
    return [*line[::step], line[-1]] if step > 1 else line


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    # A range of no width would divide by zero.
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _e(text: object) -> str:
    return html.escape(str(text), quote=True)
