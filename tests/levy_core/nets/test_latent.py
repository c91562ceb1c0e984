"""The latent: exact on what its EOFs span, white on the training data, the data's covariance in all; and models that have one."""

import json

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from levy_core.base.eofs import fit_eofs
from levy_core.base.errors import LevyError
from levy_core.base.samples import RECORDED, Samples
from levy_core.base.seeds import Streams
from levy_core.base.tensors import write_tensors
from levy_core.nets.latent import LATENT, Latent, fit_latent
from levy_core.nets.mlp import MLP, MLPConfig
from levy_core.process.design import Design
from levy_core.sampling.solver import Solver
from levy_core.serving.draw import draw_samples, hash_model
from levy_core.training import encoding
from levy_core.training.checkpoint import Model, load_model, save_model
from levy_core.training.encoding import count_fitted, encode_data, fit_to_data, measure_held_back

SHAPE = (2, 4, 6)
D = 48
AREAS = np.cos(np.deg2rad([75, 25, -25, -75]))
FIELDS = Samples("fields", (), **RECORDED["fields"])
DESIGN = Design.from_mapping({"preset": "edm", "sigma_data": 1.0, "eofs": 5})


def data(n, seed=0):
    """Gaussian fields with a falling spectrum, float32 [n, *SHAPE]."""
    g = torch.Generator().manual_seed(seed)
    mixing = torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(1)))[0] * 0.8 ** torch.arange(D)
    return (1 + torch.randn(n, D, generator=g) @ mixing.T).view(n, *SHAPE)


def flat(x):
    return x.flatten(1).double()


def gaussian_model(latent, design=DESIGN):
    """Its network adds nothing to EDM's skip connection, which is the exact denoiser of N(0, I)."""
    net = MLP(MLPConfig((latent.size,)))
    torch.nn.init.zeros_(net.leave.weight)
    torch.nn.init.zeros_(net.leave.bias)
    return Model(design.predictor(net).eval(), design, net.config, FIELDS, latent)


@pytest.mark.parametrize("areas", [None, AREAS])
@pytest.mark.parametrize("n", [20, 400])  # fewer and more fields than values
def test_it_is_exact_on_the_span_of_its_eofs_and_white_on_the_training_data(n, areas):
    x = data(n)
    latent = fit_latent(x, 0.9, areas)
    z = latent.encode(x)
    torch.testing.assert_close(z.double().mean(0), torch.zeros(latent.size).double(), rtol=0, atol=1e-5)
    torch.testing.assert_close(z.double().T.cov(), torch.eye(latent.size).double(), rtol=0, atol=1e-5)
    torch.testing.assert_close(latent.encode(latent.decode(3 * z)), 3 * z, rtol=1e-4, atol=1e-4)
    on_span = latent.decode(z)
    torch.testing.assert_close(latent.decode(latent.encode(on_span)), on_span, rtol=1e-4, atol=1e-5)


def test_it_is_scikit_learns_pca_of_fields_weighted_by_area():
    x = data(300)
    root = np.repeat(np.sqrt(AREAS / AREAS.mean()), 6)
    pca = PCA(0.9, whiten=True, svd_solver="full").fit(flat(x).numpy() * np.tile(root, 2))
    latent = fit_latent(x, 0.9, AREAS)
    assert latent.size == pca.n_components_
    new = data(50, seed=2)
    theirs = pca.transform(flat(new).numpy() * np.tile(root, 2))
    np.testing.assert_allclose(np.abs(latent.encode(new)), np.abs(theirs), atol=1e-3)


@pytest.mark.parametrize("areas", [None, AREAS])
@pytest.mark.parametrize("eofs", [1, 7, 0.5, 0.95])
def test_coefficients_and_rest_have_the_covariance_of_the_data_together(eofs, areas):
    x = data(400)
    latent = fit_latent(x, eofs, areas)
    parts = [flat(part).T for part in (latent.patterns, latent.rest)]
    whole = sum(part @ part.T for part in parts) + (latent.white.double().flatten() ** 2).diag()
    torch.testing.assert_close(whole, flat(x).T.cov(), rtol=1e-4, atol=1e-5)


def test_the_rest_beyond_its_patterns_is_white_and_keeps_the_variance_of_each_cell(monkeypatch):
    monkeypatch.setattr("levy_core.nets.latent.REST", 3)
    x = data(400)
    latent = fit_latent(x, 2)
    assert len(latent.rest) == 3
    variance = (flat(latent.patterns) ** 2).sum(0) + (flat(latent.rest) ** 2).sum(0) + latent.white.flatten() ** 2
    torch.testing.assert_close(variance, flat(x).var(0), rtol=1e-4, atol=1e-6)


def test_cells_without_area_and_without_values_are_drawn_as_they_are():
    x = data(200)
    x[:, 1, 2, 3] = torch.nan
    latent = fit_latent(x, 0.9, np.array([1.0, 1.0, 1.0, 0.0]))
    drawn = latent.decode(torch.randn(100, latent.size)) + latent.draw_rest(Streams.of_samples(0, "rest", range(100)))
    assert float(drawn[:, 1, 2, 3].abs().max()) < 1e-12
    ratio = drawn.std(0)[:, 3] / x.std(0)[:, 3]
    assert 0.7 < float(ratio.min()) < float(ratio.max()) < 1.4


def test_samples_of_a_gaussian_model_have_the_covariance_of_the_data():
    """4,000 samples: a correlation is off by 0.016 and a variance by 0.022 at most times, and 0.1 is beyond 4.5 of these: a false alarm in 3,000."""
    x = data(400)
    model = gaussian_model(fit_latent(x, 5, AREAS))
    solver = Solver("ode", "2m-data", "karras", 60, rho_max=80, rho_min=0.002, denoise=True)
    drawn = draw_samples(model, solver, 0, np.zeros(4000, int), 1000, torch.device("cpu"))
    assert drawn.shape == (4000, *SHAPE)
    assert drawn.dtype == np.float32
    drawn = torch.from_numpy(drawn)
    z = model.latent.encode(drawn).double()
    torch.testing.assert_close(z.T.cov(), torch.eye(5).double(), rtol=0, atol=0.1)
    deviation = flat(x).std(0)
    off = (flat(drawn).T.cov() - flat(x).T.cov()) / (deviation[:, None] * deviation)
    assert float(off.abs().max()) < 0.1
    again = draw_samples(model, solver, 0, np.zeros(7, int), 2, torch.device("cpu"), first=30)
    np.testing.assert_allclose(again, drawn[30:37], rtol=1e-4, atol=1e-4)  # whatever the batch


def test_a_store_is_encoded_as_a_tensor_is():
    class Store:
        shape = SHAPE

        def __len__(self):
            return 700

        def __getitem__(self, rows):
            return data(700).numpy()[rows]

    latents = [fit_to_data(samples, 0.9, AREAS) for samples in (Store(), data(700))]
    assert torch.equal(latents[0].patterns, latents[1].patterns)
    codes = [encode_data(latents[0], samples) for samples in (Store(), data(700))]
    assert torch.equal(*codes)
    torch.testing.assert_close(codes[0], latents[0].encode(data(700)))


@pytest.mark.parametrize("n", [20, 400])
def test_it_is_the_same_fitted_and_encoded_in_blocks_of_cells(n, monkeypatch):
    x = data(n)
    whole, z = (latent := fit_latent(x, 0.9, AREAS)), latent.encode(x)
    monkeypatch.setattr("levy_core.nets.latent.BLOCK", 7 * n)
    parts = fit_latent(x, 0.9, AREAS)
    torch.testing.assert_close(parts.decode(z), whole.decode(z), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(parts.white, whole.white, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(
        parts.rest.flatten(1).T @ parts.rest.flatten(1), whole.rest.flatten(1).T @ whole.rest.flatten(1)
    )
    torch.testing.assert_close(whole.encode(x), z, rtol=1e-5, atol=1e-5)


def test_large_samples_are_read_a_few_at_a_time(monkeypatch):
    monkeypatch.setattr(encoding, "VALUES", 8 * 10 * D)
    asked = []
    latent, x = fit_latent(data(50), 5), data(95)

    class Store:
        shape = SHAPE

        def __len__(self):
            return len(x)

        def __getitem__(self, rows):
            asked.append(len(rows))
            return x.numpy()[rows]

    torch.testing.assert_close(encode_data(latent, Store()), latent.encode(x))
    assert max(asked) == 10


def test_few_of_many_samples_are_refused_and_the_number_of_fields_is_bounded():
    assert [count_fitted(n, 1024) for n in (30, 2191)] == [30, 2000]
    assert count_fitted(150, 721 * 1440) == 150
    assert count_fitted(10_000, 1_000_000) == 200
    message = r"a sample has 1,038,240 values, so that EOFs would be fitted to 192 of 10,000 samples \(200,000,000 values at most\), .* a smaller box"
    with pytest.raises(LevyError, match=message):
        count_fitted(10_000, 721 * 1440)
    with pytest.raises(LevyError, match="fitted to 0 of 10 samples"):
        fit_to_data(torch.zeros(1).expand(10, 200_000_001), 5, None)


def test_what_is_held_of_new_fields_is_what_a_fit_without_them_holds():
    x = data(40)
    held = measure_held_back(x, 10, AREAS)
    few = fit_latent(x[:36], 10, AREAS)
    away = lambda fields: float((flat(fields - few.mean) ** 2 * few.weights.flatten()).sum())
    left = float((flat(x[36:] - few.decode(few.encode(x[36:]))) ** 2 * few.weights.flatten()).sum())
    assert held == pytest.approx(1 - left / away(x[36:]), abs=1e-5)
    new = fit_latent(x, 10, AREAS)
    assert held < 1 - float(((flat(x - new.decode(new.encode(x)))) ** 2 * new.weights.flatten()).sum()) / away(x)
    assert measure_held_back(data(19), 5, AREAS) is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (0.0, "eofs is 0.0, but must be a share of the variance between 0 and 1, such as 0.95, or a whole number of EOFs"),
        (1.0, "eofs is 1.0, but"),
        (1.5, "eofs is 1.5, but"),
        (0, "eofs is 0, but"),
        ("ten", "eofs is 'ten': "),
        (True, "eofs is True: "),
    ],
)  # fmt: skip
def test_eofs_are_a_share_or_a_number(given, message):
    with pytest.raises(LevyError, match=message):
        Design.from_mapping({"preset": "edm", "eofs": given})


def test_more_eofs_than_there_are_is_refused():
    with pytest.raises(LevyError, match="20 EOFs are asked for, but 20 fields of 48 values have 19"):
        fit_latent(data(20), 20)
    assert fit_latent(data(20), 19).size == 19
    with pytest.raises(LevyError, match="the number of EOFs is 0"):
        fit_eofs(flat(data(20)), 0)


def test_designs_with_different_latents_are_no_twins():
    edm, tedm = ({"preset": name, "eofs": 0.9} for name in ("edm", "tedm"))
    assert Design.from_mapping(edm).is_twin(Design.from_mapping(tedm))
    assert not Design.from_mapping(edm).is_twin(Design.from_mapping({**tedm, "eofs": None}))


def save(folder, latent, design=DESIGN):
    model = gaussian_model(latent, design)
    weights = dict(model.predictor.net.state_dict())
    save_model(folder, weights, design, model.net, FIELDS, {}, latent if design.eofs else None)
    return model


def test_a_model_with_a_latent_survives_disk(tmp_path):
    saved = save(tmp_path, fit_latent(data(100), 5))
    read, before = load_model(tmp_path), hash_model(tmp_path)
    assert (read.shape, read.design) == (SHAPE, DESIGN)
    assert all(torch.equal(a, b) for a, b in zip(vars(read.latent).values(), vars(saved.latent).values(), strict=True))
    fit_latent(data(101), 5).save(tmp_path / LATENT)
    assert hash_model(tmp_path) != before
    fit_latent(data(100), 4).save(tmp_path / LATENT)
    with pytest.raises(LevyError, match=r"has 4 coefficients, but the network in .* makes samples of \[5\]"):
        load_model(tmp_path)
    (tmp_path / LATENT).unlink()
    with pytest.raises(LevyError, match=r"latent\.safetensors cannot be read as safetensors"):
        load_model(tmp_path)


def test_a_damaged_latent_is_refused(tmp_path):
    parts = dict(vars(fit_latent(data(100), 5)))
    write_tensors(tmp_path / LATENT, parts | {"mean": torch.zeros(1, 4, 6)})
    with pytest.raises(LevyError, match=r"holds parts of different fields, mean \[1, 4, 6\]"):
        Latent.load(tmp_path / LATENT)
    write_tensors(tmp_path / LATENT, {"mean": parts["mean"]})
    with pytest.raises(LevyError, match="holds mean, but a latent is mean, patterns, rest, white, weights"):
        Latent.load(tmp_path / LATENT)


def test_a_model_of_before_there_were_latents_loads_and_draws_what_its_network_makes(tmp_path):
    design = Design.from_mapping({"preset": "edm"})
    saved = save(tmp_path, fit_latent(data(100), 5), design)
    path = tmp_path / "design.json"
    described = json.loads(path.read_text())
    assert described["design"].pop("eofs") is None
    path.write_text(json.dumps(described))
    read = load_model(tmp_path)
    assert (read.latent, read.shape, read.design) == (None, (5,), design)
    solver, labels = Solver("ode", "2m-data", "karras", 4), np.zeros(3, int)
    drawn = [
        draw_samples(model, solver, 0, labels, 3, torch.device("cpu"))
        for model in (read, Model(saved.predictor, design, saved.net, FIELDS))
    ]
    assert np.array_equal(*drawn)
