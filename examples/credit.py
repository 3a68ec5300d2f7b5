"""One network, trained by every rule of credit assignment: accuracy, alignment, time.

Run it with the name of a picture to draw them side by side (needs matplotlib); --quick trains less.
"""

import sys
import time

import numpy as np

import bpcore as bp

RULES = {
    "backprop": lambda: "backprop",
    "feedback alignment": lambda: bp.credit.FeedbackAlignment(),
    "sign-symmetric": lambda: bp.credit.FeedbackAlignment(sign_symmetric=True),
    "direct feedback": lambda: bp.credit.DirectFeedbackAlignment(),
    "synthetic gradients": lambda: bp.credit.SyntheticGradients(
        context=False, module_learning_rate=1e-2
    ),
    "the same, with labels": lambda: bp.credit.SyntheticGradients(module_learning_rate=1e-2),
    "target propagation": lambda: bp.credit.DifferenceTargetPropagation(target_rate=0.3),
}
epochs = 8 if "--quick" in sys.argv else 30
pictures = [name for name in sys.argv[1:] if not name.startswith("-")]

(x, y), (xt, yt) = bp.datasets.load_digits(split=True)


def network(credit):
    hidden = [bp.layers.Dense(64, "tanh") for _ in range(4)]
    model = bp.Sequential([*hidden, bp.layers.Dense(10)], seed=0)
    model.compile(bp.optimizers.Adam(1e-3), "cross_entropy", ["accuracy"], credit=credit)
    return model


curves = {}
print("rule                    accuracy  degrees to backpropagation, layer by layer     ms a pass")
for name, rule in RULES.items():
    model, accuracy, angles, spent = network(rule()), [], [], 0.0
    for _ in range(epochs):
        start = time.perf_counter()
        model.fit(x, y, epochs=1, verbose=0)
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
