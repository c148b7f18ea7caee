"""Variables go to another Python process, which has nothing of ours, and come back as they were."""

import ast
import collections
import datetime as dt
import enum
import gc
import math
import pathlib
import subprocess
import sys
import threading
import types
import weakref

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from aiinfra_lab.errors import Damaged, Denied, Failed, Missing, UsageProblem
from aiinfra_lab.kernels import values
from aiinfra_lab.kernels.values import installed, mismatches, pack, requirements, unpack

from .value_kinds import ARRAYS, BERLIN, CELL, HARD_ROWS, PICKLED, PLAIN, ROWS, TABLES, TENSORS, in_a_notebook, same

# What the other process does: it unpacks, runs code on what it got, and packs everything again.
PEER = """
import sys
exec(sys.argv[1])
import aiinfra_values
assert not any(name.partition(".")[0] == "aiinfra_lab" for name in sys.modules)
names = aiinfra_values.unpack(sys.stdin.buffer.read(), pickles=True)
exec(sys.argv[2], names)
names.pop("__builtins__", None)
sys.stdout.buffer.write(bytes(aiinfra_values.pack(names)))
"""


def there_and_back(given: dict, code: str = "", flags: tuple[str, ...] = ()) -> dict:
    """The variables after they were in another process, where that code ran on them."""
    command = [sys.executable, *flags, "-c", PEER, values.source(), code]
    done = subprocess.run(command, input=bytes(pack(given)), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return unpack(done.stdout, pickles=True)


def refuse_pickles(given: dict) -> dict:
    """What comes back where no pickle is loaded."""
    return unpack(bytes(pack(given)))


# ---- exactly ----


@pytest.mark.parametrize(
    "given", [PLAIN, ARRAYS, TENSORS, ROWS, TABLES], ids=["plain", "arrays", "tensors", "rows", "tables"]
)
def test_values_with_a_form_come_back_exactly_and_without_a_pickle(given) -> None:
    assert "python" not in requirements(pack(given))
    assert [name for name, value in refuse_pickles(given).items() if not same(value, given[name])] == []
    back = there_and_back(given)
    assert [*back] == [*given]
    assert [name for name, value in back.items() if not same(value, given[name])] == []


@pytest.mark.parametrize("given", [HARD_ROWS, PICKLED], ids=["rows", "objects"])
def test_everything_else_comes_back_exactly_by_pickle(given) -> None:
    back = there_and_back(given)
    equal = {name for name, value in back.items() if name in ("instance", "partial") or same(given[name], value)}
    assert {*given} - equal == set()
    if "instance" in back:
        assert type(back["instance"]).__name__ == "Point"
        assert (back["instance"].x, back["instance"].y.tolist()) == (1.5, [0, 1, 2])
        assert back["partial"]("101") == 5


def test_more_than_twenty_kinds_go() -> None:
    def kinds(value):
        nested = isinstance(value, (list, tuple, set, frozenset, dict))
        inside = [*value.values()] if isinstance(value, dict) else value
        return {type(value)}.union(*map(kinds, inside)) if nested else {type(value)}

    assert len(kinds([PLAIN, ARRAYS, TENSORS, ROWS, TABLES, PICKLED])) > 50


class Kind(enum.Enum):
    ONE, OTHER = 1, 2


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary() | st.decimals()
    | st.datetimes(timezones=st.none() | st.timezones()) | st.dates() | st.times() | st.timedeltas()
    | st.complex_numbers() | st.fractions() | st.uuids(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=30,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(plain)
def test_any_plain_value_comes_back(value) -> None:
    assert same(refuse_pickles({"value": value})["value"], value)


by_pickle = st.sampled_from([*Kind, int, pd.Timestamp("2026-01-31"), pd.Timestamp("2026-02-28"), pd.Period("2026-01")])
mixed = st.recursive(
    by_pickle | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(by_pickle | st.text() | st.tuples(by_pickle, by_pickle), inner)
        | st.dictionaries(by_pickle, inner).map(collections.OrderedDict)
        | inner.map(lambda value: types.SimpleNamespace(held=value))
    ),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(mixed)
def test_pickles_among_plain_values_come_back_each_in_its_place(value) -> None:
    assert same(unpack(bytearray(bytes(pack({"value": value}))), pickles=True)["value"], value)


def test_pickles_that_are_read_in_another_order_are_refused() -> None:
    packed = bytes(pack({"value": [Kind.ONE, Kind.OTHER]}))
    turned = packed.replace(b'["pickled",0]', b'["pickled",9]').replace(b'["pickled",1]', b'["pickled",0]')
    with pytest.raises(Damaged, match="not in their order"):
        unpack(turned, pickles=True)


def test_functions_and_classes_of_a_cell_run_over_there() -> None:
    back = there_and_back(
        {"area": CELL["area"], "Point": CELL["Point"], "more": CELL["counter"](), "double": lambda x: 2 * x},
        "result = [area(1), Point(3).x, more(), more(), double(4)]",
    )
    assert back["result"] == [2 * math.pi, 3, 1, 2, 8]
    assert back["more"]() == 3


def test_a_named_tuple_of_a_cell_needs_nothing_there() -> None:
    cell = in_a_notebook("import collections\nPoint = collections.namedtuple('Point', 'x y')\npoint = Point(1, 2)")
    assert {*requirements(pack({"point": cell["point"]}))} <= {"python", "cloudpickle"}
    code = "import collections\nback = collections.namedtuple('Back', 'sum')(point.x + point.y)"
    assert there_and_back({"point": cell["point"]}, code)["back"].sum == 3


def test_a_model_goes_there_is_trained_and_comes_back() -> None:
    rows = pd.DataFrame({"x": [0.0, 1, 2, 3], "late": [0, 0, 1, 1]})
    back = there_and_back({"rows": rows, "model": LogisticRegression()}, "model.fit(rows[['x']], rows['late'])")
    assert back["model"].predict(rows[["x"]]).tolist() == [0, 0, 1, 1]


# ---- a bare machine ----


def test_plain_values_need_nothing_but_python_over_there() -> None:
    back = there_and_back(PLAIN, "found = 'site' in __import__('sys').modules", ("-I", "-S"))
    assert back.pop("found") is False
    assert same(back, PLAIN)


def test_a_bare_machine_says_what_it_lacks() -> None:
    given = bytes(pack({"rows": ROWS["plain"]}))
    command = [sys.executable, "-I", "-S", "-c", PEER, values.source(), ""]
    done = subprocess.run(command, input=given, capture_output=True, check=False)
    assert b"this Python cannot unpack rows: pandas is needed and not installed; pyarrow is" in done.stderr
    assert b"fix: install the same versions on both sides" in done.stderr


def test_a_bare_machine_that_shall_pickle_names_cloudpickle() -> None:
    command = [sys.executable, "-I", "-S", "-c", PEER, values.source(), "made = type('Made', (), {})()"]
    done = subprocess.run(command, input=bytes(pack({})), capture_output=True, check=False)
    assert b"`made` (Made) cannot go to another machine: No module named 'cloudpickle'" in done.stderr
    assert b"fix: install cloudpickle" in done.stderr


def test_the_text_that_is_sent_is_read_by_older_pythons_and_imports_the_standard_library_only() -> None:
    folder = pathlib.Path(values.__file__).parent
    for path in folder.glob("*.py"):
        tree = ast.parse(path.read_text(), feature_version=(3, 10))
        for node in tree.body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names | {"__future__"}


def test_loading_it_loads_no_library() -> None:
    code = "import sys; exec(sys.argv[1]); import aiinfra_values; print(*{'numpy', 'torch', 'pandas'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code, values.source()], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


# ---- versions ----


def test_a_form_needs_its_library_and_a_pickle_the_versions() -> None:
    assert requirements(pack({"a": np.ones(2), "t": torch.ones(1), "p": pl.DataFrame()})) == {
        "numpy": "", "torch": "", "polars": "",
    }  # fmt: skip
    assert requirements(pack({"rows": ROWS["plain"]})) == {"pandas": "", "pyarrow": ""}
    needs = requirements(pack({"model": LogisticRegression(C=np.float64(2))}))
    assert needs["scikit-learn"] == installed(["scikit-learn"])["scikit-learn"]
    assert needs["python"].startswith(f"{sys.version_info[0]}.{sys.version_info[1]}.")
    assert needs["numpy"] == ""


def test_an_enum_of_polars_needs_its_version() -> None:
    series = pl.Series(["x"], dtype=pl.Enum(["x"]))
    assert requirements(pack({"plain": pl.Series([1]), "enum": [series]})) == {"polars": pl.__version__}


def test_what_a_function_imports_is_needed() -> None:
    names = in_a_notebook("import pandas as pd\nfrom scipy import stats\ndef f(): return pd.DataFrame, stats.norm")
    assert {"pandas", "scipy", "cloudpickle", "python"} <= requirements(bytes(pack({"f": names["f"]}))).keys()


def test_a_module_of_the_users_own_is_needed_by_its_name(tmp_path, monkeypatch) -> None:
    (tmp_path / "my_flights.py").write_text("class Flight: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    import my_flights

    packed = pack({"flight": my_flights.Flight()})
    assert requirements(packed)["my_flights"] == ""
    assert installed(["my_flights"]) == {"my_flights": ""}
    monkeypatch.undo()
    sys.modules.pop("my_flights")
    with pytest.raises(Missing, match="my_flights is needed and not installed"):
        unpack(bytes(packed), pickles=True)


def test_code_that_differs_on_the_two_sides_is_named(tmp_path, monkeypatch) -> None:
    (tmp_path / "my_trains.py").write_text("class Train: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    import my_trains

    packed = bytes(pack({"first": 1, "train": my_trains.Train()}))
    del my_trains.Train
    with pytest.raises(Failed, match=r"`train` cannot be unpacked here: .*Train(?s:.)*fix: bring the same code"):
        unpack(packed, pickles=True)
    sys.modules.pop("my_trains")


def test_a_time_zone_that_the_other_side_lacks_is_named(monkeypatch) -> None:
    packed = bytes(pack({"at": dt.datetime(2026, 1, 1, tzinfo=BERLIN)})).replace(b"Europe/Berlin", b"Europe/Bierli")
    with pytest.raises(Failed, match=r"`at` cannot be unpacked here(?s:.)*tzdata"):
        unpack(packed)


@pytest.mark.parametrize(
    ("ours", "theirs", "count"),
    [
        ("1.9.1", "1.9.0", 0),
        ("1.9.1", "1.8.2", 1),
        ("2.0", "2", 0),
        ("2.0", "3.0", 1),
        ("0.5.1", "0.5.9", 0),
        ("0.5.1", "0.6.0", 1),
        ("2.13.0+cpu", "2.13.0+cu128", 0),
        ("2.0.0rc1", "2.0.0", 1),
        ("2.0.0rc1", "2.0.0rc1", 0),
        ("1.2.3.post1", "1.2.4", 0),
        ("", "0.1", 0),
        ("1.0", "", 1),
        ("1!2.0", "2.0", 1),
    ],
)
def test_a_pickle_goes_between_the_same_major_and_minor_version(ours, theirs, count) -> None:
    assert len(mismatches({"lib": theirs}, {"lib": ours})) == count


def test_mismatches_are_named() -> None:
    theirs = {"python": "3.12.1", "scikit-learn": "1.7.0"}
    assert mismatches(theirs, {"scikit-learn": "1.9.1", "python": "3.11.2", "polars": "", "xgboost": "3.1.2"}) == [
        "polars is needed and not installed",
        "python 3.11 is needed, since a value comes from 3.11.2, and 3.12.1 is installed",
        "scikit-learn 1.9 is needed, since a value comes from 1.9.1, and 1.7.0 is installed",
        "xgboost 3.1 is needed and not installed",
    ]


def test_nothing_is_unpickled_by_other_versions(monkeypatch) -> None:
    packed = bytes(pack({"model": LogisticRegression()}))
    version = installed(["scikit-learn"])["scikit-learn"].encode()
    with pytest.raises(Missing, match=r"scikit-learn 0\.1 is needed"):
        unpack(packed.replace(version, b"0.1.0"[: len(version)].ljust(len(version), b"0"), 1), pickles=True)


# ---- what cannot go ----


@pytest.mark.filterwarnings("ignore:ComplexHalf", "ignore:The PyTorch API of nested tensors")
def test_tensors_that_torch_itself_does_not_bring_back_go_or_are_refused_before_the_cell() -> None:
    kinds = ("complex32", "float8_e4m3fnuz", "float8_e8m0fnu")
    rare = {kind: torch.arange(8, dtype=torch.uint8).view(getattr(torch, kind)) for kind in kinds}
    packed = pack({"box": CELL["Point"](rare)})
    assert requirements(packed)["torch"] == torch.__version__
    back = unpack(bytes(packed), pickles=True)["box"].x
    assert [(kind, back[kind].view(torch.uint8).tolist()) for kind in kinds] == [(kind, [*range(8)]) for kind in kinds]
    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    assert [each.tolist() for each in there_and_back({"n": nested})["n"].unbind()] == [[1, 1], [1, 1, 1]]
    with pytest.raises(
        UsageProblem, match=r"`odd` .* cannot go to another machine: torch brings no tensor of bits8 back"
    ):
        pack({"odd": [torch.empty(2, dtype=torch.bits8)]})


def test_what_cannot_go_is_named_with_its_type_and_a_fix(tmp_path) -> None:
    opened = (tmp_path / "a.txt").open("w")
    cannot = {
        "lock": (threading.Lock(), "lock", "make it in the cell that needs it"),
        "rows": ((row for row in [1]), "generator", r"rows = list\(rows\)"),
        "file": (opened, "_io.TextIOWrapper", "take along its path"),
        "view": (memoryview(b"x"), "memoryview", r"view = bytes\(view\)"),
        "thing": (CELL["Point"](threading.Lock()), "Point", "make it in the cell"),
        "deep": ({"a": [1, (2, sys._getframe())]}, r"dict\), which holds a frame", "make it in the cell"),
        "odd": (pl.DataFrame({"o": [object()]}), "polars", "make it in the cell"),
    }
    for name, (value, kind, fix) in cannot.items():
        with pytest.raises(UsageProblem, match=f"`{name}` .*{kind}(?s:.)*fix: .*{fix}"):
            pack({"before": 1, name: value})
    opened.close()


def test_what_is_nested_too_deep_is_named() -> None:
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(UsageProblem, match=r"`deep` .* nested too deep"):
        pack({"deep": deep})


def test_no_pickle_is_loaded_unless_it_is_allowed() -> None:
    packed = bytes(pack({"rows": ROWS["plain"], "instance": PICKLED["instance"]}))
    with pytest.raises(Denied, match="instance came as a pickle"):
        unpack(packed)


def test_a_pickle_that_is_not_declared_is_not_loaded_either() -> None:
    packed = bytes(pack({"box": PICKLED["instance"]})).replace(b'"variables":["box"]', b'"variables":[     ]')
    with pytest.raises(Denied, match="came as a pickle"):
        unpack(packed)


@pytest.mark.parametrize("node", ['["numpy.generic","\'|O\'","0000000000000000"]', '["numpy","\'|O\'",[1],0,true]'])
def test_memory_is_never_taken_for_pointers(node) -> None:
    packed = bytes(pack({"a": [np.int64(1)], "filling": "x" * 100}))
    old = packed[packed.index(b'["numpy.generic"') :].partition(b"]")[0] + b"]"
    filling = b'"filling":"' + b"x" * 100
    grown = len(node) - len(old)
    packed = packed.replace(filling, filling[:-grown] if grown > 0 else filling + b"x" * -grown)
    with pytest.raises(ValueError, match="object"):
        unpack(packed.replace(old, node.encode()))


def test_asking_what_is_installed_imports_nothing(tmp_path, monkeypatch) -> None:
    (tmp_path / "loud").mkdir()
    (tmp_path / "loud" / "__init__.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(tmp_path)
    assert installed(["loud", "loud.part", "", "../loud", "-"]) == {"loud": ""}


def test_what_another_version_packed_is_refused() -> None:
    with pytest.raises(Damaged, match="packed by another version"):
        unpack(bytes(pack({"a": 1})).replace(b"aiinfra3", b"aiinfra1"))


@pytest.mark.parametrize("broken", [b"", b"x" * 100, b"aiinfra3" + b"\xff" * 8, bytes(pack(ARRAYS))[:-200]])
def test_what_did_not_arrive_whole_is_refused(broken) -> None:
    with pytest.raises(Damaged, match="fix:"):
        unpack(broken)


# ---- size ----


def test_the_size_is_known_before_anything_is_sent() -> None:
    packed = pack({"small": 1, "large": np.zeros(1_000_000), "rows": ROWS["plain"]})
    assert packed.size == len(bytes(packed)) == sum(memoryview(piece).nbytes for piece in packed)
    assert packed.sizes["small"] < 10
    assert 8_000_000 <= packed.sizes["large"] < 8_001_000
    assert sum(packed.sizes.values()) <= packed.size


def test_the_pieces_are_the_memory_of_the_array_itself() -> None:
    array = np.zeros(1000)
    pieces = [piece for piece in pack({"array": array}) if memoryview(piece).nbytes == array.nbytes]
    array[0] = 5
    assert np.frombuffer(pieces[0])[0] == 5


def test_memory_that_is_handed_over_is_that_of_the_array() -> None:
    data = bytearray(bytes(pack({"array": np.zeros(1000), "objects": PICKLED["instance"]})))
    back = unpack(data, pickles=True)
    assert np.shares_memory(back["array"], np.frombuffer(data, "u1"))
    back["array"][:] = 7
    assert data.count(b"\x1c@") == 1000


def test_nothing_that_was_sent_is_kept_until_the_next_collection() -> None:
    gc.disable()
    try:
        array = np.ones(10)
        data, seen = bytearray(bytes(pack({"box": CELL["Point"](array)}))), weakref.ref(array)
        del array
        assert seen() is None
        back = unpack(data, pickles=True)
        with pytest.raises(BufferError):  # the array has it
            data.clear()
        del back
        data.clear()
    finally:
        gc.enable()


MEMORY = """
import resource, sys
exec(sys.argv[1])
import aiinfra_values as values, numpy as np, cloudpickle
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before, size = peak(), 120_000_000
names = {"array": np.ones(size // 8)}
data = bytes(values.pack(names))
packing = peak() - before
del names
if sys.argv[2] == "over":
    data = bytearray(data)
    values.unpack(data)
else:
    values.unpack(data)
print(packing / size, (peak() - before) / size)
"""


@pytest.mark.parametrize("way", ["copied", "over"])
def test_packing_and_unpacking_hold_a_large_array_twice_at_most(way) -> None:
    command = [sys.executable, "-c", MEMORY, values.source(), way]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert all(float(times) < 2.2 for times in done.stdout.split())


def test_the_modules_name_is_not_taken_twice() -> None:
    names: dict = {}
    exec(values.source(), names)
    exec(values.source(), names)
    assert isinstance(sys.modules.pop("aiinfra_values"), types.ModuleType)
    for name in [name for name in sys.modules if name.startswith("aiinfra_values.")]:
        del sys.modules[name]
    assert "_aiinfra_values" not in names
