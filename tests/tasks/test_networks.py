"""A named network from params.yaml to the registry, and names and keys that do not fit."""

import json

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from levy_core.base.errors import LevyError
from levy_core.datasets import starter
from levy_core.nets.dit import DiTConfig
from levy_core.training.checkpoint import load_model
from tasks.params import loading
from tasks.prepare import prepare
from tasks.runtime import paths
from tasks.train import train
from tests.conftest import ROOT, TINY, merged
from tests.support.registered import register, registry_in

SHIPPED = yaml.safe_load((ROOT / "params.yaml").read_text())
TINY_DIT = {"name": "dit-s", "hidden": 32, "layers": 2, "head_channels": 16}


def settings(net, **changes):
    """params.yaml: the shipped one, small, with a network."""
    values = merged(merged(SHIPPED, TINY), {"designs": ["lim"], **changes})
    paths.PARAMS.write_text(yaml.safe_dump({**values, "net": net}))
    return loading.load()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    torch.use_deterministic_algorithms(False)  # the stage asks for it


def test_a_transformer_goes_through_training_and_the_registry(folder, capsys):
    starter.write_digits(paths.raw("digits") / "digits.zip")
    params = settings(TINY_DIT, train={**TINY["train"], "checkpointing": True, "pictures": 2})
    prepare(params, "digits")
    train(params, "digits", "lim")
    assert "49,860 parameters" in capsys.readouterr().out
    lines = map(json.loads, paths.live("digits", "lim").read_text().splitlines())
    shown = {line["step"]: line["picture"] for line in lines if "picture" in line}
    assert shown == {20: "lim.pictures/00000020.png", 40: "lim.pictures/00000040.png"}
    assert all((paths.live("digits", "lim").parent / name).exists() for name in shown.values())
    trained = paths.model("digits", "lim")
    model = load_model(trained)
    assert model.net == DiTConfig((1, 8, 8), 10, 32, 2, 2, 16)
    with registry_in(folder):
        register(folder, save=lambda to: trained.rename(to))
        drawn = mlflow.pyfunc.load_model("models:/levy-digits@champion").predict(pd.DataFrame([{"n": 4, "seed": 0}]))
    drawn = np.asarray(drawn)
    assert drawn.shape == (4, 8, 8, 1)
    assert drawn.std() > 0


def test_samples_that_patches_do_not_fill_are_refused_before_training(folder):
    starter.write_digits(paths.raw("digits") / "digits.zip")
    params = settings(TINY_DIT | {"patch": 3})
    prepare(params, "digits")
    with pytest.raises(LevyError, match=r"patches of 3 x 3, which do not fill 8 x 8: set net\.patch"):
        train(params, "digits", "lim")
    assert not paths.model("digits", "lim").exists()


def test_a_name_gives_its_settings_and_keys_beside_it_go_before(folder):
    net = settings({"name": "ddpm-32", "dropout": 0.2, "channels": [64, 128]}).net
    assert net.kind == "unet"
    assert net.settings["channels"] == [64, 128]
    assert net.settings["attention"] == [False, True]
    assert (net.settings["dropout"], net.settings["layers"], net.settings["groups"]) == (0.2, 2, 32)
    assert settings({"channels": [8], "layers": 1}).net.name == "small"
    assert settings({"name": "adm-64", "channels": [192, 384]}).net.settings["attention"] == [False, True]
    assert settings({"name": "small", "residual_resampling": True}).net.settings["residual_resampling"] is True
    assert settings({"name": "dit-b"}).net.settings == {"hidden": 768, "layers": 12, "head_channels": 64, "patch": 2}


@pytest.mark.parametrize(
    ("net", "message"),
    [
        ({"name": "resnet"}, r"net\.name is 'resnet': unknown network 'resnet': choose one of adm-128, adm-256, adm-64, ddpm-256, ddpm-32, dit-b"),
        ({"name": "dit-s", "channels": [16]}, r"net\.channels is set, which the network dit-s does not have: it has hidden, layers"),
        ({"name": "ddpm-32", "patch": 2}, r"net\.patch is set, which the network ddpm-32 does not have"),
        ({"channels": [8], "attention": [True, False]}, r"net\.attention is \[True, False\], but net\.channels has 1 resolutions"),
        ({"name": "dit-s", "layers": 0}, r"net\.layers is 0: input should be greater than or equal to 1"),
    ],
)  # fmt: skip
def test_names_and_keys_that_do_not_fit_are_refused(folder, net, message):
    with pytest.raises(LevyError, match=message):
        settings(net)
