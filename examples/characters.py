"""A character model: it reads a text, one character after another, and then writes by itself.

Usage: python characters.py [--quick] [text file]
Without a file it reads the pages of this project (docs/*.md), or its own source where they are not
at hand. About a minute on two cores; --quick trains for seconds, and what it writes then looks it.
"""

import pathlib
import sys

import numpy as np

import bpcore as bp

quick = "--quick" in sys.argv
paths = [a for a in sys.argv[1:] if a != "--quick"]
here = pathlib.Path(__file__)
pages = sorted((here.parent.parent / "docs").glob("*.md"))
files = [pathlib.Path(p) for p in paths] or pages or [here]
text = "".join(file.read_text(encoding="utf-8", errors="replace") for file in files)

symbols = sorted(set(text))
numbers = {symbol: i for i, symbol in enumerate(symbols)}
series = np.array([numbers[symbol] for symbol in text], np.int32)
cut = int(0.9 * len(series))
length, units, epochs = (32, 48, 1) if quick else (64, 128, 12)


def samples(part):
    """Pieces of the text, and the same one character further on."""
    n = (len(part) - 1) // length
    return part[: n * length].reshape(n, length), part[1 : n * length + 1].reshape(n, length)


L = bp.layers
layers = [
    L.Embedding(len(symbols), 32),
    L.LSTM(units, return_sequences=True),
    L.Dense(len(symbols)),
]
model = bp.Sequential(layers, seed=0)
model.compile(bp.optimizers.Adam(5e-3), "cross_entropy", gradient_clip_norm=1.0)
x, y = samples(series[:cut])
held = samples(series[cut:])
if quick:
    x, y, held = x[:300], y[:300], (held[0][:50], held[1][:50])
history = model.fit(x, y, epochs=epochs, validation_data=held, verbose=0)
bits = history.history["val_loss"][-1] / np.log(2)
print(f"{len(text)} characters, {len(symbols)} different; {bits:.2f} bits a character held out")

# What was just written is read next: a stream carries the state from character to character.
stream = model.stream()
rng = np.random.default_rng(0)
written, symbol = [], numbers[text[cut]]
for _ in range(300):
    logits = stream.step(symbol).astype(float) / 0.7
    chances = np.exp(logits - logits.max())
    symbol = rng.choice(len(symbols), p=chances / chances.sum())
    written.append(symbols[symbol])
print("".join(written).encode("ascii", "replace").decode())
