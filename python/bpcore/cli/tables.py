"""The commands that work on tables: ``train``, ``evaluate``, ``predict`` and ``info``."""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..files import atomic
from . import plain, reports, words

_NO_CSV = {".parquet", ".pq", ".npz", ".npy", ".tsv", ".json", ".xlsx", ".xls", ".gz"}
_HELD = 0.2  # of the rows: those that `train` reports on

_TRAIN = """examples:
  bpcore train houses.csv --target price
  bpcore train churn.csv --target churned --task classification --hidden 64,32 --out churn.st
  bpcore train data.csv --target y --separator ';' --decimal , --missing unknown --plot curves.png
"""
_PREDICT = """example:
  bpcore predict model.safetensors new.csv -o answers.csv
"""
_EVALUATE = """example:
  bpcore evaluate model.safetensors test.csv --json
"""


_RAW = argparse.RawDescriptionHelpFormatter


def add(commands: Any) -> None:
    """Add the parsers of the commands."""
    _add_train(commands)
    _add_use(commands)


def _add_train(commands: Any) -> None:
    train = commands.add_parser(
        "train", help="train a network on a table", epilog=_TRAIN, formatter_class=_RAW
    )
    train.add_argument("data", type=words.path, help="csv, tsv, parquet or npz")
    train.add_argument("--target", required=True, metavar="COL", help="the column to predict")
    train.add_argument(
        "--task", choices=("auto", "classification", "regression"), default="auto",
        help="auto: texts and a few whole numbers are classes (default)",
    )  # fmt: skip
    train.add_argument(
        "--hidden",
        type=words.units,
        default=(128, 64),
        metavar="128,64",
        help="units of hidden layers",
    )
    train.add_argument(
        "--epochs", type=words.positive, default=200, metavar="N", help="default: 200"
    )
    train.add_argument("--dropout", type=words.share, default=0.1, metavar="P", help="default: 0.1")
    train.add_argument(
        "--learning-rate", type=words.rate, default=1e-3, metavar="R", help="default: 1e-3"
    )
    train.add_argument("--seed", type=words.seed, default=0, metavar="N", help="default: 0")
    train.add_argument("--threads", type=words.positive, metavar="N", help="default: all CPUs")
    train.add_argument(
        "--out", type=words.path, default=Path("bpcore-model.safetensors"), metavar="PATH",
        help="where the model goes (default: %(default)s)",
    )  # fmt: skip
    train.add_argument(
        "--plot",
        type=words.path,
        metavar="FILE.png",
        help="draw losses, and the confusion matrix or residuals",
    )
    _text_options(train)
    train.set_defaults(run=run_train)


def _add_use(commands: Any) -> None:
    evaluate = commands.add_parser(
        "evaluate", help="how good a model is on a table", epilog=_EVALUATE, formatter_class=_RAW
    )
    evaluate.add_argument("model", type=words.path)
    evaluate.add_argument("data", type=words.path)
    evaluate.add_argument("--target", metavar="COL", help="default: the column of training")
    evaluate.add_argument(
        "--plot",
        type=words.path,
        metavar="FILE.png",
        help="draw the confusion matrix or the residuals",
    )
    _text_options(evaluate)
    evaluate.set_defaults(run=run_evaluate)
    predict = commands.add_parser(
        "predict", help="answers for the rows of a table", epilog=_PREDICT, formatter_class=_RAW
    )
    predict.add_argument("model", type=words.path)
    predict.add_argument("data", type=words.path)
    predict.add_argument(
        "-o", "--out", type=words.path, required=True, metavar="PATH", help="a csv file"
    )
    _text_options(predict)
    predict.set_defaults(run=run_predict)
    info = commands.add_parser("info", help="what is in a model's file")
    info.add_argument("model", type=words.path)
    info.add_argument("--json", action="store_true", help="as JSON")
    info.set_defaults(run=run_info)


def _text_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the report as JSON alone")
    parser.add_argument("--encoding", metavar="NAME", help="default: UTF-8, or UTF-16 if marked")
    parser.add_argument("--separator", metavar="C", help="default: the likeliest of , ; tab |")
    parser.add_argument("--decimal", default=".", metavar="C", help="mark in numbers (default: .)")
    parser.add_argument(
        "--thousands", default="", metavar="C", help="mark in numbers (default: none)"
    )
    parser.add_argument(
        "--missing", action="append", default=[], metavar="WORD", help="another word for missing"
    )


def _table(arguments: argparse.Namespace) -> Any:
    from ..tabular import open_table

    if arguments.data.suffix.lower() in (".parquet", ".pq", ".npz"):
        return open_table(arguments.data)
    options = {"decimal": arguments.decimal, "thousands": arguments.thousands,
               "missing": arguments.missing}  # fmt: skip
    if arguments.encoding:
        options["encoding"] = arguments.encoding
    if arguments.separator:
        options["separator"] = arguments.separator.replace("\\t", "\t")
    return open_table(arguments.data, **options)


def check_outputs(arguments: argparse.Namespace, *options: str) -> None:
    """Before long work: what is written can be, and is none of the files that are read."""
    written: set[Path] = set()
    for option in options:
        path = getattr(arguments, option[2:])
        if path is None:
            continue
        atomic.check_writable(str(path), option)
        for what in ("data", "model"):
            read = getattr(arguments, what, None)
            if read is not None and path.exists() and read.exists() and path.samefile(read):
                raise ValueError(f"{option}: {path} is the {what} itself, expected another file")
        if path.resolve() in written:
            raise ValueError(f"{option}: {path} is written already, expected another file")
        written.add(path.resolve())
        if option == "--plot":
            reports.check_plot(path)


# ---- train -------------------------------------------------------------------------------------
def run_train(arguments: argparse.Namespace) -> int:
    """Train, report on rows that were held out, save."""
    from ..base.threads import set_num_threads
    from ..tabular import TabularClassifier, TabularRegressor, rows

    check_outputs(arguments, "--out", "--plot")
    if arguments.threads is not None:
        set_num_threads(arguments.threads)
    say = _say(arguments.json)
    table = _table(arguments)
    values = rows.column(table, arguments.target)
    task = arguments.task
    if task == "auto":
        task = "classification" if rows.is_classes(values) else "regression"
    kind: Any = TabularClassifier if task == "classification" else TabularRegressor
    live = sys.stderr.isatty() and not arguments.json
    estimator = kind(
        arguments.hidden, dropout=arguments.dropout, epochs=arguments.epochs,
        learning_rate=arguments.learning_rate, random_state=arguments.seed,
        verbose=1 if live else 0, validation_fraction=_HELD,
    )  # fmt: skip
    say(f"{task} of {arguments.target!r}: {len(values):,} rows, {len(table.names) - 1} columns")
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *rest, **more: say(f"note: {message}", sys.stderr)
        estimator.fit(table, arguments.target)
    seconds = time.perf_counter() - start
    truth, found = estimator.held_out_
    held = len(truth)
    if not held:  # too few rows: the report is on those that it was trained on
        truth, found = estimator.compared(table, values)
    report = reports.report(estimator, truth, found)
    report |= {"task": task, "rows": len(values), "held_out_rows": held,
               "epochs": len(estimator.history_.epoch), "seconds": seconds}  # fmt: skip
    on = (
        f"{held:,} rows that were held out" if held else "the rows of training, too few to hold out"
    )
    say(f"{report['epochs']} epochs in {seconds:.1f} s; on {on}:")
    reports.show(report, say)
    estimator.save(arguments.out)
    say(f"model saved to {arguments.out.resolve()}")
    if arguments.plot is not None:
        reports.plot(arguments.plot, estimator, truth, found)
        say(f"plot saved to {arguments.plot.resolve()}")
    if arguments.json:
        print(json.dumps({**report, "model": str(arguments.out)}))
    return 0


# ---- evaluate, predict, info -------------------------------------------------------------------
def run_evaluate(arguments: argparse.Namespace) -> int:
    """A report on all rows of a table."""
    from ..tabular import load, rows

    check_outputs(arguments, "--plot")
    if plain.is_plain(arguments.model):
        return _evaluate_plain(arguments)
    estimator = load(arguments.model)
    table = _table(arguments)
    target = arguments.target or estimator.target_
    if not target:
        raise ValueError("the model does not know its target's column; give --target")
    values = rows.column(table, target)
    truth, found = estimator.compared(table, values)
    report = reports.report(estimator, truth, found)
    if arguments.json:
        print(json.dumps(report))
    else:
        reports.show(report, _say(False))
    if arguments.plot is not None:
        reports.plot(arguments.plot, estimator, truth, found)
        _say(arguments.json)(f"plot saved to {arguments.plot.resolve()}")
    return 0


def _evaluate_plain(arguments: argparse.Namespace) -> int:
    if arguments.plot is not None:
        raise ValueError("--plot: a model of numbers does not know what its outputs mean")
    report = plain.evaluate(arguments.model, _table(arguments), arguments.target)
    told = ", ".join(f"{name} {value:.6g}" for name, value in report.items())
    print(json.dumps(report) if arguments.json else told)
    return 0


def _answers(path: Path, table: Any) -> Iterator[list[list[Any]]]:
    """Lines of a csv file, block by block, from a model for tables; the first is the head."""
    from ..tabular import TabularClassifier, load

    estimator = load(path)
    classes = isinstance(estimator, TabularClassifier)
    head = [f"p({c})" for c in estimator.classes_] if classes else []
    yield [[estimator.target_ or "prediction", *head]]
    for answers, shares in estimator.answers(table):
        if shares is None:
            yield [[f"{value:.9g}"] for value in answers]
        else:
            pairs = zip(answers.tolist(), shares, strict=True)
            yield [[answer, *(f"{p:.6g}" for p in row)] for answer, row in pairs]


def run_predict(arguments: argparse.Namespace) -> int:
    """A csv file with an answer for each row; of classes their probabilities too."""
    check_outputs(arguments, "--out")
    if arguments.out.suffix.lower() in _NO_CSV:
        raise ValueError(
            f"--out: got {str(arguments.out)!r}, expected a name like answers.csv, because answers "
            "are written as CSV"
        )
    made = plain.answers if plain.is_plain(arguments.model) else _answers
    table = _table(arguments)
    count = -1  # the head is no answer

    class Lines:
        """A file for csv.writer that keeps what was written until it is fetched."""

        def __init__(self) -> None:
            self.texts: list[str] = []

        def write(self, text: str) -> None:
            self.texts.append(text)

        def fetch(self) -> bytes:
            data = "".join(self.texts).encode()
            self.texts = []
            return data

    def pieces() -> Any:
        nonlocal count
        lines = Lines()
        writer = csv.writer(lines, lineterminator="\n")
        for block in made(arguments.model, table):
            writer.writerows(block)
            count += len(block)
            yield lines.fetch()

    atomic.write_atomically(arguments.out, pieces())
    _say(arguments.json)(f"{count:,} rows answered in {arguments.out.resolve()}")
    if arguments.json:
        print(json.dumps({"rows": count, "out": str(arguments.out)}))
    return 0


def run_info(arguments: argparse.Namespace) -> int:
    """What a file holds, of a plain model or of one for tables."""
    from ..files import container

    kind = container.read(str(arguments.model)).document.get("kind", "model")
    if kind == "tabular":
        from ..tabular import load

        estimator = load(arguments.model)
        found: dict[str, Any] = {
            "kind": type(estimator).__name__,
            "target": estimator.target_,
            "columns": {c.name: c.kind for c in estimator.preprocessor_.columns},
            "features": estimator.preprocessor_.width,
            "parameters": estimator.model_.count_params(),
        }
        if hasattr(estimator, "classes_"):
            found["classes"] = estimator.classes_.tolist()
        text = estimator.model_.summary
    else:
        from ..model.loading import load_checkpoint, load_model

        model = load_model(arguments.model) if kind == "model" else load_checkpoint(arguments.model)
        found = {
            "kind": kind, "class": type(model).__name__, "dtype": model.dtype,
            "layers": len(model.layers), "parameters": model.count_params(),
        }  # fmt: skip
        text = model.summary
    if arguments.json:
        print(json.dumps(found))
        return 0
    for key, value in found.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k} ({v})" for k, v in value.items())
        print(f"{key}: {', '.join(map(str, value)) if isinstance(value, list) else value}")
    text()
    return 0


def _say(quiet: bool) -> Any:
    """Print for people; to the error output where the output is JSON alone."""

    def say(text: str, file: Any = None) -> None:
        print(text, file=sys.stderr if quiet else file or sys.stdout)

    return say
