"""Orders of a shop without any time, and what is known of its customers."""

import random

import polars as pl

CELL = """
import polars as pl
from aiinfra_lab.features import view

columns = ["amount"]

@view(entity="customer")
def customer_since(customers: pl.LazyFrame) -> pl.LazyFrame:
    return customers.select("customer", "age", "plan")

@view(entity=["shop", "weekday"])
def usual_at(orders: pl.LazyFrame) -> pl.LazyFrame:
    return orders.group_by("shop", "weekday").agg(usual=pl.col("amount").mean())
"""


def shop_tables() -> dict[str, pl.DataFrame]:
    draw = random.Random(0)
    amounts = [round(draw.uniform(5, 50), 2) for _ in range(60)]
    orders = pl.DataFrame({
        "order": range(60), "customer": [draw.choice(["a", "b", "c", "d"]) for _ in range(60)],
        "shop": [draw.choice([1, 2]) for _ in range(60)], "weekday": [draw.choice(["mo", "tu"]) for _ in range(60)],
        "amount": amounts, "price": [3 * amount for amount in amounts], "rent": [amount / 2 for amount in amounts],
        "kind": ["x" if amount < 20 else "y" for amount in amounts],
    })  # fmt: skip
    customers = pl.DataFrame(
        {"customer": ["c", "a", "b", None], "age": [30, 40, None, 5], "plan": ["s", "l", "s", "s"]}
    )
    return {"orders": orders, "customers": customers}
