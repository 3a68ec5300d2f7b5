"""One network, trained by every rule of credit assignment: accuracy, alignment, time.

The bottleneck and alternating minimisation compare or move rows of a batch together, and have
larger ones. Run it with the name of a picture to draw them side by side (needs matplotlib); --quick
trains less.
"""

import sys
import time

import numpy as np

import bpcore as bp

C = bp.credit
SYNTHETIC = {"module_learning_rate": 1e-2}
RULES = {  # rule, rate, rows of a batch
    "backprop": (lambda: "backprop", 1e-3, 32),
    "feedback alignment": (lambda: C.FeedbackAlignment(), 1e-3, 32),
    "sign-symmetric": (lambda: C.FeedbackAlignment(sign_symmetric=True), 1e-3, 32),
    "direct feedback": (lambda: C.DirectFeedbackAlignment(), 1e-3, 32),
    "synthetic gradients": (lambda: C.SyntheticGradients(context=False, **SYNTHETIC), 1e-3, 32),
    "the same, with labels": (lambda: C.SyntheticGradients(**SYNTHETIC), 1e-3, 32),
    "target propagation": (lambda: C.DifferenceTargetPropagation(target_rate=0.3), 1e-3, 32),
    "HSIC bottleneck": (lambda: C.HSICBottleneck(sigma=5.0, beta=50.0), 3e-3, 64),
    "alternating": (lambda: C.AlternatingMinimization(), 3e-3, 64),
}
epochs = 8 if "--quick" in sys.argv else 30
pictures = [name for name in sys.argv[1:] if not name.startswith("-")]

(x, y), (xt, yt) = bp.datasets.load_digits(split=True)


def network(credit, rate):
    hidden = [bp.layers.Dense(64, "tanh") for _ in range(4)]
    model = bp.Sequential([*hidden, bp.layers.Dense(10)], seed=0)
    model.compile(bp.optimizers.Adam(rate), "cross_entropy", ["accuracy"], credit=credit)
    return model


curves = {}
print("rule                    accuracy  degrees to backpropagation, layer by layer     ms a pass")
for name, (rule, rate, rows) in RULES.items():
    model, accuracy, angles, spent = network(rule(), rate), [], [], 0.0
    for _ in range(epochs):
        start = time.perf_counter()
        model.fit(x, y, batch_size=rows, epochs=1, verbose=0)
        spent += time.perf_counter() - start
        accuracy.append(model.evaluate(xt, yt)["accuracy"])
        angles.append(list(model.alignment(x[:256], y[:256]).values()))
    degrees = " ".join(f"{angle:6.1f}" for angle in angles[-1])
    print(f"{name:<22}  {accuracy[-1]:.4f}    {degrees}        {1e3 * spent / epochs:8.1f}")
    curves[name] = accuracy, np.nanmean(np.array(angles)[:, :-1], axis=1), 1e3 * spent / epochs

if pictures:
    import matplotlib.pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    for name, (accuracy, degrees, _) in curves.items():
        left.plot(range(1, epochs + 1), accuracy, label=name)
        middle.plot(range(1, epochs + 1), degrees)
    right.barh(list(curves), [milliseconds for *_, milliseconds in curves.values()])
    left.set(xlabel="epoch", ylabel="accuracy", ylim=(0.5, 1.0))
    left.legend(fontsize=8)
    middle.set(xlabel="epoch", ylabel="degrees to backpropagation, hidden layers")
    right.set(xlabel="ms for a pass over the data")
    right.invert_yaxis()
    figure.savefig(pictures[0])
