"""Tables that tests learn from, and their files."""

from __future__ import annotations

import csv

import numpy as np


def people(n=400, seed=0):
    """A dict of columns of all kinds, and a target that follows from them."""
    rng = np.random.default_rng(seed)
    age = rng.normal(40, 10, n)
    city = rng.choice(["Bern", "Oslo", "Rome"], n)
    table = {
        "age": [None if i % 9 == 0 else float(a) for i, a in enumerate(age)],
        "city": [None if i % 11 == 0 else str(c) for i, c in enumerate(city)],
        "member": [bool(b) for b in rng.random(n) > 0.5],
        "income": np.exp(rng.normal(10, 1, n)),
    }
    score = np.where(city == "Rome", 2.0, 0.0) + (age > 40) - 1.5 * np.array(table["member"])
    return table, score


def write(path, table, **options):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, **options)
        writer.writerow(table)
        writer.writerows(
            ["" if v is None else v for v in row] for row in zip(*table.values(), strict=True)
        )
    return path
