"""Processes that share every batch: the draws and, but for the order of float sums, the gradients and the model of one."""

import os
import shutil
import signal
import socket
import time

import numpy as np
import pytest
import torch
import yaml

from levy_core.base.errors import LevyError
from levy_core.base.files import write_json
from levy_core.base.tensors import read_tensors, write_tensors
from levy_core.datasets.images.store import write_group
from levy_core.nets.unet import UNet, UNetConfig
from levy_core.process.design import Design
from levy_core.training.checkpoint import load_model
from levy_core.training.share import WHOLE, Share
from levy_core.training.trainer import TrainConfig, Trainer
from tasks.params import schema
from tasks.runtime import paths, processes
from tasks.train import _sum_over_processes, train
from tests.conftest import ROOT, merged, wait_until
from tests.support.folder import Folder, workers

SHAPE, CHANNELS = (2, 8, 8), (16, 32)
CONFIG = TrainConfig(steps=4, batch=6, lr=1e-3, warmup=2, ema=0.9, clip=1e9, label_dropout=0.5, flip=True, seed=0)
COMPUTE = schema.ComputeParams(threads=1, device="cpu")
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
# Adam's first steps move every weight by about lr, whatever the size of its gradient, so the error of a gradient near 0 comes
# through whole; but such weights hardly change what the network says, so that is what is compared. Seen: 3e-6 of the largest.
PREDICTION_ERROR = 3e-5


def data(missing):
    values = torch.randn(40, *SHAPE, generator=torch.Generator().manual_seed(0))
    values[torch.rand(values.shape, generator=torch.Generator().manual_seed(1)) < missing] = torch.nan
    values[3] = torch.nan if missing else 0.5  # a sample without any value
    return values


def trained(case, share):
    """Draws and gradients of the first step, and the state after the last."""
    preset, batch, missing = CASES[case]
    torch.manual_seed(0)
    net = UNet(UNetConfig(shape=SHAPE, classes=3, channels=CHANNELS))
    config = TrainConfig(**{**CONFIG.__dict__, "batch": batch})
    design = Design.from_mapping({"preset": preset})
    trainer = Trainer(design, net, data(missing), torch.arange(40) % 3, 3, config, torch.device("cpu"), share)
    found = {}
    keep = lambda module, inputs: found.update(zip(("drawn.y", "drawn.rho", "drawn.label"), inputs, strict=True))
    hook = trainer.predictor.register_forward_pre_hook(keep)
    steps = trainer.run()
    first = next(steps)
    hook.remove()
    found |= {f"gradient.{name}": p.grad.clone() for name, p in net.named_parameters()}
    probe = torch.randn(7, *SHAPE, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        found["predicted"] = trainer.averaged.eval()(probe, torch.linspace(-2, 2, 7), torch.arange(7) % 4)
    losses = torch.tensor([[p.loss, p.grad_norm] for p in (first, *steps)])
    return {**found, "losses": losses, **{f"state.{k}": v for k, v in trainer.state().items()}}


@pytest.fixture(scope="module")
def by_two(tmp_path_factory):
    """What two gloo processes found: [case][rank]."""
    folder = tmp_path_factory.mktemp("shares")

    def work(state):
        share = Share(state.process_index, state.num_processes, _sum_over_processes)
        for number, case in enumerate(CASES):
            write_tensors(folder / f"{number}-{share.index}.safetensors", trained(case, share))

    processes.run(COMPUTE, 2, work, exchange=True)
    return {
        case: [read_tensors(folder / f"{number}-{rank}.safetensors") for rank in range(2)]
        for number, case in enumerate(CASES)
    }


@pytest.fixture(scope="module")
def by_one():
    return {case: trained(case, WHOLE) for case in CASES}


def part(found, prefix):
    return {name: value for name, value in found.items() if name.startswith(prefix)}


@pytest.mark.parametrize("case", CASES)
def test_two_processes_draw_the_samples_noise_levels_and_labels_of_one(by_one, by_two, case):
    repeats = Design.from_mapping({"preset": CASES[case][0]}).objective.repeats
    for name, whole in part(by_one[case], "drawn").items():
        shares = [found[name].unflatten(0, (repeats, -1)) for found in by_two[case]]
        assert [share.shape[1] for share in shares] == [CASES[case][1] // 2, -(-CASES[case][1] // 2)]
        assert torch.equal(torch.cat(shares, 1).flatten(0, 1), whole), name


@pytest.mark.parametrize("case", CASES)
def test_their_gradients_are_those_of_one_within_float_error(by_one, by_two, case):
    one, two = part(by_one[case], "gradient"), part(by_two[case][0], "gradient")
    largest = max(float(g.abs().max()) for g in one.values())
    assert max(float((two[name] - g).abs().max()) for name, g in one.items()) < GRADIENT_ERROR * largest


@pytest.mark.parametrize("case", CASES)
def test_the_model_after_some_steps_is_that_of_one_within_float_error(by_one, by_two, case):
    one, two = by_one[case], by_two[case][0]
    largest = float(one["predicted"].abs().max())
    assert float((two["predicted"] - one["predicted"]).abs().max()) < PREDICTION_ERROR * largest
    assert torch.allclose(one["losses"], two["losses"], rtol=GRADIENT_ERROR)


@pytest.mark.parametrize("case", CASES)
def test_both_processes_hold_the_same_bits(by_two, case):
    first, second = by_two[case]
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


class Run(Folder):
    @property
    def resume(self):
        return self.root / paths.resume("digits", "lim")

    def model(self):
        return (self.root / paths.model("digits", "lim") / "model.safetensors").read_bytes()

    def predicted(self):
        """What the trained network says of fixed inputs."""
        probe = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        model = load_model(self.root / paths.model("digits", "lim"))
        return model.predictor(probe, torch.logspace(-2, 2, 6), torch.arange(6) % 3)

    def start_afresh(self, **settings):
        shutil.rmtree(self.root / paths.model("digits", "lim"), ignore_errors=True)
        self.resume.unlink(missing_ok=True)
        self.set_params({"train": {**TINY["train"], **settings}})

    def interrupted(self, number):
        """The stage, of which one process gets a signal after the first saved state; its exit status."""
        process = self.start(*STAGE)
        deadline = time.monotonic() + 120
        while not self.resume.exists() and time.monotonic() < deadline:
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


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with prepared digits, and the model that two processes trained without interruption."""
    folder = Run(tmp_path_factory.mktemp("train"))
    settings = merged(yaml.safe_load((ROOT / "params.yaml").read_text()), TINY)
    (folder.root / "params.yaml").write_text(yaml.safe_dump(settings))
    prepared = folder.root / paths.prepared("digits")
    write_images(prepared)
    assert folder.finish(*STAGE) == 0, folder.log()
    return folder, folder.model(), folder.predicted()


def write_images(prepared):
    """Twelve images of two classes, as the stage prepare writes them."""
    images = np.random.default_rng(0).integers(0, 256, (12, 1, 8, 8), np.uint8)
    prepared.mkdir(parents=True)
    write_group(
        prepared / "images.zarr", "train", np.arange(12), np.arange(12) % 2, ["a", "b"], (1, 8, 8),
        lambda i: images[i], iter,
    )  # fmt: skip
    write_json(prepared / "statistics.json", {"flip": False})


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
