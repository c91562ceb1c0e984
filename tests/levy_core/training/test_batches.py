"""Training from a store: the same as from memory, read ahead, resumable, and deaf to what is missing."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
import zarr

from levy_core.base.conditions import LABEL, of_labels
from levy_core.base.errors import LevyError
from levy_core.nets.mlp import MLP, MLPConfig
from levy_core.nets.unet import UNet, UNetConfig
from levy_core.process.design import PRESETS, Design
from levy_core.process.loss import LOSSES, TAIL_WEIGHTS, ResidualLoss
from levy_core.process.noise import Gaussian, StudentT
from levy_core.process.parametrisation import Units
from levy_core.training.batches import AHEAD, batches, fill_missing
from levy_core.training.config import TrainConfig
from levy_core.training.preview import draw_preview
from levy_core.training.trainer import Trainer
from tests.conftest import PRECISIONS

CONFIG = TrainConfig(
    steps=9, batch=4, lr=1e-3, warmup=1, ema=0.9, clip=1.0, label_dropout=0.5, flip=True, seed=0, precision="float32"
)
SHAPE = (2, 4, 8)


class Store:
    """Rows of a zarr array on disk, a few per chunk."""

    def __init__(self, path, values):
        self.array = zarr.create_array(path, shape=values.shape, chunks=(7, *values.shape[1:]), dtype="float32")
        self.array[:] = values
        self.shape, self.read = values.shape[1:], []

    def __len__(self):
        return self.array.shape[0]

    def __getitem__(self, rows):
        self.read.append(rows)
        return self.array.oindex[rows]


class Broken(Store):
    """The third read fails."""

    def __getitem__(self, rows):
        if len(self.read) == 2:
            raise LevyError("chunk 5 of fields.zarr is damaged")
        return super().__getitem__(rows)


def fields(missing=0.0):
    rng = np.random.default_rng(0)
    values = rng.standard_normal((40, *SHAPE), np.float32)
    values[rng.random(values.shape) < missing] = np.nan
    return values


def trainer(data, preset="tedm", config=CONFIG):
    torch.manual_seed(0)
    net = UNet(UNetConfig(shape=SHAPE, classes=3, channels=(8,)))
    labels = torch.arange(len(data)) % 3
    return Trainer(
        Design.from_mapping({"preset": preset}),
        net,
        data,
        of_labels(labels),
        {LABEL: torch.tensor(3)},
        config,
        torch.device("cpu"),
    )


def reading_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


@pytest.fixture
def two_steps_a_read(monkeypatch):
    monkeypatch.setattr("levy_core.training.batches.READ_STEPS", 2)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("preset", ["tedm", "dlpm"])
def test_a_store_trains_to_the_same_bits_as_memory(tmp_path, preset, missing, precision, two_steps_a_read):
    values, config = fields(missing), replace(CONFIG, precision=precision)
    memory = trainer(torch.from_numpy(values), preset, config)
    store = trainer(Store(tmp_path / "a", values), preset, config)
    assert list(memory.run()) == list(store.run())
    for name, value in memory.state().items():
        assert torch.equal(value, store.state()[name]), name
    assert not reading_threads()


def test_a_run_from_a_store_goes_on_where_it_stopped(tmp_path, two_steps_a_read):
    values = fields()
    whole = list(trainer(torch.from_numpy(values)).run())
    first = trainer(Store(tmp_path / "a", values))
    steps = first.run()
    part = [next(steps) for _ in range(4)]
    steps.close()
    assert not reading_threads()
    second = trainer(Store(tmp_path / "b", values))
    second.restore(first.state())
    assert part + list(second.run()) == whole


@pytest.mark.parametrize("precision", PRECISIONS)
def test_with_every_setting_a_stopped_run_from_a_store_that_is_looked_at_ends_as_one_from_memory(
    tmp_path, precision, two_steps_a_read
):
    values, net = (
        fields(0.1),
        UNetConfig((2, 4, 8), 3, (8, 16), attention=(False, True), dropout=0.2, heads=2, augment=5),
    )
    settings = replace(
        CONFIG, precision=precision, batch=7, accumulate=3, crop=1, colour=0.1, balance=0.7, balance_phase=0.5, class_balancing=0.5,
        lr_schedule="cosine", weight_decay=0.1, ema_lengths=(0.05, 0.1),
    )  # fmt: skip
    design, kept = Design.from_mapping({"preset": "lim", "score_head": True}), [{}, {}]

    def begin(data, averages):
        torch.manual_seed(0)
        one = UNet(net)
        one.checkpointing = averages is kept[1]
        labels, absent = of_labels(torch.arange(40) % 3), {LABEL: torch.tensor(3)}
        cpu = torch.device("cpu")
        return Trainer(design, one, data, labels, absent, settings, cpu, keep=averages.__setitem__)

    whole = begin(torch.from_numpy(values), kept[0])
    expected, found, state = list(whole.run()), [], None
    for end in (2, 5, 9):
        one = begin(Store(tmp_path / str(end), values), kept[1])
        if state:
            one.restore(state)
        steps = one.run()
        found += [next(steps) for _ in range(end - one.step)]
        steps.close()
        seen = of_labels(torch.arange(6) % 3)
        one.held_out_loss(torch.from_numpy(values[:6]), seen)
        draw_preview(design.predictor(one.averaged), design, SHAPE, seen, 0, 4)
        state = one.state()
    assert found == expected
    assert state.keys() == whole.state().keys()
    for name, value in whole.state().items():
        assert torch.equal(value, state[name]), name
    assert [*kept[0]] == [*kept[1]]
    assert all(torch.equal(value, kept[1][k][name]) for k in kept[0] for name, value in kept[0][k].items())


def test_reading_is_ahead_but_not_far(tmp_path, two_steps_a_read):
    store = Store(tmp_path / "a", fields())
    steps = trainer(store).run()
    next(steps)
    deadline = time.monotonic() + 10
    while len(store.read) < AHEAD + 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [len(rows) for rows in store.read] == [2 * CONFIG.batch] * (AHEAD + 1)
    steps.close()
    assert len(store.read) == AHEAD + 1


def test_a_short_run_reads_the_rows_of_its_steps_alone(tmp_path):
    store = Store(tmp_path / "a", fields())
    list(trainer(store).run())
    assert [len(rows) for rows in store.read] == [CONFIG.steps * CONFIG.batch]


def test_what_the_store_says_reaches_the_caller(tmp_path, two_steps_a_read):
    run = trainer(Broken(tmp_path / "a", fields()))
    steps = run.run()
    for _ in range(4):
        next(steps)
    with pytest.raises(LevyError, match=r"chunk 5 of fields.zarr is damaged"):
        next(steps)
    assert run.step == 4
    assert not reading_threads()


def test_batches_come_in_the_order_of_their_steps(tmp_path):
    values = fields()
    rows = lambda step: torch.tensor([step, 39 - step, step])
    for samples in (torch.from_numpy(values), Store(tmp_path / "a", values)):
        found = list(batches(samples, rows, range(3, 12)))
        assert all(torch.equal(x, torch.from_numpy(values[rows(3 + i)])) for i, x in enumerate(found))
        assert len(found) == 9


def test_a_store_needs_a_label_a_sample_and_three_axes_for_mirroring(tmp_path):
    flat = Store(tmp_path / "a", np.zeros((5, 3), np.float32))
    design, net = Design.from_mapping({"preset": "edm"}), MLP(MLPConfig((3,)))
    with pytest.raises(LevyError, match="5 training samples came with 4 rows of label"):
        Trainer(
            design, net, flat, of_labels(torch.zeros(4).long()), {LABEL: torch.tensor(0)}, CONFIG, torch.device("cpu")
        )
    with pytest.raises(LevyError, match=r"flip is for images .* shape \[5, 3\]"):
        Trainer(
            design, net, flat, of_labels(torch.zeros(5).long()), {LABEL: torch.tensor(0)}, CONFIG, torch.device("cpu")
        )


def test_missing_values_become_the_mean_and_are_remembered():
    x = torch.tensor([[1.0, float("nan")], [2.0, 3.0]])
    filled, valid = fill_missing(x)
    assert filled.tolist() == [[1, 0], [2, 3]]
    assert valid.tolist() == [[True, False], [True, True]]
    whole, nothing = fill_missing(filled)
    assert whole is filled
    assert nothing is None


@pytest.mark.parametrize("tail_weight", TAIL_WEIGHTS)
@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_of_the_valid_values_is_the_loss_of_a_sample_made_of_them(name, tail_weight):
    g = torch.Generator().manual_seed(0)
    eps_hat, e, y = (torch.randn(3, 2, 5, generator=g) for _ in range(3))
    rho = torch.rand(3, generator=g)
    valid = torch.ones(3, 2, 5, dtype=torch.bool)
    valid[:, :, 3:] = False
    law = StudentT(4.0)
    loss_of, units = ResidualLoss(name, "edm", tail_weight=tail_weight), Units.of(law, 1.0)
    expected = loss_of(eps_hat[..., :3], e[..., :3], y[..., :3], rho, units, law)
    assert torch.allclose(loss_of(eps_hat, e, y, rho, units, law, valid), expected)
    all_valid = torch.ones_like(valid)
    assert torch.allclose(loss_of(eps_hat, e, y, rho, units, law, all_valid), loss_of(eps_hat, e, y, rho, units, law))


def test_a_sample_without_any_value_weighs_nothing():
    e = torch.ones(1, 4)
    valid = torch.zeros(1, 4, dtype=torch.bool)
    law = Gaussian()
    assert ResidualLoss("squared")(e + 1, e, e, torch.ones(1), Units.of(law, 1.0), law, valid).item() == 0


@pytest.mark.parametrize("preset", PRESETS)
def test_what_is_always_missing_is_never_learnt(preset):
    data = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    data[:, 1] = float("nan")
    torch.manual_seed(0)
    net = MLP(MLPConfig((3,)))
    before = net.leave.weight.detach().clone()
    config = TrainConfig(**{**CONFIG.__dict__, "flip": False})
    for _ in Trainer(
        Design.from_mapping({"preset": preset}),
        net,
        data,
        of_labels(torch.zeros(50).long()),
        {LABEL: torch.tensor(0)},
        config,
        torch.device("cpu"),
    ).run():
        pass
    moved = (net.leave.weight != before).any(1).tolist()
    assert moved == [True, False, True]
