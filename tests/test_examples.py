"""The examples run as they are, in a reduced form, and reach what they say."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

import pytest

FOLDER = pathlib.Path(__file__).parent.parent / "examples"
# Of everyday use; those that the plain suite leaves out run by ``nox -s examples``.
DOORS = {"sklearn_pipeline.py", "sklearn_search.py", "sklearn_calibration.py", "table_pandas.py",
         "table_polars.py", "command_line.py", "optuna_study.py", "notebook.py",
         "multi_output.py"}  # fmt: skip
NEEDS_DOWNLOAD = {"mnist.py", "mnist_dropout.py"}


def run(name, folder, *arguments):
    """What an example prints; a failed assertion in it fails the test."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(FOLDER / name), *arguments],
        cwd=folder,  # one saves a file
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"{name}:\n{done.stdout}\n{done.stderr}"
    assert not done.stderr, done.stderr
    return done.stdout


def numbers(pattern, text):
    """The numbers at each place where the pattern fits."""
    found = [tuple(map(float, fit.groups())) for fit in re.finditer(pattern, text)]
    assert found, f"nothing fits {pattern!r} in:\n{text}"
    return found


NUMBER = r"(-?\d+\.?\d*)"


def test_a_pole_is_balanced_by_values_of_actions(tmp_path):
    ((steps,),) = numbers(f"at most 500: {NUMBER}", run("dqn.py", tmp_path))
    assert steps > 150


def test_a_pole_is_balanced_by_a_policy(tmp_path):
    ((steps,),) = numbers(f"at most 500: {NUMBER}", run("ppo.py", tmp_path))
    assert steps > 250


def test_a_mass_is_brought_to_rest(tmp_path):
    ((found, best, idle),) = numbers(
        f"reward: {NUMBER}; of the best controller {NUMBER}, of none {NUMBER}",
        run("ddpg.py", tmp_path),
    )
    assert best >= found > best - 0.1 * (best - idle)


def test_an_equation_is_solved(tmp_path):
    ((error,),) = numbers(f"largest error of u {NUMBER}", run("pinn.py", tmp_path))
    assert error < 0.02


def test_transfer_needs_fewer_epochs(tmp_path):
    text = run("transfer.py", tmp_path, "--quick")
    ((scratch, transfer),) = numbers(f"{NUMBER} from scratch, {NUMBER} by transfer", text)
    assert 4 <= transfer < 0.7 * scratch


def test_gradients_of_inputs_deceive(tmp_path):
    text = run("input_gradients.py", tmp_path, "--quick")
    rows = numbers(rf"  (0\.\d\d) +{NUMBER}% +{NUMBER}% +{NUMBER}%", text)
    assert [row[0] for row in rows] == [0.0, 0.02, 0.05, 0.1, 0.15, 0.2]
    _, by_chance, deceived, hardened = zip(*rows, strict=True)
    assert deceived[0] == by_chance[0] > 95
    assert list(deceived) == sorted(deceived, reverse=True)
    assert all(c > d + 5 for c, d in zip(by_chance[2:], deceived[2:], strict=True))
    assert all(h > d for h, d in zip(hardened[2:], deceived[2:], strict=True))
    ((surely,),) = numbers(f"after 200 steps up, {NUMBER}", text)
    assert surely > 0.99


def test_autoencoders_beat_linear_codes(tmp_path):
    text = run("autoencoders.py", tmp_path, "--quick")
    errors = [value for (value,) in numbers(r"  [^\n]* (0\.\d{5})\n", text)]
    assert len(errors) == 8
    assert errors[4] < min(errors[:4]) and errors[7] < min(errors[5:7])
    assert errors[5] == pytest.approx(errors[1], rel=0.05)  # the mean image, all pixels or half


def test_gan_covers_the_ring(tmp_path):
    text = run("gan.py", tmp_path, "--quick")
    ((modes, good),) = numbers(f"reached {NUMBER}/8 modes, {NUMBER}%", text)
    ((blind,),) = numbers(f"strewn evenly over the square: {NUMBER}%", text)
    assert modes == 8 and good > 50 > 10 > blind


def test_uncertainty_is_calibrated(tmp_path):
    text = run("uncertainty.py", tmp_path, "--quick")
    intervals = numbers(f"intervals for {NUMBER}% of the targets hold {NUMBER}%", text)
    assert [share for share, _ in intervals] == [50, 90, 99]
    assert all(abs(share - held) < 5 for share, held in intervals)
    quantiles = numbers(f"below the quantile {NUMBER}: {NUMBER}%", text)
    assert len(quantiles) == 5
    assert all(abs(100 * level - below) < 5 for level, below in quantiles)
    (_, left), (_, right) = numbers(f"{NUMBER}% lie between 0.05 and 0.95, {NUMBER} wide", text)
    assert right > 2 * left  # the noise grows


def test_a_killed_run_ends_with_the_same_bits(tmp_path):
    text = run("checkpoint.py", tmp_path, "--quick")
    assert len(set(re.findall(r"weights ([0-9a-f]{16}) ", text))) == 1
    assert text.count("weights") == 3 and "killed 2 times" in text
    ((whole,), *_) = numbers(f"without a break: {NUMBER} batches", text)
    ((again,),) = numbers(f"killed 2 times: {NUMBER} batches", text)
    assert again > whole  # something was lost, and done again


def test_recurrent_examples_reach_what_they_say(tmp_path):
    """In a reduced form; `nox -s sequences` runs them whole."""
    text = run("mackey_glass.py", tmp_path, "--quick")
    ((linear, lstm),) = numbers(f"linear {NUMBER}, LSTM {NUMBER}", text)
    assert lstm < min(0.1, linear / 2)
    text = run("digits_by_rows.py", tmp_path, "--quick")
    ((accuracy,),) = numbers(f"test accuracy {NUMBER}", text)
    assert accuracy > 0.94
    text = run("sensor_stream.py", tmp_path)
    assert "alarms at {2: 25" in text and "whole pass: True" in text
    assert "bits a character" in run("characters.py", tmp_path, "--quick")


@pytest.mark.parametrize("name", ["adding_problem.py", "copy_memory.py"])
def test_short_tasks_of_memory_run(name, tmp_path):
    assert run(name, tmp_path, "--quick")


def test_a_regulator_is_learned(tmp_path):
    ((apart,),) = numbers(f"apart by {NUMBER}%", run("linear_regulator.py", tmp_path))
    assert apart < 2


def test_a_signal_is_told_wherever_it_is(tmp_path):
    text = run("signal_classes.py", tmp_path, "--quick")
    ((linear,), (convolutions,)) = numbers(f"test accuracy {NUMBER}", text)
    assert linear < 0.6 and convolutions > 0.95


def test_an_autoencoder_takes_noise_off(tmp_path):
    text = run("denoising.py", tmp_path, "--quick")
    ((given, found),) = numbers(f"noisy digits {NUMBER}, of the cleaned ones {NUMBER}", text)
    assert given == pytest.approx(0.09, rel=0.1) and found < 0.4 * given


def test_filters_maps_and_what_deceives_are_shown(tmp_path):
    text = run("what_filters_see.py", tmp_path, "--quick")
    ((surely,),) = numbers(f"with probability {NUMBER}", text)
    ((clean, chance, false),) = numbers(
        f"accuracy {NUMBER}; pixels moved by 0.1 at random {NUMBER}, against the net {NUMBER}", text
    )
    assert surely > 0.99 and clean > 0.96 and chance > 0.93 and false < 0.7


@pytest.mark.parametrize("name, least", [("lenet.py", 0.96), ("residual_digits.py", 0.94)])
def test_digits_as_images(name, least, tmp_path):
    ((accuracy,),) = numbers(f"test accuracy {NUMBER}", run(name, tmp_path, "--quick"))
    assert accuracy > least


def test_one_network_by_every_rule(tmp_path):
    text = run("credit.py", tmp_path, "--quick")
    rows = numbers(rf"(?m)^[a-zA-Z].*?  +(0\.\d{{4}}) +{NUMBER} +{NUMBER}", text)
    assert len(rows) == 9 and rows[0][1:] == (0, 0)
    assert min(accuracy for accuracy, *_ in rows) > 0.8


@pytest.mark.parametrize(
    "name",
    [
        "custom_layer.py",
        "diagnose.py",
        "digits.py",
        "functional_graph.py",
        "physics_informed.py",
        "sensor_calibration.py",
        "sobolev.py",
        "by_the_clock.py",
        "spirals_and_parity.py",
    ],
)
def test_short_examples_run(name, tmp_path):
    assert run(name, tmp_path)


def test_a_frame_with_categories_through_a_file(tmp_path):
    pytest.importorskip("pandas")
    text = run("table_pandas.py", tmp_path)
    ((accuracy,),) = numbers(f"accuracy {NUMBER};", text)
    assert accuracy > 0.85 and "the new plan 'gold': " in text


def test_outputs_of_unlike_scales(tmp_path):
    pytest.importorskip("sklearn")
    text = run("multi_output.py", tmp_path)
    scores = numbers(rf"fraction +{NUMBER}, price +{NUMBER}", text)
    assert scores[0][0] < 0 and min(scores[1]) > 0.9


def test_no_example_is_forgotten():
    told = pathlib.Path(__file__).read_text()
    names = {path.name for path in FOLDER.glob("*.py")}
    assert names >= NEEDS_DOWNLOAD
    assert all(f'"{name}"' in told for name in names)


def test_a_failed_claim_fails(tmp_path):
    with pytest.raises(AssertionError, match="nothing fits"):
        numbers("reached (.*)/8", "nothing at all")
    bad = tmp_path / "bad.py"
    bad.write_text("assert 1 > 2, 'a claim'")
    with pytest.raises(AssertionError, match="a claim"):
        run(str(bad), tmp_path)
