"""The command ``bpcore``: ``demo`` trains on real digits, ``config`` says what is in use.

The commands on tables are in `tables.py`, ``export`` is in `leaving.py`.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._version import __version__
from ..base.memory import Array
from ..files import atomic
from . import leaving, tables, words


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # who reads what is printed has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except MemoryError:
        print("bpcore: error: not enough memory for this table", file=sys.stderr)
        return 2
    except (ValueError, TypeError, OSError, ImportError, RuntimeError) as error:
        print(f"bpcore: error: {error}", file=sys.stderr)
        return 2
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bpcore", description="Train neural networks on a CPU.")
    parser.add_argument("--version", action="version", version=f"bpcore {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="command")
    demo = commands.add_parser("demo", help="train a network on 1,797 handwritten digits")
    demo.add_argument("--epochs", type=words.positive, default=40, metavar="N", help="default: 40")
    demo.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    demo.add_argument("--threads", type=words.positive, metavar="N", help="default: all CPUs")
    demo.add_argument(
        "--save",
        type=words.path,
        default=Path("bpcore-digits.safetensors"),
        metavar="PATH",
        help="where the trained model goes (default: %(default)s)",
    )
    demo.add_argument(
        "--plot", type=words.path, metavar="FILE.png", help="draw the curves and misread digits"
    )
    demo.set_defaults(run=_demo)
    tables.add(commands)
    leaving.add(commands)
    config = commands.add_parser("config", help="show versions, instruction set, threads, CPU")
    config.set_defaults(run=_config)
    return parser


def _config(arguments: argparse.Namespace) -> int:
    from ..base.config import show_config

    show_config()
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    from .. import datasets, layers, optimizers, schedules
    from ..base.threads import get_num_threads, set_num_threads
    from ..model.loading import load_model
    from ..model.sequential import Sequential

    if arguments.plot is not None:
        _import_pyplot()  # a missing library is said before the work, not after
    for option, path in (("--save", arguments.save), ("--plot", arguments.plot)):
        if path is not None:
            atomic.check_writable(str(path), option)
    if arguments.threads is not None:
        set_num_threads(arguments.threads)
    (x, y), (xt, yt) = datasets.load_digits(split=True)
    model = Sequential(
        [
            layers.Dense(256, activation="relu"),
            layers.Dense(128, activation="relu"),
            layers.Dense(10),
        ],
        seed=arguments.seed,
    )
    decay = schedules.Cosine(4e-3, decay_steps=arguments.epochs * -(-len(x) // 32))
    model.compile(optimizers.Adam(decay), loss="cross_entropy", metrics=["accuracy"])
    print(
        f"bpcore {__version__}: 64-256-128-10 on {len(x)} handwritten digits of 8x8 pixels, "
        f"{len(xt)} for testing, {get_num_threads()} thread(s)"
    )
    start = time.perf_counter()
    history = model.fit(
        x,
        y,
        batch_size=32,
        epochs=arguments.epochs,
        validation_data=(xt, yt),
        verbose=1 if sys.stderr.isatty() else 0,
        callbacks=[_epoch_lines(arguments.epochs)],
    )
    seconds = time.perf_counter() - start
    prediction = np.argmax(model.predict(xt), axis=-1)
    _report(len(x) * arguments.epochs / seconds, seconds, yt, prediction)
    model.save(arguments.save)
    again = np.argmax(load_model(arguments.save).predict(xt), axis=-1)
    if not np.array_equal(again, prediction):
        raise ValueError(f"{arguments.save}: the model read back predicts something else")
    print(f"model saved to {arguments.save.resolve()}")
    if arguments.plot is not None:
        _plot(arguments.plot, history.history, xt, yt, prediction)
        print(f"plot saved to {arguments.plot.resolve()}")
    return 0


def _epoch_lines(epochs: int) -> Any:
    """A callback that prints a line per epoch above the progress bar."""
    from tqdm.auto import tqdm

    from ..callbacks import Callback

    class EpochLines(Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            values = logs or {}
            tqdm.write(
                f"epoch {epoch + 1:>3}/{epochs}  loss {values['loss']:.4f}  "
                f"accuracy {values['accuracy']:.4f}  test loss {values['val_loss']:.4f}  "
                f"test accuracy {values['val_accuracy']:.4f}",
                file=sys.stdout,
            )

    return EpochLines()


def _report(rate: float, seconds: float, truth: Array, prediction: Array) -> None:
    right = int((truth == prediction).sum())
    print(
        f"\ntest accuracy {100 * right / len(truth):.2f} % ({right} of {len(truth)}), "
        f"trained in {seconds:.2f} s, {rate:,.0f} samples per second"
    )
    print("\nconfusion matrix (row: the digit, column: what was read)")
    matrix = _confusion(truth, prediction)
    print("    " + "".join(f"{digit:>4}" for digit in range(10)))
    for digit, row in enumerate(matrix):
        print(f"{digit:>4}" + "".join(f"{n:>4}" if n else "   ." for n in row))
    print()


def _confusion(truth: Array, prediction: Array, classes: int = 10) -> Array:
    """(K, K) counts: row = true class, column = predicted class."""
    flat = np.bincount(truth * classes + prediction, minlength=classes * classes)
    return flat.reshape(classes, classes)


def _import_pyplot() -> Any:
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError(
            "--plot needs matplotlib, which is not installed; pip install 'bpcore[plot]'"
        ) from error
    matplotlib.use("Agg")  # a file, not a window
    from matplotlib import pyplot

    return pyplot


def _plot(path: Path, history: Any, xt: Array, truth: Array, prediction: Array) -> None:
    """Loss and accuracy over the epochs, and up to eight of the misread digits."""
    pyplot = _import_pyplot()
    figure = pyplot.figure(figsize=(10, 6), layout="constrained")
    grid = figure.add_gridspec(2, 8, height_ratios=(3, 1))
    epochs = np.arange(1, len(history["loss"]) + 1)
    for place, name in ((grid[0, :4], "loss"), (grid[0, 4:], "accuracy")):
        axes = figure.add_subplot(place)
        axes.plot(epochs, history[name], label="training")
        axes.plot(epochs, history[f"val_{name}"], label="test")
        axes.set(xlabel="epoch", title=name)
        axes.grid(alpha=0.3)
        axes.legend()
    for column, i in enumerate(np.flatnonzero(truth != prediction)[:8]):
        axes = figure.add_subplot(grid[1, column])
        axes.imshow(xt[i].reshape(8, 8), cmap="gray_r")
        axes.set_title(f"{truth[i]} read as {prediction[i]}", fontsize=9)
        axes.set_axis_off()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
