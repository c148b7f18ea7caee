"""Rows with names, which the models of tables are trained on."""

import numpy as np
import pandas as pd

NAMES = ["age", "income", "visits", "debt"]


def customers(count: int = 300, seed: int = 0, missing: float = 0.0) -> pd.DataFrame:
    """Numbers of very different sizes, and some that are missing."""
    draw = np.random.default_rng(seed)
    found = pd.DataFrame({
        "age": draw.integers(18, 90, count),
        "income": draw.normal(50_000, 20_000, count).round(2),
        "visits": draw.poisson(3, count).astype(float),
        "debt": draw.exponential(0.1, count),
    })  # fmt: skip
    for name in ("income", "debt"):
        found.loc[draw.random(count) < missing, name] = np.nan
    return found


def churned(rows: pd.DataFrame, classes: int = 2) -> np.ndarray:
    """Which class each row is of."""
    score = rows["age"] / 90 + rows["income"].fillna(0) / 100_000 - rows["visits"] / 10
    return pd.qcut(score, classes, labels=False).to_numpy()


def amounts(rows: pd.DataFrame) -> np.ndarray:
    """Something above 0 for each row, of different sizes."""
    return np.exp(rows["age"] / 40 + rows["visits"] / 8).to_numpy()
