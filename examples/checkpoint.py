"""A run that is killed again and again, and resumed, ends with the bits of one that was not."""

import hashlib
import os
import random
import subprocess
import sys
import tempfile

import bpcore as bp

L = bp.layers
STEPS = 46  # batches in an epoch


class Dots(bp.callbacks.Callback):
    """Tell the parent process of every batch."""

    def on_train_batch_end(self, batch, logs=None):
        os.write(1, b".")


def train(path, epochs):
    """What a user writes: the same call starts a run, goes on with it, or finds it done."""
    (x, y), validation = bp.datasets.load_digits(split=True)
    model = bp.Sequential(
        [
            L.Dropout(0.1),
            L.Dense(128, "relu", kernel_constraint=bp.constraints.MaxNorm(3.0)),
            L.BatchNormalization(),
            L.Dropout(0.3),
            L.Dense(10),
        ],
        seed=0,
    )
    rate = bp.schedules.OneCycle(3e-3, total_steps=epochs * STEPS)
    model.compile(bp.optimizers.AdamW(rate), loss="cross_entropy", metrics=["accuracy"])
    history = model.fit(
        x,
        y,
        batch_size=32,
        epochs=epochs,
        verbose=0,
        validation_data=validation,
        callbacks=[Dots(), bp.callbacks.EMA(0.99)],
        checkpoint=path,
        checkpoint_every=20,
    )
    weights = b"".join(w.tobytes() for w in model.get_weights())
    accuracy = history.history["val_accuracy"][-1]
    print(
        f"\n{hashlib.sha256(weights).hexdigest()[:16]} {accuracy:.1%} {len(history.epoch)} epochs"
    )


def run(path, epochs, threads, kill_after=0):
    """Run the script in a process that is killed after some batches: (batches, last line)."""
    command = [sys.executable, os.path.abspath(__file__), "--worker", path, str(epochs)]
    environment = {**os.environ, "BPCORE_NUM_THREADS": str(threads)}
    batches = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        while process.stdout.read(1) == b".":
            batches += 1
            if batches == kill_after:
                process.kill()  # the system ends it at once: nothing in it can tidy up
        line = process.stdout.read().decode().strip()
    if not kill_after and process.returncode:
        raise RuntimeError(f"the run failed with code {process.returncode}")
    return batches, line


def main(quick):
    epochs = 5 if quick else 20
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        batches, told = run(os.path.join(folder, "whole.ckpt"), epochs, threads=1)
        print(f"without a break: {batches} batches, weights {told}")
        path, done, kills = os.path.join(folder, "broken.ckpt"), 0, 0
        last = 2 if quick else 8
        for kills in range(1, last + 1):
            moment = rng.randint(30, epochs * STEPS // last - 20)
            n, _ = run(path, epochs, threads=1 + kills % 2, kill_after=moment)
            done += n
            size = os.path.getsize(path) if os.path.exists(path) else 0
            print(f"  killed after {n} batches; a checkpoint of {size:,} bytes is there")
        n, again = run(path, epochs, threads=2)
        done += n
        print(f"killed {kills} times: {done} batches in all, weights {again}")
        assert again == told  # the same bits, the same history, whatever was lost
        n, third = run(path, epochs, threads=1)
        print(f"called once more: {n} batches, weights {third}")
        assert n == 0 and third == told


if __name__ == "__main__":
    if "--worker" in sys.argv:
        train(sys.argv[2], int(sys.argv[3]))
    else:
        main(quick="--quick" in sys.argv)
