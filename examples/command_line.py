"""The commands ``bpcore train``, ``evaluate`` and ``predict`` on a CSV file of 20 columns."""

import csv
import subprocess
import sys

import numpy as np


def write(path, n, seed):
    """Ten numbers, five categories, three booleans, an empty column, and the answer."""
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=(n, 10))
    words = rng.choice(["red", "green", "blue"], (n, 5))
    flags = rng.random((n, 3)) < 0.5
    score = numbers[:, 0] - numbers[:, 1] + 2 * (words[:, 0] == "red") + flags[:, 0]
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        names = [f"number {i}" for i in range(10)] + [f"colour {i}" for i in range(5)]
        writer.writerow([*names, "a", "b", "c", "remark", "answer"])
        for i in range(n):
            cells = [f"{v:.4f}".replace(".", ",") for v in numbers[i]]  # 0,5 as many write it
            cells[i % 10] = "n/a" if i % 7 == 0 else cells[i % 10]
            answer = "buys" if score[i] > 1.2 else "leaves"
            writer.writerow([*cells, *words[i], *map(str, flags[i]), "", answer])


def run(*command):
    print("$ bpcore", *command, flush=True)
    subprocess.run([sys.executable, "-m", "bpcore", *command], check=True)


write("customers.csv", 2000, 0)
write("new.csv", 500, 1)
run("train", "customers.csv", "--target", "answer", "--decimal", ",", "--hidden", "32",
    "--epochs", "60", "--out", "customers.safetensors")  # fmt: skip
run("evaluate", "customers.safetensors", "new.csv", "--decimal", ",")
run("predict", "customers.safetensors", "new.csv", "--decimal", ",", "-o", "answers.csv")
run("info", "customers.safetensors")
with open("answers.csv", newline="") as answers, open("new.csv", newline="") as truth:
    pairs = zip(csv.DictReader(answers), csv.DictReader(truth, delimiter=";"), strict=True)
    right = [a["answer"] == t["answer"] for a, t in pairs]
print(f"{sum(right)} of {len(right)} answers are right")
assert np.mean(right) > 0.85
