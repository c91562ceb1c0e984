"""Which samples a step takes: classes in the stated proportions, in the stated steps, the same in every process and after a stop."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy import stats

from levy_core.base import philox
from levy_core.base.conditions import LABEL, of_labels
from levy_core.base.errors import LevyError
from levy_core.base.seeds import generator
from levy_core.nets.mlp import MLP, MLPConfig
from levy_core.process.design import Design
from levy_core.process.noise import Gaussian, Stable, StudentT
from levy_core.training.config import TrainConfig
from levy_core.training.drawing import BalancedRows, Drawing, draw_noise
from levy_core.training.objective import Objective
from levy_core.training.share import WHOLE, Share
from levy_core.training.trainer import Trainer

COUNTS = [40, 13, 6, 1]
LABELS = torch.arange(4).repeat_interleave(torch.tensor(COUNTS))[torch.randperm(60, generator=generator(1))]
ABSENT = {LABEL: torch.tensor(4)}
# Every sample is its own number, so that a batch tells its rows.
DATA = torch.arange(60.0)[:, None].repeat(1, 2)
CONFIG = TrainConfig(
    steps=10, batch=9, lr=1e-3, warmup=1, ema=0.9, clip=1e9, label_dropout=0.5, flip=False, seed=0, precision="float32",
    balance=0.7, balance_phase=0.4, class_balancing=0.5,
)  # fmt: skip
NATURAL = replace(CONFIG, balance=0.0, class_balancing=0.0)
# One chi-square test of right draws fails once in 10,000 seeds; the seeds are fixed.
FALSE_ALARM = 1e-4


def drawing(**changes):
    return Drawing(replace(CONFIG, **changes), len(DATA), of_labels(LABELS), ABSENT)


def refuses(rows, shares):
    """Whether rows, or their classes, were not drawn with these shares."""
    observed = rows.bincount(minlength=len(shares)).numpy()
    return stats.chisquare(observed, shares * observed.sum()).pvalue < FALSE_ALARM


def shares_of(balance):
    weights = np.array(COUNTS) ** (1.0 - balance)
    return weights / weights.sum()


@pytest.fixture(params=[set(), {"cpu"}], ids=["blocks", "counters"])
def _both_ways(request, monkeypatch):
    """Noise from the CPU, and as a GPU draws it, here by the same code on the CPU."""
    monkeypatch.setattr(philox, "OWN_NOISE", request.param)


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_a_class_has_the_stated_share_and_its_samples_are_equally_likely(balance):
    rows = BalancedRows(LABELS, balance).draw(60_000, generator(0))
    per_sample = lambda balance: (shares_of(balance) / COUNTS)[LABELS.numpy()]
    assert not refuses(rows, per_sample(balance))
    assert refuses(rows, per_sample(balance + 0.1))  # it can see a tenth


def test_a_class_without_samples_is_not_drawn():
    rows = BalancedRows(torch.tensor([0, 2, 2]), 1.0).draw(10_000, generator(0))
    assert abs(float((rows == 0).double().mean()) - 0.5) < 0.02  # four standard deviations: once in 16,000 seeds


def test_rows_without_their_class_are_those_of_natural_drawing_and_the_others_are_balanced():
    balanced, natural = drawing(batch=6_000, balance_phase=1.0), drawing(batch=6_000, balance=0.0)
    one, other = balanced(3), natural(3)
    assert torch.equal(one.dropped, other.dropped)
    assert torch.equal(one.rows[one.dropped], other.rows[one.dropped])
    assert not refuses(LABELS[one.rows[~one.dropped]], shares_of(CONFIG.balance))
    assert not refuses(LABELS[one.rows[one.dropped]], shares_of(0))
    assert not refuses(LABELS[balanced.other_rows(3)], shares_of(CONFIG.balance))
    assert not refuses(LABELS[natural.other_rows(3)], shares_of(0))


@pytest.mark.parametrize(
    ("steps", "phase", "first"), [(10, 0.4, 6), (10, 1.0, 0), (10, 0.2, 8), (3, 0.01, 2), (1200, 0.2, 960)]
)
def test_balance_holds_in_the_last_share_of_the_steps_and_in_one_at_least(steps, phase, first):
    # 500 rows of 4 classes: two draws agree in all rows with probability 0.
    chosen = {"steps": steps, "balance_phase": phase, "batch": 500, "label_dropout": 0.0}
    balanced, natural = drawing(**chosen), drawing(balance=0.0, **chosen)
    differs = [not torch.equal(balanced(step).rows, natural(step).rows) for step in range(steps)]
    assert differs == [False] * first + [True] * (steps - first)


@dataclass
class Recorder(Objective):
    """An objective that keeps the batches, and asks the network once."""

    batches: list = field(default_factory=list)
    repeats: ClassVar[int] = 2

    def __call__(self, predict, batch):
        self.batches.append(batch)
        return (predict(batch.y, batch.rho, batch.cond) - batch.e).abs().mean(1).view(2, -1).mean(0)


class Store:
    """The samples as a store."""

    shape = (2,)

    def __len__(self):
        return 60

    def __getitem__(self, rows):
        return DATA.numpy()[rows]


def trainer(config=CONFIG, share=WHOLE, data=DATA, cond=None, objective=None):
    torch.manual_seed(1)
    net = MLP(MLPConfig((2,), classes=4, width=8))
    cond = of_labels(LABELS) if cond is None else cond
    design = Design.from_mapping({"preset": "lim"})
    return Trainer(design, net, data, cond, ABSENT, config, torch.device("cpu"), share, objective)


def batches_of(config=CONFIG, share=WHOLE):
    recorder = Recorder()
    list(trainer(config, share, objective=recorder).run())
    return recorder.batches


def test_without_balance_rows_masks_and_levels_are_those_of_one_generator_in_the_order_of_before_there_was_balance():
    design = Design.from_mapping({"preset": "lim"})
    for step, batch in enumerate(batches_of(NATURAL)):
        g = generator(0, "batch", step)
        rows = torch.randint(60, (9,), generator=g)
        dropped = torch.rand(9, generator=g) < 0.5
        assert torch.equal(batch.x0[:9], DATA[rows])
        assert torch.equal(batch.cond[LABEL][:9], torch.where(dropped, 4, LABELS[rows]))
        assert torch.equal(batch.rho[:9], design.levels.draw(design.schedule, 9, g).float())
        assert batch.other is None


def test_other_classes_are_drawn_for_rows_with_a_class_alone():
    batches = batches_of()
    own, other = (torch.cat([getattr(b, name)[LABEL] for b in batches]) for name in ("cond", "other"))
    assert torch.equal(own == 4, other == 4)
    assert int((own != other).sum()) > 0
    for batch in batches:  # each repeat of a sample meets the same other class
        assert torch.equal(batch.other[LABEL][:9], batch.other[LABEL][9:])


@pytest.mark.usefixtures("_both_ways")
def test_two_shares_are_the_batch_of_one_process_and_their_gradients_add_up_to_its():
    whole, *shares = (batches_of(share=share) for share in (WHOLE, Share(0, 2), Share(1, 2)))
    for one, *parts in zip(whole, *shares, strict=True):
        for value in (lambda b: b.y, lambda b: b.rho, lambda b: b.cond[LABEL], lambda b: b.other[LABEL]):
            joined = torch.cat([value(part).unflatten(0, (2, -1)) for part in parts], 1).flatten(0, 1)
            assert torch.equal(joined, value(one))
    trainers = [trainer(share=share) for share in (WHOLE, Share(0, 2), Share(1, 2))]
    for one in trainers:
        next(one.run())
    gradients = [[p.grad for p in one.predictor.parameters()] for one in trainers]
    largest = max(float(g.abs().max()) for g in gradients[0])
    for one, *parts in zip(*gradients, strict=True):  # sums of 9 rows in another order: some 2**-24 of the largest each
        assert torch.allclose(sum(parts), one, rtol=0, atol=1e-5 * largest)


@pytest.mark.usefixtures("_both_ways")
@pytest.mark.parametrize("data", [DATA, Store()], ids=["memory", "store"])
@pytest.mark.parametrize("stop", [3, 8])  # before the phase, which begins at step 6, and in it
def test_a_run_that_stopped_before_or_in_the_phase_goes_on_to_the_same_bits(data, stop):
    whole, first, second = trainer(), trainer(data=data), trainer(data=data)
    expected, steps = list(whole.run()), first.run()
    found = [next(steps) for _ in range(stop)]
    steps.close()
    second.restore(first.state())
    assert found + list(second.run()) == expected
    for name, value in whole.state().items():
        assert torch.equal(value, second.state()[name]), name


@pytest.mark.parametrize(
    ("key", "changes"), [("balance", {"class_balancing": 0.0}), ("class_balancing", {"balance": 0.0})]
)
@pytest.mark.parametrize("cond", [{"time": torch.zeros(60, 1)}, of_labels(LABELS.where(LABELS > 0, 4))])
def test_samples_without_a_class_cannot_be_balanced(key, changes, cond):
    with pytest.raises(
        LevyError, match=rf"train.{key} is 0.\d, but there are samples without a class: set train.{key} to 0"
    ):
        trainer(replace(CONFIG, **changes), cond=cond)


@pytest.mark.usefixtures("_both_ways")
@pytest.mark.parametrize("shape", [(2,), (3, 32, 32)], ids=["one block", "blocks of 21"])
@pytest.mark.parametrize("with_mixing", [False, True])
@pytest.mark.parametrize(
    "noise", [Gaussian(), Stable(1.7), Stable(1.5, isotropic=False), Stable(1.5, cap=3.0), StudentT(4.0)], ids=str
)
def test_noise_of_a_row_is_the_same_whoever_draws_it(noise, shape, with_mixing):
    size, repeats, key = 50, 3, (0, "noise", 7)
    e, mixing = draw_noise(noise, shape, key, repeats, slice(0, size), with_mixing)
    assert e.shape == (repeats * size, *shape)
    assert torch.equal(e, draw_noise(noise, shape, key, repeats, slice(0, size), with_mixing)[0])
    assert not torch.equal(e, draw_noise(noise, shape, (0, "noise", 8), repeats, slice(0, size), with_mixing)[0])
    assert len(e.flatten(1)[:, 0].unique()) == repeats * size  # no block or draw repeats another
    for rows in (slice(0, 20), slice(20, 45), slice(45, 50)):
        part, own = draw_noise(noise, shape, key, repeats, rows, with_mixing)
        assert torch.equal(part, e.unflatten(0, (repeats, size))[:, rows].flatten(0, 1))
        if with_mixing:
            assert torch.equal(own, mixing.unflatten(0, (repeats, size))[:, rows].flatten(0, 1))
    assert (mixing is not None) == with_mixing


def test_a_process_draws_the_blocks_of_its_rows_alone():
    drawn = []

    class Counted(Gaussian):
        def sample(self, shape, streams):
            found = super().sample(shape, streams)
            drawn.append(len(found))
            return found

    draw_noise(Counted(), (3, 64, 64), (0,), 1, slice(30, 60), False)  # 5 rows per block
    assert sum(drawn) == 30
