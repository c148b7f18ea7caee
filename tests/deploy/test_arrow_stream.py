"""Arrow streams at `/predict`: which are taken, and that no damaged or boundless one does harm."""

import gzip
import io
import json
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

import polars as pl
import pyarrow as pa
import pytest

from aiinfra_lab.deploy.server import arrow_messages
from aiinfra_lab.deploy.server.rows import MAX_ROWS
from tests.fakes import inline_workers

from . import serving
from .conftest import ROW, artifact
from .serving import SocketEndpoint
from .streams import KIND, stream

COLUMNS = {"carrier": ["AA", "UA"], "temp": [3.0, None], "distance": [250, 300]}
TABLE = pa.table(COLUMNS)
JSON = "accept: application/json\r\n"


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Iterator[SocketEndpoint]:
    folder = tmp_path_factory.mktemp("arrow")
    with serving.endpoint(folder / "log", artifact(folder / "model")) as found:
        yield found


def asked(there: SocketEndpoint, body: bytes, head: str = "") -> tuple[int, object]:
    """Status, and the table or the JSON that is answered."""
    code, answer = there.ask("/predict", body, KIND + head)
    return code, pa.ipc.open_stream(answer).read_all() if isinstance(answer, bytes) else answer


def test_a_stream_is_answered_with_one_that_says_who_answered(table):
    code, answer = asked(table, stream(TABLE))
    assert (code, answer.column_names, len(answer)) == (200, ["score"], 2)
    assert answer.schema.metadata[b"model"] == b"models:delay@1"
    assert answer.schema.metadata[b"request_id"]


def test_ids_stand_in_the_answer(table):
    for ids in (["a", "b"], [7, 8]):
        answer = asked(table, stream(TABLE.append_column("row_id", [ids])))[1]
        assert answer.column("row_id").to_pylist() == [*map(str, ids)]


def test_accept_chooses_the_form_of_the_answer(table):
    scores = asked(table, stream(TABLE))[1].column("score").to_pylist()
    assert asked(table, stream(TABLE), JSON)[1]["columns"] == {"score": scores}
    for head in ("accept: */*\r\n", "accept: application/json, application/vnd.apache.arrow.stream\r\n"):
        assert asked(table, stream(TABLE), head)[1].column("score").to_pylist() == scores
    wants = "accept: Application/vnd.apache.arrow.stream\r\n"
    answer = table.ask("/predict", {"rows": TABLE.to_pylist()}, wants)[1]
    assert pa.ipc.open_stream(answer).read_all().column("score").to_pylist() == scores
    assert "predictions" in table.ask("/predict", {"rows": [ROW]}, JSON)[1]


@pytest.mark.parametrize("kind", ["application/vnd.apache.arrow.stream; x=y", "Application/Vnd.Apache.Arrow.Stream"])
def test_the_kind_of_a_body_may_have_parameters_and_capitals(table, kind):
    assert table.ask("/predict", stream(TABLE), f"content-type: {kind}\r\n")[0] == 200


def test_batches_are_one_request(table):
    many = pa.table({name: values * 50 for name, values in COLUMNS.items()})
    whole = asked(table, stream(many))[1]
    for kind in (pa.string(), pa.dictionary(pa.int32(), pa.string())):
        again = many.set_column(0, "carrier", many.column("carrier").cast(kind))
        assert asked(table, stream(again, rows=7))[1].column("score").to_pylist() == whole.column("score").to_pylist()


@pytest.mark.parametrize("kind", [pl.String, pl.Categorical, pl.Enum(["AA", "UA"])])
def test_what_polars_writes_is_taken(table, kind):
    sink = io.BytesIO()
    pl.DataFrame(COLUMNS).with_columns(pl.col("carrier").cast(kind)).write_ipc_stream(sink)
    assert asked(table, sink.getvalue())[0] == 200


def test_the_body_as_a_whole_may_be_compressed(table):
    assert asked(table, gzip.compress(stream(TABLE)), "content-encoding: gzip\r\n")[0] == 200


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_a_compressed_bomb_is_refused_before_it_is_inflated(table, compression):
    bomb = pa.table({"carrier": ["A" * (100 << 20)], "distance": [1]})
    for body in (stream(bomb, compression=compression), stream(TABLE, compression=compression)):
        assert len(body) < table.server.max_body
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        code, answer = asked(table, body)
        assert (code, "uncompressed" in answer["error"]["what"]) == (415, True)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 << 10


def dictionary(texts, at) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(at, pa.int8()), pa.array(texts, pa.string()))


MANY = {"temp": pa.nulls(MAX_ROWS), "distance": pa.array([1] * MAX_ROWS, pa.int8())}
BOUNDLESS = {
    "nulls": pa.table({"temp": pa.nulls(10**9)}),
    "nulls of all": pa.table({name: pa.nulls(10**9) for name in COLUMNS}),
    "one text for many rows": pa.table({"carrier": dictionary(["x" * 500_000], [0] * MAX_ROWS), **MANY}),
    "rows": pa.table({"distance": pa.array([1] * (MAX_ROWS + 1), pa.int8())}),
    "no rows": TABLE.slice(0, 0),
    "no columns": pa.table({}),
    "unknown names": pa.table({f"x{at}": pa.nulls(MAX_ROWS) for at in range(2000)}),
    "lists": pa.table({"distance": pa.array([[1] * 1000] * 100, pa.list_(pa.int8()))}),
}


@pytest.mark.parametrize("name", BOUNDLESS)
def test_what_stands_for_more_than_it_is_is_refused(table, name):
    body = stream(BOUNDLESS[name])
    assert len(body) < table.server.max_body
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    code, answer = asked(table, body)
    assert (code, bool(answer["error"]["what"])) == (422, True)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 << 10
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1, 2], pa.timestamp("s")),
        pa.array([b"a", b"b"], pa.binary()),
        pa.array([1, 2], pa.decimal128(5)),
        pa.array([{"a": 1}, {"a": 2}]),
        pa.array([[["a"]], [["b"]]]),
        pa.DictionaryArray.from_arrays(pa.array([0, 1]), pa.array([1, 2])),
        pa.RunEndEncodedArray.from_arrays(pa.array([2], pa.int32()), pa.array([1.0])),
    ],
    ids=str,
)
def test_a_type_that_is_not_taken_is_named(table, column):
    code, answer = asked(table, stream(TABLE.set_column(1, "temp", column)))
    assert (code, answer["error"]["column"]) == (422, "temp")


def test_a_name_that_is_there_twice_is_refused(table):
    body = stream(pa.Table.from_arrays([*TABLE.columns, TABLE.column(0)], names=[*TABLE.column_names, "carrier"]))
    assert asked(table, body)[0] == 422


def test_a_dictionary_that_grows_is_refused(table):
    schema = pa.schema({"carrier": pa.dictionary(pa.int8(), pa.string()), "distance": pa.int64()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema, options=pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)) as writer:
        for texts in (["AA"], ["AA", "UA"]):
            writer.write_batch(pa.record_batch([dictionary(texts, [0]), pa.array([1])], schema=schema))
    code, answer = asked(table, sink.getvalue().to_pybytes())
    assert (code, "grows" in answer["error"]["what"]) == (415, True)


def test_a_stream_that_is_cut_anywhere_is_400(table):
    body = stream(TABLE)
    for end in (*range(0, len(body), 8), len(body) - 1):
        assert asked(table, body[:end])[0] == 400
    assert asked(table, body + b"more")[0] == 400
    assert asked(table, b"ARROW1\0\0" + body)[0] == 400


def test_damaged_streams_are_refused_or_answered_and_never_a_fault_of_ours(table):
    seed = time.time_ns() % 10**6
    rng = random.Random(seed)
    good = [
        stream(TABLE),
        stream(TABLE.set_column(0, "carrier", dictionary(["AA", "UA"], [0, 1]))),
        stream(TABLE.set_column(0, "carrier", TABLE.column(0).cast(pa.string_view())), rows=1),
    ]
    for _ in range(400):
        body = bytearray(rng.choice(good))
        for _ in range(rng.choice((1, 1, 2, 8))):
            at = rng.randrange(len(body))
            body[at] = rng.choice((0, 1, 0xFF, 0x7F, body[at] ^ (1 << rng.randrange(8)), rng.randrange(256)))
        if rng.random() < 0.2:
            del body[(at := rng.randrange(len(body))) : at + rng.choice((1, 4, 8, 64))]
        code, _ = table.ask("/predict", bytes(body), KIND + JSON)
        assert code in (200, 400, 415, 422), (seed, code, bytes(body))
    assert not table.server.faults["handler"]
    assert table.api.predictor.waiting == 0


def test_the_first_stream_of_a_process_loads_no_pandas(tmp_path, artifacts):
    body = tmp_path / "body"
    body.write_bytes(stream(TABLE))
    code = (
        "import sys; from pathlib import Path; from aiinfra_lab.deploy.server import answering, messages, model\n"
        "loaded = model.load('models:delay@1', Path(sys.argv[1]))\n"
        "raw = messages.RawRequest('r', 0.0, Path(sys.argv[2]).read_bytes(), messages.Form('arrow', 'arrow'))\n"
        "[reply] = answering.Answering(loaded).answer([raw])\n"
        "assert reply.status == 200 and 'pyarrow' in sys.modules and 'pandas' not in sys.modules\n"
        "import pandas, pyarrow; assert len(pyarrow.table({'x': [1]}).to_pandas()) == 1\n"
    )
    subprocess.run([sys.executable, "-c", code, artifacts("plain"), body], check=True)


def test_the_rows_of_a_stream_are_counted_without_reading_them():
    assert arrow_messages.rows_of(stream(pa.table({"x": range(1000)}), rows=10)) == 1000


def test_a_key_in_the_head_decides_for_every_form(tmp_path, artifacts):
    with serving.endpoint(tmp_path / "log", artifacts("plain")) as there:
        predictor = there.api.predictor
        canary = inline_workers.served(predictor, "models:delay@2", artifacts("plain", 2.0))
        predictor.routes = inline_workers.routes(predictor.routes.live[0], canary, 0.5)
        tensors = [
            {"name": name, "shape": [2], "datatype": kind, "data": COLUMNS[name]}
            for name, kind in (("carrier", "BYTES"), ("temp", "FP64"), ("distance", "INT64"))
        ]
        seen = set()
        for key in map(str, range(20)):
            head = f"x-aiinfra-key: {key}\r\n"
            by = asked(there, stream(TABLE), head)[1].schema.metadata[b"model"].decode()
            for body in ({"rows": [ROW], "key": key}, {"rows": [ROW], "key": "other"}):
                more = head if body["key"] != key else ""
                assert there.ask("/predict", body, more)[1]["model"] == by
            for more, parameters in ((head, {}), ("", {"key": key}), (head, {"key": "other"})):
                found = there.ask("/v2/models/delay/infer", {"inputs": tensors, "parameters": parameters}, more)[1]
                assert f"models:delay@{found['model_version']}" == by
            seen.add(by)
        assert seen == {"models:delay@1", "models:delay@2"}


@pytest.mark.parametrize("key", ["", "k" * 257])
def test_a_key_in_the_head_has_a_length(table, key):
    code, answer = table.ask("/predict", {"rows": [ROW]}, f"x-aiinfra-key: {key}\r\n")
    assert (code, "256" in answer["error"]["what"]) == (400, True)


def test_what_only_the_canary_refuses_the_champion_answers(tmp_path, artifacts):
    narrow = tmp_path / "narrow"
    shutil.copytree(artifacts("plain", 2.0), narrow)
    contract = json.loads((narrow / "columns.json").read_text())
    contract["columns"][1]["required"] = True
    (narrow / "columns.json").write_text(json.dumps(contract))
    with serving.endpoint(tmp_path / "log", artifacts("plain")) as there:
        predictor = there.api.predictor
        canary = inline_workers.served(predictor, "models:delay@2", narrow)
        predictor.routes = inline_workers.routes(predictor.routes.live[0], canary, 1.0)
        tensors = [
            {"name": name, "shape": [2], "datatype": kind, "data": COLUMNS[name]}
            for name, kind in (("carrier", "BYTES"), ("temp", "FP64"), ("distance", "INT64"))
        ]
        assert there.ask("/v2/models/delay/infer", {"inputs": tensors})[1]["model_version"] == "1"
        assert asked(there, stream(TABLE))[1].schema.metadata[b"model"] == b"models:delay@1"
        assert canary.counts.refused == 2
        assert not dict(predictor.refused)
