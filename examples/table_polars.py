"""A polars frame with categories and missing values: fit, save, and use in a new process."""

import subprocess
import sys

import numpy as np
import polars as pl

from bpcore.tabular import TabularRegressor, load

PATH = "rent.safetensors"


def flats(n, seed):
    """Flats, some with missing facts, and their rents."""
    rng = np.random.default_rng(seed)
    town = rng.choice(["Bern", "Basel", "Chur"], n, p=[0.4, 0.4, 0.2])
    size = rng.lognormal(4.3, 0.35, n)
    lift = rng.random(n) < 0.4
    base = np.select([town == "Bern", town == "Basel"], [24.0, 21.0], 16.0)
    rent = base * size**0.9 + 120 * lift + rng.normal(0, 60, n)
    gone = rng.random((2, n)) < 0.1
    return pl.DataFrame({
        "town": pl.Series([None if g else str(t) for t, g in zip(town, gone[0], strict=True)],
                          dtype=pl.Categorical),
        "size": [None if g else float(s) for s, g in zip(size, gone[1], strict=True)],
        "lift": lift,
        "rent": rent,
    })  # fmt: skip


def train():
    model = TabularRegressor(hidden=(64, 32), random_state=0).fit(flats(2000, 0), "rent")
    test = flats(1000, 1)
    print(f"R squared {model.score(test):.3f}; features: {model.preprocessor_.feature_names}")
    assert model.score(test) > 0.7
    model.save(PATH)


def use():
    """In a process of its own: columns in another order, and a town that was never seen."""
    row = pl.DataFrame({"lift": [True], "town": ["Genf"], "size": [80.0]})
    print(f"a flat in Genf: {load(PATH).predict(row)[0]:.0f}")


if __name__ == "__main__":
    if sys.argv[1:] == ["use"]:
        use()
    else:
        train()
        sys.stdout.flush()
        subprocess.run([sys.executable, __file__, "use"], check=True)
