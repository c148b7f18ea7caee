"""What a result looks like: content that a noun states, as plain text and as HTML that JupyterLab keeps everywhere.

A noun says what there is, as a `Card` of facts, figures, tables and pictures. How it is drawn is decided here alone:
`html.py` and `text.py` draw cards, `drawing.py` and `graph.py` pictures, and `states.py` says what each state looks
like.
"""

from __future__ import annotations

from . import drawing, graph, html
from .card import (
    MAX_ROWS,
    Band,
    Card,
    Cell,
    Code,
    Dim,
    Figure,
    Fold,
    Listed,
    Meter,
    NotebookName,
    Number,
    Part,
    Plots,
    Progress,
    Quote,
    RowHeader,
    Sentence,
    Strong,
    Table,
    money,
)
from .drawing import Picture
from .listing import Listing, TableColumn, lacking
from .live import LiveFrame, TickingFrame, in_notebook, waiting
from .results import Comparison, Result
from .states import ADDED, CHANGED, REMOVED, StateMark, mark_of, with_reason
from .values import label, log_time, moment, sentence, shown, shown_apart
from .working import working

__all__ = [
    "ADDED", "CHANGED", "MAX_ROWS", "REMOVED", "Band", "Card", "Cell", "Code", "Comparison", "Dim", "Figure", "Fold",
    "Listed", "Listing", "LiveFrame", "Meter", "NotebookName", "Number", "Part", "Picture", "Plots", "Progress",
    "Quote", "Result", "RowHeader", "Sentence", "StateMark", "Strong", "Table", "TableColumn", "TickingFrame",
    "drawing", "graph", "html", "in_notebook", "label", "lacking", "log_time", "mark_of", "moment", "money", "sentence",
    "shown", "shown_apart", "waiting", "with_reason", "working",
]  # fmt: skip
