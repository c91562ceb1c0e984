"""The length of the weights' average, chosen after a training: without another one, and to the same bytes after a kill."""

import json
import os
import signal
from multiprocessing import get_context

import pytest
import torch
import yaml

from levy_core.base.errors import LevyError
from levy_core.datasets import starter
from levy_core.training.checkpoint import load_model
from tasks.params import loading
from tasks.prepare import prepare
from tasks.runtime import paths
from tasks.train import train
from tasks.training import kept_averages
from tests.conftest import ROOT, TINY, merged

MODEL = paths.model("digits", "lim")
KEPT = paths.kept_averages("digits", "lim")


def train_and_die(params):
    """The stage, in a process that ends while it keeps averages for the eighth time, after step 32."""
    write = kept_averages.write_tensors

    def write_and_die(path, tensors):
        write(path, tensors)
        if path.name == "07.safetensors":
            os.kill(os.getpid(), signal.SIGKILL)

    kept_averages.write_tensors = write_and_die
    train(params, "digits", "lim")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    starter.write_digits(paths.raw("digits") / "digits.zip")
    prepare(settings(), "digits")
    yield tmp_path
    torch.use_deterministic_algorithms(False)  # the stage asks for it


def settings(data=None, **changes):
    """params.yaml: the shipped one, small, with averages that are kept."""
    small = {"designs": ["lim"], "data": {"digits": data or {}}, "train": {"steps": 64, "save_every": 12} | changes}
    values = merged(merged(yaml.safe_load((ROOT / "params.yaml").read_text()), TINY), small)
    path = paths.PARAMS
    path.write_text(yaml.safe_dump(values))
    return loading.load()


def files():
    return {path.name: path.read_bytes() for path in MODEL.iterdir()}


def weights():
    return (MODEL / "model.safetensors").read_bytes()


def test_a_length_is_chosen_afterwards_and_a_killed_training_comes_to_the_same_bytes(folder, capsys):
    train(settings(), "digits", "lim")
    plain = weights()
    assert not KEPT.exists()
    kept = {"ema_lengths": [0.05, 0.1]}
    train(settings(**kept), "digits", "lim")
    assert weights() == plain  # the default stays the exponential average
    before = {path.name: path.stat().st_mtime_ns for path in KEPT.iterdir()}
    assert len(before) == 15
    capsys.readouterr()

    train(settings(**kept, ema_chosen="best"), "digits", "lim")
    said = capsys.readouterr().out
    assert "going on after step 64" in said
    assert "with the least loss of held-out samples: " in said
    about = json.loads((MODEL / "design.json").read_text())["about"]
    losses = about["ema_losses"]
    assert about["ema_length"] == float(min(losses, key=losses.get))
    assert len(losses) >= 12
    assert weights() != plain
    assert {path.name: path.stat().st_mtime_ns for path in KEPT.iterdir()} == before  # nothing was trained
    load_model(MODEL)
    best = files()
    train(settings(**kept, ema_chosen="best"), "digits", "lim")
    assert "the model is kept" in capsys.readouterr().out
    assert KEPT.exists()

    train(settings(**kept, ema_chosen=0.07), "digits", "lim")
    assert "averaged over a length of 0.07" in capsys.readouterr().out
    assert files() != best

    (KEPT / "03.safetensors").write_bytes(b"damaged")
    train(settings(**kept, ema_chosen="best"), "digits", "lim")
    assert "averages of weights that were kept with it are missing or damaged" in capsys.readouterr().out
    assert files() == best

    paths.resume("digits", "lim").unlink()
    (MODEL / "model.safetensors").unlink()
    child = get_context("fork").Process(target=train_and_die, args=(settings(**kept, ema_chosen="best"),))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    train(settings(**kept, ema_chosen="best"), "digits", "lim")
    assert "going on after step 24" in capsys.readouterr().out
    assert files() == best

    train(settings(), "digits", "lim")  # another training, which keeps nothing
    assert weights() == plain
    assert not KEPT.exists()
    assert not paths.resume("digits", "lim").exists()


def test_the_best_of_no_held_out_samples_is_refused_before_training(folder):
    params = settings({"test_share": 0}, ema_lengths=[0.05, 0.1], ema_chosen="best")
    prepare(params, "digits")
    with pytest.raises(
        LevyError, match=r"train\.ema_chosen is best, .* but digits holds none out: give a length, or hold"
    ):
        train(params, "digits", "lim")
    assert not MODEL.exists()
    assert not paths.resume("digits", "lim").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ema_lengths": [0.05, 0.05]}, r"train\.ema_lengths is \[0\.05, 0\.05\]: name each once"),
        ({"ema_lengths": [0.1, 0.05, 0.1001]}, r"train\.ema_lengths is .*: name each once, and none within 1 % of another"),
        ({"ema_lengths": [0.05, 0.3]}, r"train\.ema_lengths\[1\] is 0\.3: input should be less than 0\.288"),
        ({"ema_lengths": [0]}, r"train\.ema_lengths\[0\] is 0: input should be greater than 0"),
        ({"ema_lengths": []}, r"train\.ema_lengths is \[\]"),
        ({"ema_chosen": "best"}, r"train\.ema_lengths names no averages to make it of"),
        ({"ema_lengths": [0.1], "ema_chosen": "least"}, r"train\.ema_chosen is 'least': best, or a number above 0 and below 0\.2887"),
        ({"ema_lengths": [0.1], "ema_chosen": 0.29}, r"train\.ema_chosen is 0\.29: best, or a number"),
        ({"ema_lengths": [0.1], "ema_chosen": True}, r"train\.ema_chosen is True: best, or a number"),
        ({"ema_lengths": [0.05, 0.1], "ema_chosen": 0.01}, r"train\.ema_chosen is 0\.01: an average of length 0\.01 cannot be made .* choose one"),
    ],
)  # fmt: skip
def test_settings_that_make_no_average_are_refused(tmp_path, monkeypatch, changes, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LevyError, match=message):
        settings(**changes)
