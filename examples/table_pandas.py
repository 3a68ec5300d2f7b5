"""A pandas frame with categories and missing values: fit, save, and use in a new process."""

import subprocess
import sys

import numpy as np
import pandas as pd

from bpcore.tabular import TabularClassifier, load

PATH = "churn.safetensors"


def customers(n, seed):
    """Customers, some of whose answers are missing, and whether they left."""
    rng = np.random.default_rng(seed)
    plan = rng.choice(["basic", "family", "business"], n)
    months, calls = rng.integers(1, 60, n), rng.poisson(2, n)
    left = 1.5 * (plan == "basic") + 0.5 * calls - 0.08 * months + rng.normal(0, 0.7, n) > 0.3
    frame = pd.DataFrame({
        "plan": pd.Categorical(plan),
        "months": months,
        "calls": pd.array(calls, dtype="Int64"),
        "online": rng.random(n) < 0.5,
        "left": np.where(left, "yes", "no"),
    })  # fmt: skip
    frame.loc[rng.random(n) < 0.1, "calls"] = pd.NA
    frame.loc[rng.random(n) < 0.1, "plan"] = None
    return frame


def train():
    model = TabularClassifier(hidden=(64, 32), random_state=0).fit(customers(2000, 0), "left")
    test = customers(1000, 1)
    print(f"accuracy {model.score(test):.3f}; features: {model.preprocessor_.feature_names}")
    assert model.score(test) > 0.85
    model.save(PATH)


def use():
    """In a process of its own: nothing but the file is known, and one plan was never seen."""
    row = pd.DataFrame({"calls": [6], "plan": ["gold"], "online": [True], "months": [2]})
    model = load(PATH)
    answer, share = model.predict(row)[0], model.predict_proba(row)[0].max()
    print(f"a customer with the new plan 'gold': {answer} ({100 * share:.0f} %)")


if __name__ == "__main__":
    if sys.argv[1:] == ["use"]:
        use()
    else:
        train()
        sys.stdout.flush()
        subprocess.run([sys.executable, __file__, "use"], check=True)
