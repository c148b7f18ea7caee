"""Graphs of what was made from what, as pictures: boxes in columns from left to right, in the look of `drawing`.

    graph.draw(
        [graph.Node("flights", "flights", "22 s", mark_of("done")), graph.Node("check", "check", "after 1 step")],
        [("flights", "check")],
        alt="flights is done, check waits",
    )

gives a `Picture`, for `Plots([...])` of a card. What it shows stands in the card's table as well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from .drawing import BLUE, GREEN, GREY, ORANGE, RED, Picture
from .states import StateMark

MOST_COLUMNS, MOST_ROWS = 6, 5
WIDTH, NARROW = 144, 118
"""How wide a box is; six columns of narrow ones, or five of the others, are as wide as a card."""
_HEIGHT, _ROW_GAP, _BEND_GAP, _HEADING = 42.0, 22.0, 10.0, 17.0
_MOST_TRIED = 80  # each that is tried is laid out
_SWEEPS = 6

Edge = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Node:
    """A box. key: what edges call it. title and detail: its two lines, cut at their ends.

    state: gives it its frame, its colour and its glyph. group: what it is one of, which stands above the column.
    """

    key: str
    title: str
    detail: str = ""
    state: StateMark | None = None
    group: str = ""


def draw(nodes: Sequence[Node], edges: Iterable[Edge], *, alt: str, width: int = WIDTH) -> Picture:
    """The graph; an edge goes from what was there first. What an edge names and no node is, is left out.

    A node stands right of all that it came from. Of more than 6 columns or 5 rows it shows what failed or ran and its
    neighbours, and the rest as one box, "9 more"; where no state decides, those that come first in `nodes` are shown.
    """
    kept, links = _shortened(nodes, _known(nodes, edges))
    layout = _Layout([node.key for node in kept], links)
    width = NARROW if len(layout.columns) == MOST_COLUMNS else width
    gap = 29 if width <= NARROW else 34
    top = _HEADING if any(node.group for node in kept) else 1.0
    left = [1 + column * (width + gap) for column in range(len(layout.columns))]
    boxes = [
        _box(node, left[layout.column[node.key]], layout.middle[node.key] + top - _HEIGHT / 2, width) for node in kept
    ]
    inner = [_style(kept, width), *_headings(kept, layout, left), *_arrows(layout, left, width, top), *boxes]
    size = (left[-1] + width + 1 if left else 1), layout.height + top + 1
    return Picture(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size[0]}" height="{_n(size[1])}" '
        f'viewBox="0 0 {size[0]} {_n(size[1])}">{"".join(inner)}</svg>',
        alt,
    )


class _Layout:
    """Where each node stands. columns: keys from top to bottom; an edge past a column has a bend in it.

    middle: the height of each node's and bend's middle. chains: for each edge its nodes with the bends between them.
    """

    def __init__(self, keys: Sequence[str], edges: Iterable[Edge]) -> None:
        self.column, edges = _longest_paths(keys, edges)
        self.chains = [self._chain(*edge) for edge in edges]
        self.columns: list[list[str]] = [[] for _ in range(max(self.column.values(), default=-1) + 1)]
        for key in keys:
            self.columns[self.column[key]].append(key)
        for first, *bends, _ in self.chains:
            for at, bend in enumerate(bends, self.column[first] + 1):
                self.columns[at].append(bend)
        self._beside: dict[str, list[str]] = defaultdict(list)
        for chain in self.chains:
            for before, after in pairwise(chain):
                self._beside[before].append(after)
                self._beside[after].append(before)
        self._place = {key: at for keys in self.columns for key, at in zip(keys, range(len(keys)), strict=True)}
        self._untangle()
        self.height = max((self._offsets(keys)[-1] + self._tall(keys[-1]) for keys in self.columns), default=0.0)
        self.middle = self._middles()

    def _chain(self, first: str, last: str) -> tuple[str, ...]:
        bends = (f"{first}\0{last}\0{at}" for at in range(self.column[first] + 1, self.column[last]))
        return first, *bends, last

    @staticmethod
    def _tall(key: str) -> float:
        """Half the height."""
        return 0.0 if "\0" in key else _HEIGHT / 2

    def _near(self, key: str, column: int) -> list[str]:
        beside = set(self.columns[column]) if 0 <= column < len(self.columns) else set()
        return [other for other in self._beside[key] if other in beside]

    def _untangle(self) -> None:
        """Order each column by the mean place of its neighbours, from left to right and back."""
        for sweep in range(_SWEEPS):
            step = 1 if sweep % 2 == 0 else -1
            for column in range(len(self.columns))[::step]:
                means = {}
                for key in self.columns[column]:
                    near = [self._place[other] for other in self._near(key, column - step)]
                    means[key] = sum(near) / len(near) if near else self._place[key]
                self.columns[column].sort(key=lambda key: means[key])
                self._place.update((key, at) for at, key in enumerate(self.columns[column]))

    def _offsets(self, keys: Sequence[str]) -> list[float]:
        """How far below the column's edge each middle is at least."""
        made = [self._tall(keys[0])]
        for above, below in pairwise(keys):
            gap = _ROW_GAP if self._tall(above) and self._tall(below) else _BEND_GAP
            made.append(made[-1] + self._tall(above) + gap + self._tall(below))
        return made

    def _middles(self) -> dict[str, float]:
        middle = {key: self.height / 2 for keys in self.columns for key in keys}
        for sweep in range(_SWEEPS):
            step = 1 if sweep % 2 else -1
            for column in range(len(self.columns))[::step]:
                self._settle(column, step, middle)
        return middle

    def _settle(self, column: int, step: int, middle: dict[str, float]) -> None:
        """Move a column's nodes as near to the mean of their neighbours as their order and their sizes allow."""
        keys = self.columns[column]
        offsets = self._offsets(keys)
        room = self.height - offsets[-1] - self._tall(keys[-1])
        wanted = []
        for key, offset in zip(keys, offsets, strict=True):
            near = self._near(key, column - step) or self._near(key, column + step)
            mean = sum(middle[other] for other in near) / len(near) if near else self.height / 2
            wanted.append(mean - offset)
        for key, offset, place in zip(keys, offsets, _rising(wanted), strict=True):
            middle[key] = offset + min(max(place, 0.0), room)


def _known(nodes: Sequence[Node], edges: Iterable[Edge]) -> list[Edge]:
    keys = {node.key for node in nodes}
    return [edge for edge in dict.fromkeys(edges) if keys.issuperset(edge) and edge[0] != edge[1]]


def _longest_paths(keys: Sequence[str], edges: Iterable[Edge]) -> tuple[dict[str, int], list[Edge]]:
    """The column of each node, and the edges without those that close a circle."""
    before: dict[str, dict[str, int]] = {key: {} for key in keys}
    for at, (first, last) in enumerate(edges):
        before[last][first] = at
    while True:
        try:
            ordered = [*TopologicalSorter(before).static_order()]
            break
        except CycleError as circle:
            # The edge that was given last is the one that closed it.
            first, last = max(pairwise(circle.args[1]), key=lambda edge: before[edge[1]][edge[0]])
            del before[last][first]
    column: dict[str, int] = {}
    for key in ordered:
        column[key] = max((column[other] + 1 for other in before[key]), default=0)
    return column, [(first, last) for last, firsts in before.items() for first in firsts]


def _shortened(nodes: Sequence[Node], edges: Sequence[Edge]) -> tuple[Sequence[Node], Sequence[Edge]]:
    """As many of the nodes as fit, those that matter first, and one for the rest; all of them where they fit."""
    if _fits(nodes, edges):
        return nodes, edges
    kept: set[str] = set()
    for key in _by_weight(nodes, edges)[:_MOST_TRIED]:
        if _fits(*_with_rest(nodes, edges, kept | {key})):
            kept.add(key)
    shown, links = _with_rest(nodes, edges, kept)
    return shown, _without_detours(links)


def _fits(nodes: Sequence[Node], edges: Iterable[Edge]) -> bool:
    if len(nodes) > MOST_COLUMNS * MOST_ROWS:
        return False
    column, _ = _longest_paths([node.key for node in nodes], edges)
    rows = [*column.values()]
    return max(rows, default=0) < MOST_COLUMNS and all(rows.count(at) <= MOST_ROWS for at in set(rows))


_WEIGHTS = {"bad": 0, "busy": 1, "warn": 2, "unsure": 3, "good": 5, "": 7, "off": 8}
_NEIGHBOUR = {0: 4, 1: 4, 2: 4, 3: 4, 5: 6}
"""Beside a node of that weight, another weighs so much at most."""


def _by_weight(nodes: Sequence[Node], edges: Iterable[Edge]) -> list[str]:
    own = {node.key: _WEIGHTS[node.state.tone if node.state else ""] for node in nodes}
    weight = dict(own)
    for one, other in [way for first, last in edges for way in ((first, last), (last, first))]:
        weight[one] = min(weight[one], _NEIGHBOUR.get(own[other], 8))
    return sorted(own, key=lambda key: weight[key])


def _with_rest(nodes: Sequence[Node], edges: Sequence[Edge], kept: set[str]) -> tuple[Sequence[Node], Sequence[Edge]]:
    """The kept nodes, with the ways between them through others as edges, and one node for those others."""
    after: dict[str, list[str]] = defaultdict(list)
    for first, last in edges:
        after[first].append(last)
    links = dict.fromkeys(
        (first, last)
        for first in (node.key for node in nodes if node.key in kept)
        for last in _reached(first, after, kept)
    )
    sources = {first for first, last in edges if first in kept and last not in kept}
    behind = {last for source in sources for last in _ancestors(source, links)} | sources
    targets = {last for first, last in edges if first not in kept and last in kept} - behind
    rest = Node("…", f"{len(nodes) - len(kept):,} more")
    links.update(dict.fromkeys([*((source, rest.key) for source in sources), *((rest.key, one) for one in targets)]))
    return [*(node for node in nodes if node.key in kept), rest], [*links]


def _reached(first: str, after: Mapping[str, Sequence[str]], kept: set[str]) -> list[str]:
    """The kept nodes to which a way leads through none but others."""
    left, seen, found = list(after[first]), set[str](), []
    while left:
        key = left.pop()
        if key in seen or key == first:
            continue
        seen.add(key)
        if key in kept:
            found.append(key)
        else:
            left += after[key]
    return found


def _without_detours(links: Sequence[Edge]) -> list[Edge]:
    """The edges between whose ends no longer way leads: of a graph that is cut short, they say the same."""
    known = set(links)
    behind = {last: _ancestors(last, links) for _, last in links}
    return [
        (first, last)
        for first, last in links
        if not any((between, last) in known and first in behind.get(between, ()) for between in behind[last] - {first})
    ]


def _ancestors(key: str, links: Iterable[Edge]) -> set[str]:
    before: dict[str, list[str]] = defaultdict(list)
    for first, last in links:
        before[last].append(first)
    left, seen = [key], set[str]()
    while left:
        new = [one for one in before[left.pop()] if one not in seen]
        seen.update(new)
        left += new
    return seen


def _rising(wanted: Sequence[float]) -> list[float]:
    """The values nearest to these of which none is less than the one before it."""
    blocks: list[tuple[float, int]] = []
    for value in wanted:
        total, count = value, 1
        while blocks and blocks[-1][0] / blocks[-1][1] > total / count:
            more, others = blocks.pop()
            total, count = total + more, count + others
        blocks.append((total, count))
    return [total / count for total, count in blocks for _ in range(count)]


def _look(state: StateMark | None) -> tuple[str, str]:
    """The class of a box, and its style."""
    if state is None:
        return "n", f"stroke:{GREY};stroke-width:1.2"
    if state.tone == "busy" or state.glyph == "●":
        return "r", f"stroke:{BLUE};stroke-width:2.2;fill:{BLUE}"
    if state.tone in ("good", "warn", "bad"):
        colour, wide = {"good": (GREEN, 1.4), "warn": (ORANGE, 2), "bad": (RED, 2.4)}[state.tone]
        return state.tone[0], f"stroke:{colour};stroke-width:{wide};fill:{colour}"
    dashes = {"○": "1.5 2.5", "»": "4 3", "?": "6 3"}.get(state.glyph)
    return f"o{ord(state.glyph)}", f"stroke:{GREY}" + (f";stroke-dasharray:{dashes}" if dashes else "")


def _style(nodes: Sequence[Node], width: int) -> str:
    looks = dict(_look(node.state) for node in nodes)
    rules = "".join(f".{name} use{{{style}}}" for name, style in looks.items())
    colours = (
        f".{name} .g{{fill:{colour}}}"
        for name, colour in (("r", BLUE), ("g", GREEN), ("w", ORANGE), ("b", RED))
        if name in looks
    )
    return (
        "<style>text{fill:#757575;font:11px system-ui,sans-serif}.h{font-weight:600}use{fill:#808080;fill-opacity:0}"
        f"{rules}{''.join(colours)}.r use,.g use,.w use,.b use{{fill-opacity:.1}}"
        "@media(prefers-color-scheme:dark){text{fill:#808080}}</style>"
        f'<defs><rect id="n" width="{width}" height="{_HEIGHT:g}" rx="5"/></defs>'
    )


def _box(node: Node, x: float, y: float, width: int) -> str:
    indent = 25 if node.state else 9
    room = width - indent - 4
    y_title = 17 if node.detail else 25
    glyph = f'<text class="h g" x="9" y="{y_title}">{node.state.glyph}</text>' if node.state else ""
    detail = f'<text x="{indent}" y="32">{_cut(node.detail, room)}</text>' if node.detail else ""
    return (
        f'<g class="{_look(node.state)[0]}" transform="translate({_n(x)} {_n(y)})"><use href="#n"/>{glyph}'
        f'<text class="h" x="{indent}" y="{y_title}">{_cut(node.title, room, 1.08)}</text>{detail}</g>'
    )


def _headings(nodes: Sequence[Node], layout: _Layout, left: Sequence[float]) -> Iterable[str]:
    for at, x in enumerate(left):
        groups = dict.fromkeys(node.group for node in nodes if layout.column[node.key] == at and node.group)
        if groups:
            yield f'<text x="{_n(x)}" y="10">{_cut(", ".join(groups), WIDTH)}</text>'


def _arrows(layout: _Layout, left: Sequence[float], width: int, top: float) -> Iterable[str]:
    lines, heads = [], []
    for chain in layout.chains:
        column = layout.column[chain[0]]
        x, y = left[column] + width, layout.middle[chain[0]] + top
        line = f"M{_n(x)} {_n(y)}"
        for at, key in enumerate(chain[1:], column + 1):
            to_y, to_x = layout.middle[key] + top, left[at]
            is_last = key == chain[-1]
            bend = (to_x - x) / 2
            line += f"C{_n(x + bend)} {_n(y)} {_n(x + bend)} {_n(to_y)} {_n(to_x - 5 * is_last)} {_n(to_y)}"
            x, y = to_x + width, to_y
            line += "" if is_last else f"H{_n(x)}"
        heads.append(f"M{_n(left[layout.column[chain[-1]]])} {_n(y)}l-6-3.2v6.4z")
        lines.append(line)
    if lines:
        yield f'<path d="{"".join(lines)}" fill="none" stroke="{GREY}" stroke-width="1.2"/>'
        yield f'<path d="{"".join(heads)}" fill="{GREY}"/>'


def _cut(text: str, room: float, wider: float = 1.0) -> str:
    """As much of a text as fits, at 11 px; with `…` where it is cut."""
    wide = [wider * (4.2 if c in "iIljtfr.,:;'|!()[] -" else 10 if c in "mwMW@%" else 6.8) for c in text]
    if sum(wide) > room:
        while text and sum(wide[: len(text)]) > room - 9:
            text = text[:-1]
        text += "…"
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
