"""Processes that share every batch: the draws and, but for the order of float sums, the gradients and the model of one."""

import itertools
import json
import os
import shutil
import signal
import socket
import time
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
import yaml

from levy_core.base.conditions import LABEL, of_labels
from levy_core.base.errors import LevyError
from levy_core.base.files import write_json
from levy_core.base.tensors import read_tensors, write_tensors
from levy_core.datasets.images.store import write_group
from levy_core.nets.unet import UNet, UNetConfig
from levy_core.process.design import Design
from levy_core.training.checkpoint import load_model
from levy_core.training.config import TrainConfig
from levy_core.training.share import WHOLE, Share
from levy_core.training.trainer import Trainer
from tasks.params import sections
from tasks.runtime import paths, processes
from tasks.train import _sum_over_processes, train
from tests.conftest import PRECISIONS, ROOT, merged, wait_until
from tests.support.folder import Folder, workers

SHAPE, CHANNELS = (2, 8, 8), (16, 32)
CONFIG = TrainConfig(
    steps=4, batch=6, lr=1e-3, warmup=2, ema=0.9, clip=1e9, label_dropout=0.5, flip=True, seed=0, precision="float32"
)
COMPUTE = sections.ComputeParams(threads=1, device="cpu")
# Preset, batch, share of values that are missing: median over groups of draws, uneven shares, the mask.
CASES = {
    "even": ("tedm", 6, 0.0),
    "uneven": ("lim", 5, 0.0),
    "several draws": ("dlpm", 5, 0.0),
    "missing values": ("tedm", 6, 0.3),
    "missing values, uneven": ("lim", 5, 0.3),
}
# A gradient is a sum of float32 products over rows and places, here of up to n = 6 x 64 terms; another order moves it by at
# most n eps = 2e-5 of the sum of their sizes (eps = 6e-8), and typically by sqrt(n) eps = 1e-6. Seen: 6e-7 of the largest.
GRADIENT_ERROR = 1e-5
# In bfloat16 a layer sums in float32 and rounds what it returns, by u = 2^-8 of it at most (8 significant bits). Rows first
# meet in the gradient of a weight: one process returns fl(A + B), two return fl(A) + fl(B), where A and B are the sums over
# their rows. The difference is at most u (|A| + |B| + |A + B|) at every weight. Seen: 0.97 of that at the worst weight; 3e-3 of
# the largest gradient, where the largest |A|, |B| and |A + B| allow 1e-2.
BFLOAT16_ROUNDOFF = 2**-8
# Adam's first steps move every weight by about lr, whatever the size of its gradient, so the error of a gradient near 0 comes
# through whole; but such weights hardly change what the network says, so that is what is compared. Seen: 3e-6 of the largest.
# That is for float32. In bfloat16 the roundings of shares may move the model by no more than the roundings in the network do,
# which are as large and happen at every layer: by what training in float32 instead moves it. Seen: 5e-4 to 7e-4, of 4e-3 to 5e-3.
PREDICTION_ERROR = 3e-5


def data(missing):
    values = torch.randn(40, *SHAPE, generator=torch.Generator().manual_seed(0))
    values[torch.rand(values.shape, generator=torch.Generator().manual_seed(1)) < missing] = torch.nan
    values[3] = torch.nan if missing else 0.5  # a sample without any value
    return values


def trained(case, precision, share=WHOLE):
    """Draws and gradients of the first step, the largest gradient of the own rows, and the state after the last step."""
    preset, batch, missing = CASES[case]
    torch.manual_seed(0)
    net = UNet(UNetConfig(shape=SHAPE, classes=3, channels=CHANNELS))
    config, design = replace(CONFIG, batch=batch, precision=precision), Design.from_mapping({"preset": preset})
    own = []
    share = replace(share, add=lambda flat, add=share.add: (own.append(flat.clone()), add(flat)))
    trainer = Trainer(
        design,
        net,
        data(missing),
        of_labels(torch.arange(40) % 3),
        {LABEL: torch.tensor(3)},
        config,
        torch.device("cpu"),
        share,
    )
    found = {}

    def keep(module, inputs):
        y, rho, cond = inputs
        found.update({"drawn.y": y, "drawn.rho": rho, **{f"drawn.{name}": values for name, values in cond.items()}})

    hook = trainer.predictor.register_forward_pre_hook(keep)
    steps = trainer.run()
    first = next(steps)
    hook.remove()
    found |= {f"gradient.{name}": p.grad.clone() for name, p in net.named_parameters()}
    probe = torch.randn(7, *SHAPE, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        found["predicted"] = trainer.averaged.eval()(probe, torch.linspace(-2, 2, 7), of_labels(torch.arange(7) % 4))
    if own:
        weights = sum(p.numel() for p in net.parameters())
        found["own"] = own[0][-weights:].abs().max()  # gradients come last
    losses = torch.tensor([[p.loss, p.grad_norm] for p in (first, *steps)])
    return {**found, "losses": losses, **{f"state.{k}": v for k, v in trainer.state().items()}}


@pytest.fixture(scope="module")
def by_two(tmp_path_factory):
    """What two gloo processes found: [case, precision][rank]."""
    folder = tmp_path_factory.mktemp("shares")

    def work(state):
        share = Share(state.process_index, state.num_processes, _sum_over_processes)
        for number, which in enumerate(tried):
            write_tensors(folder / f"{number}-{share.index}.safetensors", trained(*which, share))

    tried = list(itertools.product(CASES, PRECISIONS))
    processes.run(COMPUTE, 2, work, exchange=True)
    return {
        which: [read_tensors(folder / f"{number}-{rank}.safetensors") for rank in range(2)]
        for number, which in enumerate(tried)
    }


@pytest.fixture(scope="module")
def by_one():
    return {which: trained(*which) for which in itertools.product(CASES, PRECISIONS)}


def part(found, prefix):
    return {name: value for name, value in found.items() if name.startswith(prefix)}


def gradient_error(precision, one, two):
    """What the order of sums may move in the gradients of two processes, in parts of the largest gradient of one."""
    if precision == "float32":
        return GRADIENT_ERROR
    sums = sum(float(found["own"]) for found in two) / largest_gradient(one)
    return BFLOAT16_ROUNDOFF * (1 + sums) + GRADIENT_ERROR


def largest_gradient(found):
    return max(float(g.abs().max()) for g in part(found, "gradient").values())


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("case", CASES)
def test_two_processes_draw_the_samples_noise_levels_and_labels_of_one(by_one, by_two, case, precision):
    repeats = Design.from_mapping({"preset": CASES[case][0]}).loss.repeats
    for name, whole in part(by_one[case, precision], "drawn").items():
        shares = [found[name].unflatten(0, (repeats, -1)) for found in by_two[case, precision]]
        assert [share.shape[1] for share in shares] == [CASES[case][1] // 2, -(-CASES[case][1] // 2)]
        assert torch.equal(torch.cat(shares, 1).flatten(0, 1), whole), name


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("case", CASES)
def test_their_gradients_are_those_of_one_within_float_error(by_one, by_two, case, precision):
    one, two = by_one[case, precision], by_two[case, precision]
    error = gradient_error(precision, one, two) * largest_gradient(one)
    assert max(float((two[0][name] - g).abs().max()) for name, g in part(one, "gradient").items()) < error


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("case", CASES)
def test_the_model_after_some_steps_is_that_of_one_within_float_error(by_one, by_two, case, precision):
    one, two, exact = by_one[case, precision], by_two[case, precision], by_one[case, "float32"]
    rounding = float((one["predicted"] - exact["predicted"]).abs().max())  # 0 in float32
    error = max(rounding, PREDICTION_ERROR * float(one["predicted"].abs().max()))
    assert float((two[0]["predicted"] - one["predicted"]).abs().max()) < error
    assert torch.allclose(one["losses"], two[0]["losses"], rtol=gradient_error(precision, one, two))
    learnt = part(one, "state.objective.")
    assert bool(learnt) == (CASES[case][0] in ("lim", "dlpm"))
    for name, value in learnt.items():
        largest = float(value.abs().max())
        assert torch.allclose(two[0][name], value, rtol=0, atol=gradient_error(precision, one, two) * largest), name


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("case", CASES)
def test_both_processes_hold_the_same_bits(by_two, case, precision):
    first, second = by_two[case, precision]
    for name in (*part(first, "gradient"), *part(first, "state"), "losses"):
        assert torch.equal(first[name], second[name]), name


def test_shares_are_the_whole_batch_once():
    for batch in (4, 7, 64):
        rows = [list(range(batch))[Share(i, 4).of(batch)] for i in range(4)]
        assert [row for share in rows for row in share] == list(range(batch))
        assert max(map(len, rows)) - min(map(len, rows)) <= 1
    with pytest.raises(LevyError, match=r"train.batch is 3, but 4 processes share every batch"):
        Share(0, 4).of(3)


STAGE = (train, "digits", "lim")
TINY = {
    "net": {"channels": [16], "attention": [False]},
    "train": {"steps": 40, "batch": 5, "warmup": 2, "save_every": 5, "processes": 2},
}


@dataclass(frozen=True)
class Run(Folder):
    precision: str

    def settings(self):
        return {**TINY["train"], "precision": self.precision}

    @property
    def resume(self):
        return self.root / paths.resume("digits", "lim")

    def model(self):
        return (self.root / paths.model("digits", "lim") / "model.safetensors").read_bytes()

    def predicted(self):
        """What the trained network says of fixed inputs."""
        probe = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        model = load_model(self.root / paths.model("digits", "lim"))
        return model.predictor(probe, torch.logspace(-2, 2, 6), of_labels(torch.arange(6) % 3))

    def start_afresh(self, **settings):
        shutil.rmtree(self.root / paths.model("digits", "lim"), ignore_errors=True)
        self.resume.unlink(missing_ok=True)
        self.set_params({"train": self.settings() | settings})

    def interrupted(self, number):
        """The stage, of which one process gets a signal after the first saved state; its exit status."""
        process = self.start(*STAGE)
        while not self.resume.exists() and process.is_alive():
            time.sleep(0.002)  # of the 35 steps that are left, few are made meanwhile
        os.kill({"worker": workers(process)[1], "stage": process.pid}[number], signal.SIGKILL)
        process.join()
        assert wait_until(lambda: not self.processes(), 10)
        return process.exitcode

    def launched(self):
        """Two processes with the environment that a launcher gives them; their exit statuses."""
        with socket.create_server(("127.0.0.1", 0)) as found:
            meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(found.getsockname()[1])}
        sizes = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
        started = [self.start(*STAGE, **meeting, **sizes, RANK=str(i), LOCAL_RANK=str(i)) for i in range(2)]
        for process in started:
            process.join()
        return [process.exitcode for process in started]


@pytest.fixture(scope="module", params=["float32"])
def run(tmp_path_factory, request):
    """A folder with prepared digits, and the model that two processes trained without interruption."""
    folder = Run(tmp_path_factory.mktemp("train"), request.param)
    settings = merged(yaml.safe_load((ROOT / "params.yaml").read_text()), TINY | {"train": folder.settings()})
    (folder.root / "params.yaml").write_text(yaml.safe_dump(settings))
    prepared = folder.root / paths.prepared("digits")
    write_images(prepared)
    assert folder.finish(*STAGE) == 0, folder.log()
    return folder, folder.model(), folder.predicted()


def write_images(prepared):
    """Twelve images of two classes, as the stage prepare writes them."""
    images = np.random.default_rng(0).integers(0, 256, (12, 1, 8, 8), np.uint8)
    prepared.mkdir(parents=True)
    statistics = write_group(
        prepared / "images.zarr", "train", np.arange(12), np.arange(12) % 2, ["a", "b"], (1, 8, 8),
        lambda i: images[i], iter,
    )  # fmt: skip
    write_json(
        prepared / "statistics.json", {"shape": [1, 8, 8], "flip": False, "train": statistics, "balanced": statistics}
    )


@pytest.mark.parametrize("run", PRECISIONS, indirect=True)
def test_a_killed_process_ends_the_stage_with_one_message_and_the_rerun_gives_the_uninterrupted_model(run):
    folder, expected, _ = run
    folder.start_afresh()
    assert folder.interrupted("worker") == 1
    assert folder.log().splitlines()[-1].startswith("error: one of 2 processes ended with status -9")
    assert "Traceback" not in folder.log()
    assert folder.finish(*STAGE) == 0
    assert "going on after step" in folder.log()
    assert folder.log().count("parameters,") == 1  # the main process speaks for all
    assert folder.model() == expected


def test_a_killed_stage_leaves_no_process_and_goes_on_with_another_number_of_them(run):
    folder, _, predicted = run
    folder.start_afresh()
    assert folder.interrupted("stage") == -signal.SIGKILL
    folder.set_params({"train": {"processes": 1}})
    assert folder.finish(*STAGE) == 0
    assert "going on after step" in folder.log()
    found = folder.predicted()
    assert torch.allclose(found, predicted, rtol=0, atol=PREDICTION_ERROR * float(predicted.abs().max()))


def test_a_rerun_on_a_processor_where_auto_is_another_precision_starts_anew_says_so_and_the_model_tells_which(
    run, monkeypatch
):
    def on_a_processor(native):
        monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: native)
        monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: native)

    folder, expected, _ = run
    folder.start_afresh(precision="auto")
    on_a_processor(native=True)
    assert folder.interrupted("stage") == -signal.SIGKILL
    on_a_processor(native=False)
    assert folder.finish(*STAGE) == 0
    assert "training begins at step 0: it was in bfloat16, and this one is in float32" in folder.log()
    assert folder.model() == expected
    about = json.loads((folder.root / paths.model("digits", "lim") / "design.json").read_text())["about"]
    assert (about["train"]["precision"], about["precision"]) == ("auto", "float32")


def test_processes_that_a_launcher_started_train_the_same_model(run):
    folder, expected, _ = run
    folder.start_afresh()
    assert folder.launched() == [0, 0]
    assert folder.model() == expected


def test_another_number_of_processes_than_the_one_on_record_is_refused(run):
    folder, _, _ = run
    folder.start_afresh(processes=3)
    assert folder.launched() == [1, 1]
    assert "2 processes were started, but train.processes is 3" in folder.log()
