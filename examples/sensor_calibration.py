"""A sensor calibrated from 300 rows: second-order training against Adam, and how sure the fit is.

Pressure from a raw bridge voltage and a temperature, with noise. Levenberg-Marquardt with Bayesian
regularisation needs no learning rate, no rows held out, and no search for a weight decay.
"""

import time

import numpy as np

import bpcore as bp

rng = np.random.default_rng(0)


def measured(rows):
    pressure, temperature = rng.uniform(0, 10, rows), rng.uniform(-20, 60, rows)
    voltage = 0.3 * pressure + 0.01 * pressure**2 + 0.004 * temperature * (1 + 0.05 * pressure)
    raw = np.stack([voltage + rng.normal(0, 0.01, rows), temperature], axis=1)
    return (raw - [2.0, 20.0]) / [1.2, 23.0], pressure[:, None]


def sensor(seed):
    layers = [bp.layers.Dense(12, "tanh"), bp.layers.Dense(1)]
    return bp.Sequential([bp.Input((2,)), *layers], dtype="float64", seed=seed)


(x, y), (new_x, new_y) = measured(300), measured(2000)
errors = {}
for name, optimizer, epochs in (
    ("Levenberg-Marquardt", bp.optimizers.LevenbergMarquardt(regularization="bayesian"), 60),
    ("Adam", bp.optimizers.Adam(0.01), 600),
):
    model = sensor(1)
    model.compile(optimizer, "mse")
    begin = time.perf_counter()
    history = model.fit(x, y, epochs=epochs, verbose=0).history
    seconds = time.perf_counter() - begin
    errors[name] = float(np.sqrt(np.mean((model.predict(new_x) - new_y) ** 2)))
    print(f"{name}: error {errors[name]:.4f} bar on new rows, {epochs} epochs, {seconds:.2f} s")
    if "effective_parameters" in history:
        known = history["effective_parameters"][-1]
        print(f"  the data determine {known:.0f} of {model.count_params()} weights")
assert errors["Levenberg-Marquardt"] < errors["Adam"] and errors["Levenberg-Marquardt"] < 0.05
