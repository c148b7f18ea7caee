"""A cell's outputs without what differs at each execution, so that two that mean the same are equal.

nbval compares texts as they are, and reports progress bars, warnings (whose path holds the kernel's pid),
`clear_output` and updates of displays as differences each time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from .displays import display_contents
from .times import ExecutionTimes

NormalOutput = tuple[str, str]
"""What it is (stdout, stderr, error, or a MIME type), and its content."""

_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_NUMBER = r"\d+(?:\.\d+)? ?"
_SMALL = rf"{_NUMBER}(?:ns|µs|μs|us|ms|s)\b"
# `100 min 5 max 9` is no duration: a number right behind it must be one of seconds.
_ALONE = rf"{_NUMBER}(?:min|h)\b(?![ =:]{{0,2}}-?\d)"
_LARGE = rf"{_NUMBER}h[ ,]{{0,2}}{_NUMBER}min\b|{_ALONE}"
_DURATION = rf"(?:{_NUMBER}(?:min|h)\b[ ,]{{0,2}})*{_SMALL}(?:[ ,]?{_SMALL})*|{_LARGE}"
# In this order: a later one sees what an earlier one has left. Each is what no two executions have in common.
_VARYING: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), stands)
    for pattern, stands in (
        # The rest of a bar of tqdm: the time so far, what is left, and the rate.
        (r"\[\d+:\d+(?::\d+)?<[^\]\n]*\]", "[time]"),
        (r"\|[ #█▏▎▍▌▋▊▉\u2800-\u28ff]{4,}\|", "|bar|"),
        (r"(?<![\w])[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "(id)"),
        # As Python and pandas write one that was measured.
        (r"(?<![\d:T-])(?:-?\d+ days?,? \+?\d{1,2}|\d):\d\d:\d\d\.\d+", "(duration)"),
        (r"0x[0-9a-fA-F]{6,}", "0x…"),
        (r"\bipykernel_\d+[/\\]\d+\.py", "ipykernel.py"),
        # `process 12 rows` is a count, and so may `process: 12` be.
        (r"(?i)(\bpid\W{1,3}|\bprocess ?#)\d+", r"\1(pid)"),
        (r"(?i)(\bprocess ?[\[(]|[\[(]process[ :]{1,2})\d+(?=[\])])", r"\1(pid)"),
        (r"(?<=/)tmp/[\w.-]+", "tmp/…"),
        # Styler of pandas names its table by chance.
        (r"\bT_[0-9a-f]{5}(?=[_\" ])", "T_…"),
        # Unlike a count, a duration is never the same. Not `5 s` in the middle of an identifier.
        (rf"(?<![\w.])(?:{_DURATION})", "(duration)"),
        (r"(?<=[(\s])\d+(?:\.\d+)? ?(?:it|iter|row|rows|B|KB|MB|KiB|MiB)/s", "(rate)"),
    )
)
_ANY_TIME = ExecutionTimes()


def normal_text(text: str, own: Mapping[str, str] | None = None, times: ExecutionTimes = _ANY_TIME) -> str:
    """A text without colours, with what `\\r` has left of each line, and without what differs each time.

    own: names of the run itself → what stands for them, e.g. `recipe:late@41` → `recipe:late@run`. times: when it was
    put out; where that is not known every time counts as one of those
    """
    for name, stands in (own or {}).items():
        text = text.replace(name, stands)
    text = "\n".join(_last_state(line) for line in _COLOUR.sub("", text).split("\n"))
    for pattern, stands in _VARYING:
        text = pattern.sub(stands, text)
    text = times.without(text)
    return "\n".join(line.rstrip() for line in text.split("\n")).strip("\n")


def normal_outputs(
    outputs: Iterable[Mapping[str, Any]], own: Mapping[str, str] | None = None, times: ExecutionTimes = _ANY_TIME
) -> list[NormalOutput]:
    """The outputs of a cell: each stream in one piece, whatever pieces it came in; see also `displays`."""
    streams: dict[str, str] = {}
    others: list[NormalOutput] = []

    def normal(text: str) -> str:
        return normal_text(text, own, times)

    for output in outputs:
        if output["output_type"] == "stream":
            streams[output["name"]] = streams.get(output["name"], "") + _joined(output["text"])
        elif output["output_type"] == "error":
            # Not its traceback, whose lines move with every edit above.
            others.append(("error", normal(f"{output['ename']}: {output['evalue']}")))
        else:
            others += display_contents(output.get("data", {}), normal)
    found = [(name, normal(text)) for name, text in sorted(streams.items(), reverse=True)]
    return [each for each in (*found, *others) if each[1]]


def _last_state(line: str) -> str:
    """What a terminal shows of a line in which the cursor went back to its begin."""
    shown = ""
    for part in line.rstrip("\r").split("\r"):
        shown = part + shown[len(part) :]
    return shown


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)
