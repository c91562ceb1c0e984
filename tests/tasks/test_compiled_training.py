"""compute.compile: on record, part of what decides a model, and no fault where nothing compiles."""

import json

import pytest
import torch
import yaml

from levy_core.base.tensors import read_tensors
from levy_core.datasets import starter
from tasks.params import loading
from tasks.prepare import prepare
from tasks.runtime import paths
from tasks.train import train
from tests.conftest import ROOT, TINY, merged

MODEL = paths.model("digits", "lim")


def settings(wanted):
    small = {"designs": ["lim"], "train": {"steps": 6}, "compute": {"compile": wanted, "device": "cpu"}}
    values = merged(merged(yaml.safe_load((ROOT / "params.yaml").read_text()), TINY), small)
    paths.PARAMS.write_text(yaml.safe_dump(values))
    return loading.load()


@pytest.fixture
def _no_compiler(tmp_path, monkeypatch):
    from torch._inductor import config  # seconds

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    starter.write_digits(paths.raw("digits") / "digits.zip")
    with config.patch({"cpp.cxx": (None, "/nonexistent/g++")}):
        yield
    torch.use_deterministic_algorithms(False)  # the stage asks for it


@pytest.mark.long  # what comes before the compiler takes most of a minute
@pytest.mark.usefixtures("_no_compiler")
def test_a_network_that_cannot_be_compiled_is_trained_without_and_only_another_setting_trains_anew(capsys):
    found = {}
    prepare(settings("auto"), "digits")
    for wanted in ("auto", True, True, False):
        train(settings(wanted), "digits", "lim")
        printed = capsys.readouterr()
        about = json.loads((MODEL / "design.json").read_text())["about"]
        found[wanted] = [*found.get(wanted, []), printed.out + printed.err]
        assert about.get("compiled") == (False if wanted is True else None)
        weights = read_tensors(MODEL / "model.safetensors")
        first = found.setdefault("weights", weights)
        assert all(torch.equal(value, weights[name]) for name, value in first.items())
    tried, kept = found[True]
    assert "warning: the network is not compiled, and trains as with compute.compile: false" in tried
    assert "No working C++ compiler" in tried
    assert "the model is kept" in kept
    assert not any("the model is kept" in printed for printed in (*found["auto"], tried, *found[False]))
    assert not any("compil" in printed for printed in (*found["auto"], kept, *found[False]))
