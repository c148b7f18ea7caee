"""The types of a request and of an answer, as Python's text: pydantic models made of a model's signature."""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Iterable, Iterator, Mapping

from ...features.contract import NUMBER
from ...train.saved_model import SavedModel
from ...train.signature import Tensor, probabilities
from ..server.rows import MAX_ROWS

_HEAD = '''"""The types of a request and of an answer. A name that is none in Python is a field's alias."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _category(value: Any) -> str:
    """The one spelling of a category: text, `true`, `false`, or a whole number."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, str | int):
        return str(value)
    raise ValueError("a category is a text or a whole number")


Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Whole = Annotated[int, Field(strict=True)]
Truth = Annotated[bool, Field(strict=True)]
Text = Annotated[str, Field(strict=True)]
Category = Annotated[str, BeforeValidator(_category)]
RowId = Annotated[str, Field(strict=True)] | Annotated[int, Field(strict=True)]
'''
_TAIL = f'''

class PredictRequest(BaseModel):
    """Rows to be predicted. key: of no effect here; a service that splits its traffic decides by it."""

    model_config = ConfigDict(extra="forbid")

    rows: Annotated[list[Row], Field(min_length=1, max_length={MAX_ROWS})]
    key: RowId | None = None


class Answer(BaseModel):
    """The answers, in the order of the rows."""

    request_id: str
    model: str
    predictions: list[Prediction]
'''
_GIVEN = {"F": ("Number", "float"), "I": ("Whole", "int"), "U": ("Whole", "int"), "BO": ("Truth", "bool")}
# Of pydantic's BaseModel, and what the annotations of a class are read by.
_TAKEN = {
    *("construct", "copy", "dict", "dumps", "fields", "from_orm", "json", "parse_file", "parse_obj", "parse_raw"),
    *("schema", "schema_json", "update_forward_refs", "validate"),
    *("Annotated", "Any", "BaseModel", "Category", "Field", "Number", "RowId", "Text", "Truth", "Whole"),
    *("bool", "float", "int", "list", "str", "row_id", "error"),
}


def text(saved: SavedModel) -> str:
    """`schema.py` of a model."""
    row = _class("Row", "What is asked of the model.", "forbid", {"row_id": "RowId | None"}, _asked(saved))
    more = {"row_id": "str"}
    answer = _class("Prediction", "What it answers.", "ignore", more, _answered(saved), {"error": "str | None"})
    return "\n".join([_HEAD, *row, "", *answer, _TAIL])


def _class(
    name: str, what: str, extra: str, first: Mapping[str, str], fields: Mapping[str, str], last: Mapping[str, str] = {}
) -> Iterator[str]:
    yield from ("", f"class {name}(BaseModel):", f'    """{what}"""', "")
    yield from (f'    model_config = ConfigDict(extra="{extra}", protected_namespaces=())', "")
    taken = {*first, *last}
    for own, kind in {**first, **fields, **last}.items():
        called = own if own in taken else identifier(own, taken)
        taken.add(called)
        # Of an answer every field but the row's id may lack a value, and error is there where all do.
        given = ["default=None"] if kind.endswith("| None") else []
        given += [f"alias={json.dumps(own, ensure_ascii=False)}"] if called != own else []
        value = "None" if given == ["default=None"] else f"Field({', '.join(given)})" if given else ""
        yield f"    {called}: {kind}" + (f" = {value}" if value else "")


def identifier(name: str, taken: Iterable[str] = ()) -> str:
    """A name for a field of a pydantic model: the same, where it may be called so."""
    found = re.sub(r"\W", "_", name, flags=re.ASCII).lstrip("_") or "field"
    found = f"n{found}" if found[0].isdigit() else found
    while keyword.iskeyword(found) or found in _TAKEN or found in {*taken} or found.startswith("model_"):
        found = f"{found}_" if not found.startswith("model_") else f"the_{found}"
    return found


def _asked(saved: SavedModel) -> dict[str, str]:
    if saved.is_of_table:
        kinds = ((item, "Number" if item.type == NUMBER else "Category") for item in saved.columns)
        return {item.name: kind if item.required else f"{kind} | None" for item, kind in kinds}
    return {item.name: _kind(item, 0) for item in saved.signature.inputs if item.name in saved.rows.names}


def _answered(saved: SavedModel) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in saved.signature.outputs:
        if saved.signature.has_labels(item):
            found |= {item.name: "str | None", probabilities(item.name): "dict[str, float] | None"}
        else:
            found[item.name] = f"{_kind(item, 1)} | None"
    return found


def _kind(item: Tensor, side: int) -> str:
    """The type of a tensor's part in a row. side: 0 as it is asked for, 1 as it is answered."""
    pair = next((pair for begin, pair in _GIVEN.items() if item.datatype.startswith(begin)), ("Text", "str"))
    return "list[" * len(item.row_shape) + pair[side] + "]" * len(item.row_shape)
