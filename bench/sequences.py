"""Recurrent networks against PyTorch, and streams: python -m bench.sequences [--threads N].

A step of training of Embedding(65, 64) - recurrent - Dense(65), T 64, batch 32, Adam, float32;
ragged batches of 64 sequences of 10 to 400 steps with LSTM 128 against packed sequences; the
latency of a stream's step. Answers are compared first: both begin with the same weights, and the
losses of the first steps have to agree.
"""

from __future__ import annotations

import sys
import time

import numpy as np

import bpcore as bp

L = bp.layers
VOCABULARY, WIDTH, STEPS, BATCH = 65, 64, 64, 32
CASES = (("LSTM", 128, 1.6), ("LSTM", 256, 1.3), ("GRU", 128, 3.0), ("SimpleRNN", 128, 2.5))


def best(work, repeats=5, seconds=0.5):
    """The least mean time of a call over some rounds."""
    work()
    found = []
    for _ in range(repeats):
        count, start = 0, time.perf_counter()
        while (passed := time.perf_counter() - start) < seconds:
            work()
            count += 1
        found.append(passed / count)
    return min(found)


def ours(kind, units):
    layers = [L.Embedding(VOCABULARY, WIDTH), getattr(L, kind)(units, return_sequences=True),
              L.Dense(VOCABULARY)]  # fmt: skip
    model = bp.Sequential([bp.Input((STEPS,)), *layers], seed=0)
    model.compile(bp.optimizers.Adam(1e-3), "cross_entropy")
    return model


def theirs(kind, units, weights, one_bias=False):
    """The same network in PyTorch, from the same weights. Of its two biases, whose sum counts and
    which an optimizer moves both, the second can be held at 0."""
    import torch

    cls = {"LSTM": torch.nn.LSTM, "GRU": torch.nn.GRU, "SimpleRNN": torch.nn.RNN}[kind]
    places = {"LSTM": [0, 1, 2, 3], "GRU": [1, 0, 2], "SimpleRNN": [0]}[kind]

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.table = torch.nn.Embedding(VOCABULARY, WIDTH)
            self.recurrent = cls(WIDTH, units, batch_first=True)
            self.head = torch.nn.Linear(units, VOCABULARY)

        def forward(self, x):
            return self.head(self.recurrent(self.table(x))[0])

    net = Net()
    table, kernel, recurrent, bias, head, head_bias = weights

    def turned(w):
        parts = np.split(w, len(places), axis=-1)
        return torch.tensor(
            np.concatenate([parts[places.index(k)] for k in range(len(places))], -1).T
        )

    biases = bias if bias.ndim == 2 else np.stack([bias, np.zeros_like(bias)])
    with torch.no_grad():
        net.table.weight.copy_(torch.tensor(table))
        net.recurrent.weight_ih_l0.copy_(turned(kernel))
        net.recurrent.weight_hh_l0.copy_(turned(recurrent))
        net.recurrent.bias_ih_l0.copy_(turned(biases[0]))
        net.recurrent.bias_hh_l0.copy_(turned(biases[1]))
        net.head.weight.copy_(torch.tensor(head.T))
        net.head.bias.copy_(torch.tensor(head_bias))
    net.recurrent.bias_hh_l0.requires_grad_(not one_bias)
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], 1e-3)

    def step(x, y):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(x).flatten(0, 1), y.flatten())
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def training(kind, units, goal):
    import torch

    rng = np.random.default_rng(0)
    x = rng.integers(0, VOCABULARY, (BATCH, STEPS)).astype(np.int32)
    y = np.roll(x, -1, axis=1)
    model = ours(kind, units)
    step = theirs(kind, units, model.get_weights())
    tx, ty = torch.tensor(x).long(), torch.tensor(y).long()
    for _ in range(3):
        a, b = model.train_on_batch(x, y)["loss"], step(tx, ty)
        assert abs(a - b) < 1e-3 * abs(b), f"{kind} {units}: losses {a} and {b}"
    many, many_y = np.tile(x, (20, 1)), np.tile(y, (20, 1))
    mine = best(lambda: model.fit(many, many_y, batch_size=BATCH, verbose=0, shuffle=False)) / 20
    rival = best(lambda: step(tx, ty))
    print(f"{kind} {units}: {mine * 1e3:.2f} ms a step, PyTorch {rival * 1e3:.2f} ms: "
          f"{rival / mine:.2f} (goal {goal})")  # fmt: skip


def ragged(units=128, features=32, goal=8.0):
    import torch
    from torch.nn.utils import rnn

    rng = np.random.default_rng(0)
    lengths = rng.integers(10, 401, 64)
    xs = [rng.normal(size=(n, features)).astype("float32") for n in lengths]
    y = rng.integers(0, 10, 64)
    model = bp.Sequential([bp.Input((None, features)), L.LSTM(units), L.Dense(10)], seed=0)
    model.compile("adam", "cross_entropy")
    many, many_y = xs * 4, np.tile(y, 4)
    mine = best(lambda: model.fit(many, many_y, batch_size=64, verbose=0, shuffle=False)) / 4
    lstm, head = torch.nn.LSTM(features, units, batch_first=True), torch.nn.Linear(units, 10)
    optimizer = torch.optim.Adam([*lstm.parameters(), *head.parameters()], 1e-3)
    tx, ty = [torch.tensor(x) for x in xs], torch.tensor(y)

    def step():
        optimizer.zero_grad()
        packed = rnn.pack_sequence(tx, enforce_sorted=False)
        torch.nn.functional.cross_entropy(head(lstm(packed)[1][0][0]), ty).backward()
        optimizer.step()

    rival = best(step, seconds=2.0)
    print(f"ragged LSTM {units}: {mine * 1e3:.1f} ms a step, PyTorch packed {rival * 1e3:.1f} ms: "
          f"{rival / mine:.1f} (goal {goal})")  # fmt: skip


def streams():
    for features, goal in ((8, 2.0), (64, 3.0)):
        model = bp.Sequential([bp.Input((None, features)), L.LSTM(64)], seed=0)
        stream, x = model.stream(), np.ones(features, "float32")
        seconds = best(lambda s=stream, x=x: s.step(x))
        print(f"stream.step of LSTM 64, {features} features: {seconds * 1e6:.2f} us (goal {goal})")


if __name__ == "__main__":
    count = int(sys.argv[sys.argv.index("--threads") + 1]) if "--threads" in sys.argv else 2
    bp.set_num_threads(count)
    try:
        import torch
    except ImportError:
        sys.exit("PyTorch is not installed")
    torch.set_num_threads(count)
    streams()
    for case in CASES:
        training(*case)
    ragged()
