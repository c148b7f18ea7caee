"""What a result looks like: plain text, and HTML made only of what JupyterLab keeps in an untrusted notebook.

So: semantic tags and classes, tables, `<details>` and pictures as `<img>`; no style sheet, script, inline SVG or data
attribute. A result stays readable in a file that is reopened, converted or run by a scheduler. This file draws; it
decides nothing.
"""

from __future__ import annotations

from .card import MAX_ROWS, Card
from .live import LiveFrame, in_notebook, waiting
from .pictures import bar_chart, data_url, line_chart
from .results import Comparison, Listing, Result, lacking
from .values import label, shown, shown_apart

__all__ = [
    "MAX_ROWS", "Card", "Comparison", "Listing", "LiveFrame", "Result", "bar_chart", "data_url", "in_notebook", "label",
    "lacking", "line_chart", "shown", "shown_apart", "waiting",
]  # fmt: skip
