"""A stream that follows a sensor: each reading is answered at once, for many machines in parallel.

A vibration sensor's readings are forecast one step ahead; where the error leaves its usual range
something has changed. The model is trained on whole recordings and then fed step by step: the
answers have the bits of the forward pass over the whole recording.

Usage: python sensor_stream.py
"""

import time

import numpy as np

import bpcore as bp

rng = np.random.default_rng(0)
time_axis = np.arange(400)


def recording(n, broken_from=None):
    """(n, 400, 1): two tones and noise; from some step on a third tone."""
    phase = rng.uniform(0, 2 * np.pi, (n, 1))
    x = np.sin(0.3 * time_axis + phase) + 0.5 * np.sin(0.71 * time_axis + 2 * phase)
    x += 0.05 * rng.normal(size=x.shape)
    if broken_from is not None:
        x += np.where(time_axis >= broken_from, 0.6 * np.sin(1.9 * time_axis), 0.0)
    return x[..., None].astype("float32")


layers = [bp.layers.GRU(24, return_sequences=True), bp.layers.Dense(1)]
model = bp.Sequential(layers, seed=0)
model.compile(bp.optimizers.Adam(1e-2), "mse", gradient_clip_norm=1.0)
x = recording(64)
model.fit(x[:, :-1], x[:, 1:], epochs=15, batch_size=16, verbose=0)

machines = 4
live = recording(machines)
live[2] = recording(1, broken_from=250)[0]
usual = float(np.sqrt(model.evaluate(x[:, :-1], x[:, 1:])["loss"]))

stream = model.stream(batch=machines)
errors = np.zeros((machines, 399))
start = time.perf_counter()
for t in range(399):
    forecast = stream.step(live[:, t])
    errors[:, t] = np.abs(forecast - live[:, t + 1])[:, 0]
seconds = (time.perf_counter() - start) / 399
smooth = np.array([np.convolve(e, np.ones(20) / 20, "valid") for e in errors])
alarms = {int(m): int(np.argmax(s > 3 * usual)) + 19 for m, s in enumerate(smooth)
          if (s > 3 * usual).any()}  # fmt: skip
whole = model.predict(live[:, :-1])
same = np.abs(whole - live[:, 1:])[..., 0]
print(f"alarms at {alarms} (machine: step); the stream has the bits of the whole pass: "
      f"{bool((same == errors.astype('float32')).all())}")  # fmt: skip
assert seconds < 0.01
