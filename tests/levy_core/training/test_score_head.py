"""The second head: what it is trained on, that it is the score, and that the first head is trained as without it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from levy_core.base.conditions import LABEL, of_labels
from levy_core.base.errors import LevyError
from levy_core.base.samples import Samples
from levy_core.base.seeds import BatchStream
from levy_core.nets.mlp import MLP, MLPConfig
from levy_core.nets.unet import UNet, UNetConfig
from levy_core.process.design import PRESETS, Design
from levy_core.process.noise import Gaussian, Stable, StudentT
from levy_core.process.parametrisation import Predictor, Units, broadcast, score_of
from levy_core.sampling.oracles import Student, isotropic_law, nine_modes
from levy_core.training.checkpoint import load_model, save_model
from levy_core.training.class_balancing import ClassBalancing
from levy_core.training.config import TrainConfig
from levy_core.training.objective import Batch, NoiseResidual
from levy_core.training.score_head import WithScore
from levy_core.training.trainer import Trainer

CONFIG = TrainConfig(
    steps=600, batch=128, lr=3e-3, warmup=20, ema=0.98, clip=1.0, label_dropout=0.0, flip=False, seed=0,
    precision="float32",
)  # fmt: skip
LAWS = [
    Gaussian(),
    Stable(2.0),
    Stable(1.1),
    Stable(1.5),
    Stable(1.5, isotropic=False),
    Stable(1.5, cap=20.0),
    StudentT(3.0),
]


@pytest.mark.parametrize("alpha", [1.1, 1.5, 1.8])
@pytest.mark.parametrize("d", [1, 2, 16])
def test_the_precision_of_stable_noise_is_exact_at_both_ends_and_of_the_right_size_between(alpha, d):
    log_r, _, exact = isotropic_law(alpha, d)
    within = log_r < np.log(1e6)  # further out the quadrature itself ends
    e = torch.zeros(within.sum(), d, dtype=torch.float64)
    e[:, 0] = torch.from_numpy(np.exp(log_r[within]))
    ratio = Stable(alpha).precision(e).flatten().numpy() / np.exp(exact[within])
    assert ratio[[0, -1]] == pytest.approx(1, abs=5e-3)
    assert 0.4 < ratio.min() <= ratio.max() < 1.05


def test_the_precision_of_student_t_noise_is_the_gradient_of_scipys_log_density():
    e, step = np.array([[0.3, -1.0, 4.0]]), 1e-5
    law = stats.multivariate_t(np.zeros(3), np.eye(3), df=4.0)
    gradient = [(law.logpdf(e + step * u) - law.logpdf(e - step * u)) / (2 * step) for u in np.eye(3)]
    found = -StudentT(4.0).precision(torch.from_numpy(e)) * torch.from_numpy(e)
    assert found.flatten().tolist() == pytest.approx(gradient, rel=1e-6)


@pytest.mark.parametrize("noise", LAWS, ids=str)
@pytest.mark.parametrize("d", [2, 64])
def test_what_the_head_learns_from_is_of_order_one_at_most_at_every_rho_and_every_y(noise, d):
    n, units = 2000, Units.of(noise, 0.5)
    x0 = 0.5 * torch.sign(torch.randn(n, d, generator=torch.Generator().manual_seed(0)))
    for rho in (1e-3, 0.03, 0.5, 10.0, 1e3):
        level = torch.full((n,), rho)
        e, mixing = noise.sample_with_mixing((d,), BatchStream(n, "order"))
        y = x0 + rho * e
        without, unit = (score_of(torch.full_like(y, out), y, level, noise, units) for out in (0.0, 1.0))
        target = (e / mixing.float() + rho * without) / (rho * (without - unit))
        squares = (target**2).mean(1)
        assert torch.isfinite(squares).all()
        assert squares.max() < 300  # of 2,000 draws of a square of a Gamma variable
        assert squares.mean() < 6
        assert squares.mean() > 0.1 or rho > 0.5  # where y says what A is, nothing is left to learn


class Outputs(torch.nn.Module):
    """A network of two heads that are functions of its input."""

    def forward(self, x, log_rho, cond):
        return torch.cat([x.sin(), x.cos()], dim=1)


@pytest.mark.parametrize("noise", LAWS, ids=str)
def test_eps_hat_is_the_first_of_both_and_does_not_depend_on_the_second(noise):
    y, rho = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.rand(5) + 0.1
    predictor = Predictor(Outputs(), "denoiser", noise, score_head=True)
    eps_hat, score = predictor.both(y, rho, {})
    assert eps_hat.shape == score.shape == y.shape
    assert torch.equal(predictor(y, rho, {}), eps_hat)
    first = Predictor(lambda x, log_rho, cond: x.sin(), "denoiser", noise)
    assert torch.equal(first(y, rho, {}), eps_hat)


@pytest.mark.parametrize(("noise", "a"), [(Gaussian(), 1.0), (Stable(2.0), 2.0)])
def test_of_gaussian_noise_the_score_follows_from_eps_hat(noise, a):
    oracle = nine_modes(noise)
    predictor = Predictor(lambda x, log_rho, cond: oracle(x, torch.exp(log_rho), cond), "noise", noise)
    predictor.forward = lambda y, rho, cond: oracle(y, rho, cond)
    y, rho = torch.randn(50, 2, generator=torch.Generator().manual_seed(0)), torch.full((50,), 0.4)
    eps_hat = oracle(y, rho, None)
    exact = Predictor(lambda x, log_rho, cond: eps_hat, "noise", noise).both(y, rho, None)[1]
    assert torch.allclose(exact, -eps_hat / (a * 0.4))
    assert torch.allclose(exact, oracle.score(y, rho, None), atol=1e-3)


@pytest.mark.parametrize("noise", [Stable(1.9), StudentT(5.0)])
def test_of_other_noise_a_model_without_the_head_has_no_score(noise):
    predictor = Predictor(lambda x, log_rho, cond: x, "noise", noise)
    with pytest.raises(LevyError, match=r"gives E\[e \| y\] alone.*train the design with score_head: true"):
        predictor.both(torch.ones(2, 2), torch.ones(2), {})


def trainer(design, data, steps=CONFIG.steps):
    torch.manual_seed(1)
    net = MLP(MLPConfig((2,), classes=1, width=64, heads=design.heads))
    cond = of_labels(torch.zeros(len(data), dtype=torch.long))
    config = replace(CONFIG, steps=steps)
    return Trainer(design, net, data, cond, {LABEL: torch.tensor(1)}, config, torch.device("cpu"))


@pytest.mark.parametrize("preset", PRESETS)
def test_the_first_head_is_trained_on_the_batch_and_the_loss_of_before(preset):
    data = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    designs = [Design.from_mapping({"preset": preset, "score_head": head}) for head in (False, True)]
    plain, both = (trainer(design, data).made.batch(0, data[:128].repeat(2, 1)) for design in designs)
    for name in ("x0", "rho", "e"):
        assert torch.equal(getattr(plain, name), getattr(both, name)), name
    assert plain.mixing is None
    assert both.mixing.shape == (both.e.shape[0], 1)
    eps_hat = torch.zeros_like(both.e).requires_grad_()
    score = torch.zeros_like(both.e).requires_grad_()
    own = NoiseResidual(designs[0])(lambda y, rho, cond: eps_hat, plain)
    loss = WithScore(NoiseResidual(designs[0]))(lambda y, rho, cond: (eps_hat, score), both)
    assert torch.allclose(loss, own + ((both.e / both.mixing) ** 2).mean(1), rtol=1e-5)
    expected, found = (torch.autograd.grad(total.sum(), eps_hat, retain_graph=True)[0] for total in (own, loss))
    assert torch.equal(expected, found)


def test_missing_values_and_several_draws_are_left_out_and_averaged():
    design = Design.from_mapping({"preset": "dlpm", "groups": 3, "score_head": True})
    shape = (6, 2)  # three draws of two samples
    valid = torch.tensor([[True, False], [True, True]]).repeat(3, 1)
    e, mixing = torch.arange(12.0).view(shape), torch.full((6, 1), 2.0)
    batch = Batch(torch.zeros(shape), torch.ones(6), e, of_labels(torch.zeros(6)), valid, mixing=mixing)
    exact = lambda y, rho, cond: (e, torch.zeros_like(e))
    found = WithScore(NoiseResidual(design))(exact, batch) - NoiseResidual(design)(lambda *asked: e, batch)
    halves = (e / 2) ** 2
    expected = [halves[::2, 0].mean(), halves[1::2].mean()]
    assert found.tolist() == pytest.approx([float(x) for x in expected], rel=1e-5)


def test_the_class_balancing_term_asks_for_other_classes_and_the_score_is_that_of_the_batch():
    design = Design.from_mapping({"preset": "tedm", "score_head": True})
    e, mixing, asked = torch.arange(8.0).view(4, 2), torch.full((4, 1), 2.0), []
    cond, other = of_labels(torch.tensor([0, 0, 1, 1])), of_labels(torch.tensor([1, 0, 1, 0]))
    batch = Batch(torch.zeros(4, 2), torch.ones(4), e, cond, None, other=other, mixing=mixing)
    inner = ClassBalancing(NoiseResidual(design), design, 0.5)

    def predict(y, rho, cond):
        asked.append(cond)
        return y * (1 + cond[LABEL][:, None]), -e / mixing + (cond is other)

    found = WithScore(inner)(predict, batch)
    assert asked == [cond, other]
    assert torch.equal(
        found, inner(lambda *given: predict(*given)[0], batch)
    )  # the score of the batch's own classes is right


@pytest.mark.parametrize(
    ("settings", "oracle"),
    [
        ({"preset": "tedm"}, Student(StudentT(4.0), 3.0, 0.5)),
        ({"preset": "lim", "alpha": 1.5, "param": "denoiser", "weight": "edm"}, nine_modes(Stable(1.5))),
    ],
)
def test_a_trained_head_is_the_score_and_eps_hat_is_not(settings, oracle):
    design = Design.from_mapping({**settings, "score_head": True})
    run = trainer(design, oracle.data(5000, (2,), 0))
    for _ in run.run():
        pass
    run.predictor.net.load_state_dict(run.averaged_weights())
    n = 2000
    for rho in (1.0, 3.0, 10.0):
        level = torch.full((n,), rho)
        y = oracle.data(n, (2,), 1) + rho * design.noise.sample((2,), BatchStream(n, "trained"))
        with torch.no_grad():
            eps_hat, score = run.predictor.both(y, level, of_labels(torch.zeros(n, dtype=torch.long)))
        exact = oracle.score(y.double(), level.double(), None)
        size = float((exact**2).mean())
        assert float(((score - exact) ** 2).mean()) < 0.08 * size
        assert float(((-eps_hat / broadcast(level, y) - exact) ** 2).mean()) > 0.4 * size


@pytest.mark.parametrize(
    ("config", "net_class"),
    [(MLPConfig((2,), 1, 16, heads=2), MLP), (UNetConfig((1, 8, 8), 1, (8, 16), heads=2), UNet)],
)
def test_a_model_with_two_heads_survives_the_disk_and_one_of_before_has_one(tmp_path, config, net_class):
    design = Design.from_mapping({"preset": "tedm", "score_head": True})
    samples = Samples("images", ("a",), "uint8", "levy_core.datasets.images.export:ImageExporter")
    save_model(tmp_path, net_class(config).state_dict(), design, config, samples, {})
    model = load_model(tmp_path)
    y, label = torch.ones(3, *config.shape), of_labels(torch.zeros(3, dtype=torch.long))
    assert [part.shape for part in model.predictor.both(y, torch.ones(3), label)] == [y.shape, y.shape]
    assert (model.design, model.net) == (design, config)

    plain = replace(config, heads=1)
    save_model(tmp_path, net_class(plain).state_dict(), replace(design, score_head=False), plain, samples, {})
    described = json.loads((tmp_path / "design.json").read_text())
    del described["design"]["score_head"], described["net"]["heads"]
    (tmp_path / "design.json").write_text(json.dumps(described))
    old = load_model(tmp_path)
    assert not old.design.score_head
    assert old.predictor(y, torch.ones(3), label).shape == y.shape
    with pytest.raises(LevyError, match="score_head: true"):
        old.predictor.both(y, torch.ones(3), label)


def test_a_network_of_one_head_under_a_design_of_two_is_named():
    predictor = Predictor(lambda x, log_rho, cond: x, "noise", StudentT(4.0), score_head=True)
    with pytest.raises(LevyError, match=r"returned \[3, 1\] for an input of \[3, 2\]"):
        predictor(torch.ones(3, 2), torch.ones(3), {})


def test_score_head_is_true_or_false():
    with pytest.raises(LevyError, match="score_head is 'yes': input should be a valid boolean"):
        Design.from_mapping({"preset": "tedm", "score_head": "yes"})
