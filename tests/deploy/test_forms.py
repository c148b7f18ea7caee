"""The same rows in each form that a body may have: one answer, one refusal, one line in the log."""

import json
import time

import numpy as np
import pyarrow as pa
import pytest

from aiinfra_lab.deploy.server import inference_protocol as v2
from aiinfra_lab.deploy.server.answering import Answering, unanswered
from aiinfra_lab.deploy.server.messages import Form, RawRequest
from aiinfra_lab.deploy.server.model import load
from aiinfra_lab.deploy.server.predictions_log import PredictionsLog, newest
from aiinfra_lab.deploy.server.rows import MANY_ROWS

from . import serving
from .conftest import FAR, ROW
from .streams import stream

TENSORS, ARROW = Form("tensors", "tensors"), Form("arrow", "arrow")
DATATYPES = {
    "carrier": "BYTES",
    "temp": "FP64",
    "distance": "INT64",
    "row_id": "BYTES",
    "image": "FP32",
    "weight": "INT64",
}
TYPES = {"image": pa.list_(pa.list_(pa.float32(), 2), 2), "weight": pa.list_(pa.int64(), 1)}
ROWS = [
    {"carrier": "AA", "temp": 3.0, "distance": 250, "row_id": "a"},
    {"carrier": "never seen", "temp": None, "distance": 300, "row_id": "b"},
    {"carrier": "", "temp": -1e-3, "distance": 0, "row_id": "ü"},
]
PICTURES = [{"image": [[at, 0.0], [0.5, at * 2.0]], "weight": [at]} for at in range(3)]


def as_tensors(rows, *, as_bytes=False, **more) -> tuple[bytes, Form]:
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    inputs, parts = [], []
    for name, values in columns.items():
        array = np.array(values, object if DATATYPES[name] == "BYTES" else None)
        inputs.append({"name": name, "datatype": DATATYPES[name], "shape": [*array.shape], "data": values})
        if as_bytes and DATATYPES[name] != "BYTES":
            parts.append(np.array(values, {"FP64": "<f8", "FP32": "<f4", "INT64": "<i8"}[DATATYPES[name]]).tobytes())
            inputs[-1] = {**inputs[-1], "parameters": {"binary_data_size": len(parts[-1])}}
            del inputs[-1]["data"]
    text = json.dumps({"inputs": inputs, **more}).encode()
    return text + b"".join(parts), Form("tensors", "tensors", len(text) if parts else None)


def as_arrow(rows, **types) -> tuple[bytes, Form]:
    kinds = TYPES | types
    columns = {name: pa.array([row[name] for row in rows], kinds.get(name)) for name in rows[0]}
    return stream(pa.table(columns)), ARROW


def as_rows(rows) -> tuple[bytes, Form]:
    return json.dumps({"rows": rows}).encode(), Form()


FORMS = {
    "tensors": as_tensors,
    "bytes": lambda rows: as_tensors(rows, as_bytes=True),
    "arrow": as_arrow,
    "dictionary": lambda rows: as_arrow(rows, carrier=pa.dictionary(pa.int8(), pa.string())),
    "views": lambda rows: as_arrow(rows, carrier=pa.string_view(), temp=pa.float32(), distance=pa.uint16()),
    "large": lambda rows: as_arrow(rows, carrier=pa.large_string(), distance=pa.float64()),
}


@pytest.fixture
def table(artifacts) -> Answering:
    return Answering(load("models:delay@1", artifacts("plain")))


@pytest.fixture
def pictures(tmp_path) -> Answering:
    return Answering(load("models:delay@1", serving.pictures(tmp_path / "pictures")))


def raw(body: bytes, form: Form) -> RawRequest:
    return RawRequest("r0", time.perf_counter(), body, form)


def asked(answering: Answering, body: bytes, form: Form):
    return answering.answer([raw(body, form)])[0]


def outputs(reply, form: Form) -> dict:
    """Output → its values, as far as the form has them."""
    if form.name == "arrow":
        return pa.ipc.open_stream(reply.body).read_all().to_pydict()
    if form.name == "tensors":
        return {
            item["name"]: np.reshape(item["data"], item["shape"]).tolist() for item in json.loads(reply.body)["outputs"]
        }
    rows = json.loads(reply.body)["predictions"]
    return {name: [row[name] for row in rows] for name in rows[0]}


def plain(value):
    """A value without the names of labels, which tensors do not have."""
    if isinstance(value, dict):
        value = [*value.values()]
    return [*map(plain, value)] if isinstance(value, list) else value


def are_alike(wanted, found) -> bool:
    """Whether every output that was found is as it was wanted."""
    return all(plain(values) == plain(wanted[name]) for name, values in found.items())


@pytest.mark.parametrize("times", [1, MANY_ROWS])
@pytest.mark.parametrize("form", FORMS)
def test_a_tables_rows_are_answered_alike_in_each_form(table, form, times):
    rows = [{**row, "row_id": f"{at}{row['row_id']}"} for at in range(times) for row in ROWS]
    wanted, (body, kind) = asked(table, *as_rows(rows)), FORMS[form](rows)
    found = asked(table, body, kind)
    assert (
        (found.status, found.rows, found.failed)
        == (wanted.status, wanted.rows, wanted.failed)
        == (200, 3 * times, False)
    )
    assert are_alike(outputs(wanted, Form()), outputs(found, kind))
    assert ("row_id" in outputs(found, kind)) == (kind.name == "arrow")


@pytest.mark.parametrize("form", ["tensors", "bytes", "arrow"])
@pytest.mark.parametrize("times", [1, MANY_ROWS])
def test_pictures_are_answered_alike_in_each_form(pictures, form, times):
    wanted, (body, kind) = asked(pictures, *as_rows(PICTURES * times)), FORMS[form](PICTURES * times)
    found = asked(pictures, body, kind)
    assert found.status == wanted.status == 200
    assert outputs(found, kind).keys() == {"kind", "kind_probabilities", "vector"}
    assert are_alike(outputs(wanted, Form()), outputs(found, kind))


@pytest.mark.parametrize("kind", [pa.list_(pa.float32(), 4), pa.list_(pa.float64())])
def test_a_picture_may_come_flat(pictures, kind):
    flat = [{**row, "image": [*row["image"][0], *row["image"][1]]} for row in PICTURES]
    found = asked(pictures, *as_arrow(flat, image=kind))
    assert outputs(found, ARROW) == outputs(asked(pictures, *as_arrow(PICTURES)), ARROW)


def spoiled(at: int, **change) -> list:
    return [{**row, **change} if number == at else row for number, row in enumerate(ROWS)]


@pytest.mark.parametrize(
    "rows",
    [
        spoiled(1, distance=None),
        spoiled(2, distance=1e300),
        spoiled(0, carrier=None),
        spoiled(1, temp=1e39, distance=None),
        [{**row, "more": 1} for row in ROWS],
        [{"carrier": row["carrier"]} for row in ROWS],
        [{**row, "row_id": 1.5} for row in ROWS],
        [{**row, "distance": "far"} for row in ROWS],
        [{**row, "distance": True} for row in ROWS],
        ROWS * 1366,
    ],
    ids=range(10),
)
def test_what_a_row_is_refused_for_is_the_same_in_each_form(table, rows):
    wanted = asked(table, *as_rows(rows))
    kinds = {"distance": pa.float64()} if any(row.get("distance") == 1e300 for row in rows) else {}
    found = asked(table, *as_arrow(rows, **kinds))
    assert (found.status, json.loads(found.body)) == (422, json.loads(wanted.body))


@pytest.mark.parametrize("rows", [spoiled(1, distance=None), spoiled(0, carrier=None), spoiled(2, temp=1e300)])
def test_tensors_are_refused_in_a_line_for_the_same(table, rows):
    error = json.loads(asked(table, *as_rows(rows)).body)["error"]
    found = asked(table, *as_tensors(rows))
    assert (found.status, json.loads(found.body)) == (
        422,
        {"error": f"row {error['row']}, {error['column']}: {error['what']}"},
    )


def test_nan_is_missing_in_bytes_and_no_number_in_arrow_and_infinity_is_none_anywhere(table, pictures):
    nan, infinite = spoiled(1, temp=np.nan), spoiled(1, temp=np.inf)
    assert outputs(asked(table, *as_tensors(nan, as_bytes=True)), TENSORS) == outputs(
        asked(table, *as_tensors(ROWS)), TENSORS
    )
    for body, form in (as_arrow(nan), as_arrow(infinite), as_tensors(infinite, as_bytes=True)):
        found = asked(table, body, form)
        assert (found.status, b"not finite" in found.body, b"temp" in found.body) == (422, True, True)
    image = [{**PICTURES[0], "image": [[np.nan, 0.0], [0.0, 0.0]]}]
    for body, form in (as_arrow(image), as_tensors(image, as_bytes=True)):
        assert b"not finite" in asked(pictures, body, form).body


def test_rows_of_several_forms_run_together_and_each_is_answered_in_its_own(table):
    requests = [raw(*form(ROWS)) for form in (as_rows, as_tensors, as_arrow)]
    replies = table.answer([*requests, raw(b"x", ARROW)])
    scores = [outputs(reply, each.form)["score"] for reply, each in zip(replies, requests, strict=False)]
    assert scores[0] == scores[1] == scores[2]
    assert replies[3].status == 400


@pytest.mark.parametrize("form", ["tensors", "bytes", "arrow", "dictionary"])
def test_the_log_has_the_rows_of_each_form_as_json(table, tmp_path, form):
    request = raw(*FORMS[form](ROWS))
    reply = table.answer([request])[0]
    read = logged(tmp_path, request, reply)
    assert [row["inputs"] for row in read] == [{name: row[name] for name in ROW} for row in ROWS]
    assert [row["row_id"] for row in read] == ["a", "b", "ü"]
    assert all(0 < row["outputs"]["score"] < 1 for row in read)


def test_a_long_text_is_logged_by_its_beginning(table, tmp_path):
    rows = [{**ROWS[0], "carrier": "A" * 3000}, ROWS[1]]
    for at, form in enumerate((as_tensors, as_arrow)):
        request = raw(*form(rows))
        read = logged(tmp_path / str(at), request, table.answer([request])[0])
        assert read[0]["inputs"]["carrier"]["characters"] == 3000
        assert read[1]["inputs"]["carrier"] == "never seen"


def test_sequences_of_several_lengths_are_filled_up_as_those_of_json(tmp_path):
    sums = Answering(load("models:delay@1", serving.sequences(tmp_path / "sequences")))
    rows = [{"steps": [1.0, 2.0]}, {"steps": [3.0]}, {"steps": [1.0, 1.0, 1.0]}]
    wanted = outputs(asked(sums, *as_rows(rows)), Form())["total"]
    request = raw(*as_arrow(rows, steps=pa.list_(pa.float32())))
    [reply] = sums.answer([request])
    assert outputs(reply, ARROW)["total"] == wanted == [3.0, 3.0, 3.0]
    assert [row["inputs"] for row in logged(tmp_path, request, reply)] == rows


def logged(folder, request, reply) -> list:
    log = PredictionsLog(folder / "log", 1e9)
    log.add("champion", 0.5, reply.logged_request or request.body, reply.logged_answer or reply.body, reply.rows)
    log.close()
    return newest(folder / "log", 10)[::-1]


@pytest.mark.parametrize("form", ["tensors", "bytes", "arrow"])
def test_a_request_that_was_lost_with_its_process_is_logged_once_for_each_row(tmp_path, form):
    request = raw(*FORMS[form](ROWS))
    reply = unanswered(request, "models:delay@1", ("score",), "it died", 500)
    assert (reply.status, reply.rows, reply.failed) == (500, 3, True)
    error = json.loads(reply.body)["error"]
    assert (error if request.form.name == "tensors" else error["what"]) == "it died"
    read = logged(tmp_path, request, reply)
    assert [(row["outputs"], row["error"]) for row in read] == [(None, "it died")] * 3
    if form != "arrow":  # of which nothing is read where it may have been what ended the process
        assert [row["inputs"] for row in read] == [{name: row[name] for name in ROW} for row in ROWS]


ZEROS = 520_000


def zeros(name: str, shape: list[int], datatype: str) -> tuple[bytes, Form]:
    """A body that says little, and a few bytes when it is compressed."""
    text = json.dumps(
        {"inputs": [{"name": name, "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": ZEROS}}]}
    ).encode()
    return text + bytes(ZEROS), Form("tensors", "tensors", len(text))


def nested(shape: list[int], data: list) -> tuple[bytes, Form]:
    item = {"name": "image", "shape": shape, "datatype": "INT8", "data": data}
    return json.dumps({"inputs": [item]}).encode(), TENSORS


@pytest.mark.parametrize(
    ("body", "form"),
    [
        zeros("image", [ZEROS], "INT8"),
        zeros("image", [ZEROS // 4], "BYTES"),
        zeros("image", [1, ZEROS // 4], "BYTES"),
        zeros("nothing", [1, ZEROS // 4], "BYTES"),
        zeros("row_id", [4096, ZEROS // 16384], "BYTES"),
        nested([65_000, 1], [[0]] * 65_000),
        nested([1, 65_000], [[0]] * 65_000),
        nested([200_000], [0] * 200_000),
        nested([0], []),
    ],
    ids=range(9),
)
def test_rows_are_refused_by_the_shape_before_a_tensor_is_made(pictures, body, form, monkeypatch):
    made = []
    monkeypatch.setattr(v2, "_column", lambda item, rest: made.append(item.name))
    found = asked(pictures, body, form)
    assert (found.status, made) == (400, [])
    if b"rows, and the shape" in found.body:  # what the model is not needed for
        lost = unanswered(raw(body, form), "models:delay@1", ("kind",), "it died", 500)
        assert (lost.status, lost.rows, made) == (500, 0, [])


def test_of_a_request_only_the_bytes_behind_its_json_say_more_than_json():
    texts, bytes_ = as_tensors(PICTURES), as_tensors(PICTURES, as_bytes=True)
    assert raw(*texts).expected_bytes == len(texts[0])
    assert len(bytes_[0]) < raw(*bytes_).expected_bytes < 16 * len(bytes_[0])


@pytest.mark.parametrize("form", [TENSORS, ARROW])
def test_whatever_was_lost_is_answered(form):
    reply = unanswered(raw(b"\xff\xff\xff\xff\x00", form), "models:delay@1", ("score",), "it died", 503)
    assert (reply.status, reply.rows, reply.failed, b"it died" in reply.body) == (503, 0, True, True)


def test_a_row_that_fails_is_named_in_each_form(artifacts):
    patchy = Answering(load("models:delay@1", artifacts("nan")))
    rows = [ROW, FAR, ROW]
    found = asked(patchy, *as_arrow(rows))
    columns = outputs(found, ARROW)
    assert (found.status, found.failed, columns["error"][0], columns["score"][1]) == (200, True, None, None)
    assert "not finite" in columns["error"][1]
    found = asked(patchy, *as_tensors(rows))
    assert (found.status, found.failed, found.rows) == (500, True, 3)
    assert json.loads(found.body)["error"].startswith("row 1: ")
    assert asked(patchy, *as_arrow([FAR])).status == 500
