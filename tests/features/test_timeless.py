"""Feature sets of rows without a time: joined by entity, served and checked; what is not promised is said."""

import random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiinfra_lab import features
from aiinfra_lab.errors import Failed, Inconclusive, UsageProblem
from aiinfra_lab.features import view
from aiinfra_lab.features.join import Events, by_entity, prepare
from aiinfra_lab.features.record import NO_TIME, FeatureSetVersion, names_of
from aiinfra_lab.resolve import resolve

from .conftest import put
from .shop import CELL, shop_tables


@pytest.fixture
def orders(workspace, tmp_path):
    return put("orders", shop_tables(), tmp_path / "orders")


@pytest.fixture
def spending(orders):
    return features.add("spending", data=orders, label="price", id_="order", code=CELL)


def test_each_row_gets_what_is_known_of_its_entity(spending, orders):
    found = features.get("spending", rows=orders)
    tables = shop_tables()
    plans = dict(tables["customers"].drop_nulls("customer").select("customer", "plan").rows())
    usual = {
        row[:2]: row[2] for row in tables["orders"].group_by("shop", "weekday").agg(pl.col("amount").mean()).rows()
    }
    for asked, got in zip(tables["orders"].iter_rows(named=True), found.table().iter_rows(named=True), strict=True):
        assert (got["row_id"], got["plan"], got["amount"]) == (
            asked["order"], plans.get(asked["customer"]), asked["amount"],
        )  # fmt: skip
        assert got["usual"] == pytest.approx(usual[asked["shop"], asked["weekday"]])
    assert found.columns == ("amount", "age", "plan", "usual")
    assert found.table().columns == ["row_id", "customer", "shop", "weekday", *found.columns, "price"]
    assert (found.timestamp, found.label) == ("", "price")


def test_what_is_not_promised_is_said_wherever_the_set_is_seen(spending, orders):
    for result in (spending, features.get("spending", rows=orders), features.check("spending")):
        assert NO_TIME in " ".join(result.card().text().split())
        assert "its own time" not in result.card().text()
    assert "sees its future" not in features.check("spending").card().text()


def test_a_set_with_a_time_says_nothing_of_the_kind(lateness, trips):
    for result in (lateness, features.get("lateness", rows=trips), features.check("lateness")):
        assert "not promised" not in result.card().text()


def test_the_online_store_has_the_same(spending, orders):
    found = features.get("spending", online="customer=a,shop=1,weekday=mo,amount=3")
    usual = shop_tables()["orders"].filter(pl.col("shop") == 1, pl.col("weekday") == "mo")["amount"].mean()
    assert found.values == (3.0, 40, "l", pytest.approx(usual))
    assert features.get("spending", online="customer=z,shop=9,weekday=su").values == (None, None, None, None)
    assert features.show("spending").online_as_of.startswith(found.as_of)


def test_newer_data_replaces_what_the_store_held(spending, tmp_path):
    tables = shop_tables()
    tables["customers"] = tables["customers"].filter(pl.col("customer") != "a").with_columns(plan=pl.lit("m"))
    newer = put("orders", tables, tmp_path / "newer")
    values = [
        features.get("spending", online=f"customer={who},shop=1,weekday=mo", data=newer).values[1:3] for who in "abc"
    ]
    assert values == [(None, None), (None, "m"), (30, "m")]


def test_it_is_checked(spending):
    found = features.check("spending")
    assert found.state == "good"
    assert [each["what"] for each in found.verdicts] == [
        "customer_since: one row an entity", "usual_at: one row an entity", "online is offline", "own columns",
    ]  # fmt: skip


def test_a_view_without_rows_cannot_be_told(orders):
    code = CELL.replace('select("customer", "age", "plan")', 'select("customer", "age", "plan").filter(pl.lit(False))')
    features.add("empty", data=orders, code=code)
    with pytest.raises(Inconclusive, match="customer_since: one row an entity"):
        features.check("empty")


def test_a_set_of_own_columns_alone_needs_no_time(orders):
    features.add("own", data=orders, label="price", code='columns = ["amount"]')
    assert features.get("own", rows=orders).rows == 60
    assert "1 column is there, in 60 rows" in features.check("own").verdicts[0]["why"]
    assert features.get("own", online="amount=3").values == (3.0,)


def test_an_entity_with_two_rows_is_refused_with_what_helps(orders):
    code = CELL.replace('customers.select("customer", "age", "plan")', 'orders.select("customer", "amount")').replace(
        "customers: pl", "orders: pl"
    )
    with pytest.raises(Failed, match=r"customer_since has \d+ rows of customer=\w, and no time") as problem:
        features.add("twice", data=orders, code=code.replace('columns = ["amount"]', ""))
    assert ".group_by('customer').agg(…)" in problem.value.fix


def test_times_on_one_side_alone_are_refused_and_the_fix_works(orders, trips):
    with pytest.raises(Failed, match="has no timestamp, and the rows have asked_at"):
        features.add("mixed", data=trips, timestamp="asked_at", code=TIMELESS_VIEW)
    assert features.add("mixed", data=trips, code=TIMELESS_VIEW).timestamp == ""
    timed = TIMELESS_VIEW.replace('entity="line"', 'entity="line", timestamp="arrived_at"').replace(
        '"line").agg(', '"line", "arrived_at").agg('
    )
    with pytest.raises(Failed, match="has the timestamp arrived_at, and the rows have none"):
        features.add("timed", data=trips, code=timed)
    assert features.add("timed", data=trips, timestamp="asked_at", code=timed).timestamp == "asked_at"


TIMELESS_VIEW = """
import polars as pl
from aiinfra_lab.features import view

@view(entity="line")
def usual(trips):
    return trips.group_by("line").agg(m=pl.col("delay").mean())
"""


@pytest.mark.parametrize("options", [{"ttl": "3h"}, {"known_at": "seen"}])
def test_what_says_something_of_times_needs_one(options):
    with pytest.raises(UsageProblem, match="without a timestamp"):
        view(entity="k", **options)


LABELS = {
    "one": ("price", "price"),
    "one in a list": (["price"], "price"),
    "several": ("price,rent", ("price", "rent")),
    "none": ((), ""),
    "an empty text": ("", ""),
}


@pytest.mark.parametrize(("given_as", "kept"), LABELS.values(), ids=LABELS)
def test_a_label_is_one_column_or_several(orders, given_as, kept):
    found = features.add("labelled", data=orders, label=given_as, code=CELL)
    assert found.label == kept
    assert features.add("labelled", data=orders, label=given_as, code=CELL).uri == "features:labelled@1"
    rows = features.get("labelled", rows=orders)
    assert rows.label == kept
    assert [name for name in rows.table().columns if name in ("price", "rent")] == [*names_of(kept)]


def test_several_labels_are_no_features(orders):
    with pytest.raises(Failed, match="'amount' cannot be a feature"):
        features.add("leak", data=orders, label="price,amount", code=CELL)
    with pytest.raises(Failed, match="twice"):
        features.add("leak", data=orders, label=["price", "price"], code=CELL)


def test_a_label_alone_is_digested_as_it_always_was(orders):
    one = resolve(features.add("one", data=orders, label=["price"], code=CELL), FeatureSetVersion).body
    several = resolve(features.add("two", data=orders, label="price,rent", code=CELL), FeatureSetVersion).body
    assert one.label == "price"  # a text: tests/features/test_record.py has the digest that 0.1.0 computed of one
    assert one.fingerprint() != several.fingerprint() == several.digest


def test_another_label_is_another_version_and_the_difference_says_so(orders):
    features.add("sales", data=orders, label="price", code=CELL)
    features.add("sales", data=orders, label="price,rent", code=CELL)
    assert ("label", "price", "price, rent") in features.diff("sales@1", "sales@2").changed


def events(frame: pl.DataFrame) -> Events:
    return prepare(view(entity=["k", "m"])(lambda: frame), frame)


def slowly(rows: list[tuple[object, object]], facts: list[tuple[object, object, float | None]]) -> list[float | None]:
    """The same question, answered row by row."""
    return [next((x for k, m, x in facts if (k, m) == row and None not in row), None) for row in rows]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6))
def test_the_join_by_entity_says_what_a_slow_search_says(seed):
    draw = random.Random(seed)
    keys = [(k, m) for k in ("a", "b", "c", None) for m in (1, 2, None)]
    facts = [(*key, draw.choice([draw.random(), None])) for key in draw.sample(keys, draw.randrange(1, len(keys)))]
    facts += draw.choices(facts, k=3)  # the same once more is no other fact
    draw.shuffle(facts)
    rows = [draw.choice([*keys, ("z", 9)]) for _ in range(30)]
    schema = {"k": pl.String, "m": pl.Int64}
    frame = pl.DataFrame(facts, schema={**schema, "x": pl.Float64}, orient="row")
    asked = pl.DataFrame(rows, schema=schema, orient="row")
    assert by_entity(asked, events(frame))["x"].to_list() == slowly(rows, facts)
