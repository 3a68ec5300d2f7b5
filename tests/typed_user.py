"""What an editor sees of a user's script: mypy reads this file, nothing runs it.

A line that ends in ``type: ignore`` must be an error: mypy refuses an ignore that nothing needs.
"""

import numpy as np

import bpcore as bp

x, y = np.ones((8, 4)), np.ones((8, 1))
bp.layers.Dense("64")  # type: ignore[arg-type]
bp.layers.Dropout("half")  # type: ignore[arg-type]
bp.layers.Dense(3, unit=4)  # type: ignore[call-arg]
bp.callbacks.EarlyStopping(patience="3")  # type: ignore[arg-type]
bp.Sequential(bp.layers.Dense(3), bp.layers.Dense(1))  # type: ignore[arg-type, call-arg]

model = bp.Sequential([bp.layers.Dense(3, "relu"), bp.layers.Dense(1)], seed=0)
model.compile(bp.optimizers.Adam(1e-3), loss="mse", metrics=["mae"])
losses: list[float] = model.fit(x, y, verbose=0).history["loss"]
score: float = model.evaluate(x, y)["loss"]
of_predict: int = model.predict(x)  # type: ignore[assignment]
of_call: int = model(x)  # type: ignore[assignment]
of_weight: int = model.layers[0].weights[0].value  # type: ignore[assignment]
of_optimizer: int = model.optimizer  # type: ignore[assignment]
of_file: int = bp.load_model("m.safetensors")  # type: ignore[assignment]
of_brick: int = bp.layers.Dense(3).forward(x)  # type: ignore[assignment]

a = bp.Input((4,))
of_tensor: int = bp.layers.Dense(3)(a)  # type: ignore[assignment]
(xt, yt), _ = bp.datasets.load_digits(split=True)
of_digits: int = xt  # type: ignore[assignment]
