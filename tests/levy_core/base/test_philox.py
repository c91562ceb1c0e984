"""Noise of a device is drawn by Philox, has its laws, and belongs to rows. The same code runs here on the CPU."""

import numpy as np
import pytest
import torch
from scipy import stats

from levy_core.base import philox
from levy_core.base.philox import PhiloxStreams, split_words, streams_of
from levy_core.base.seeds import Streams
from levy_core.process.noise import Gaussian, Stable, StudentT, symmetric_stable

CPU = torch.device("cpu")
N = 20_000
LAWS = [
    Gaussian(), Stable(1.5), Stable(1.5, isotropic=False), Stable(1.2, cap=3.0), Stable(1.5, isotropic=False, cap=3.0), StudentT(3.0),
]  # fmt: skip


def streams(rows, seed=7, device=CPU):
    return PhiloxStreams([seed] * len(rows), list(rows), device)


def one(word):
    return torch.tensor([word])


# The known answers of Random123 1.14.0 (kat_vectors, philox4x32-10): counter, key, words.
@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([2**32 - 1] * 4, [2**32 - 1] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_words_are_those_of_random123(counter, key, words):
    assert [int(w) for w in philox.philox(tuple(map(one, counter)), tuple(map(one, key)))] == words


@pytest.mark.parametrize("noise", LAWS, ids=str)
def test_a_row_is_the_same_in_every_batch_and_other_rows_and_draws_are_others(noise):
    shape = (3, 5)
    whole = streams(range(40))
    first, second = (noise.sample(shape, whole) for _ in range(2))
    for rows in ([0], [39, 3], range(10, 25)):
        part = streams(rows)
        assert torch.equal(noise.sample(shape, part), first[list(rows)])
        assert torch.equal(noise.sample(shape, part), second[list(rows)])
    others = noise.sample(shape, streams(range(40), seed=8))
    values = torch.cat([first, second, others]).flatten(1)[:, 0]
    assert len(values.unique()) == 120
    e, mixing = noise.sample_with_mixing(shape, streams(range(40)))
    assert e.shape == (40, *shape)
    assert torch.isfinite(e).all()
    assert (mixing > 0).all()


# 12 fixed-seed comparisons at p > 1e-5: were the seeds free, one run in 8,000 would raise a false alarm.
@pytest.mark.parametrize(
    "noise",
    [Gaussian(), StudentT(3.0), *[Stable(alpha, shared) for alpha in (1.2, 1.5, 1.8) for shared in (True, False)]],
    ids=str,
)
def test_each_coordinate_follows_its_law(noise):
    law = stats.norm() if isinstance(noise, Gaussian) else stats.t(3.0) if isinstance(noise, StudentT) else None
    law = law or stats.levy_stable(noise.alpha, 0)
    x = noise.sample((1,), streams(range(N))).numpy().ravel()
    grid = np.concatenate([-np.geomspace(200, 0.05, 40), [0], np.geomspace(0.05, 200, 40)])
    empirical = np.searchsorted(np.sort(x), grid, side="right") / N
    assert np.abs(empirical - law.cdf(grid)).max() < stats.kstwobign.isf(1e-5) / np.sqrt(N)


def test_all_places_of_a_row_hold_independent_normals():
    z = streams(range(N)).normal((7,)).double()  # an odd number: the last counter is cut
    assert all(stats.kstest(z[:, i], "norm").pvalue > 1e-5 for i in (0, 3, 6))
    bound = 5 / np.sqrt(N)  # 5 sigma of 7 + 49 + 6 numbers: one run in 28,000
    assert ((z.T @ z / N - torch.eye(7)).abs() < bound + torch.eye(7) * bound).all()
    assert ((z[1:] * z[:-1]).mean(0).abs() < bound).all()  # neighbours among rows
    squares = (z**2 - 1) / 2**0.5
    assert ((squares[:, 1:] * squares[:, :-1]).mean(0).abs() < bound).all()


def test_capped_mixing_variables_are_drawn_again_until_they_are_below():
    e, mixing = Stable(1.5, isotropic=False, cap=3.0).sample_with_mixing((4,), streams(range(2000)))
    free = Stable(1.5, isotropic=False).mixing((4,), streams(range(20_000)))
    assert mixing.max() <= 3
    kept = free[free <= 3]
    assert stats.ks_2samp(mixing.ravel(), kept.ravel()).pvalue > 1e-5
    assert torch.isfinite(e).all()


def test_outermost_cells_are_filled_with_the_spare_bits_of_another():
    top, low = 2**32 - 1, 2**24 - 1
    # Words of two values: (cell 0, small 5) and (cell 0x12345678FF, small 0) are neighbours.
    u, rest, v = split_words((one(0), one(5), one(0x12345678), one(0xFF << 24)))
    spare = (0x78FF + 0.5) / 2**16
    assert u[0].item() == pytest.approx(spare * 2.0**-40, rel=1e-6)
    assert rest[0].item() == 1 - 2.0**-24
    assert v[1].item() == pytest.approx(spare * 2.0**-24, rel=1e-6)
    assert v[0].item() == pytest.approx(5.5 * 2.0**-24)
    u, rest, v = split_words((one(top), one((0xFF << 24) | low), one(0), one(0)))  # the last cells and the first
    assert rest[0].item() == pytest.approx(0.5 / 2**16 * 2.0**-40)
    assert u[0].item() == v[0].item() == 1 - 2.0**-24
    assert u[1].item() == pytest.approx((0xFFFF + 0.5) / 2**16 * 2.0**-40)


@pytest.mark.parametrize("alpha", [1.05, 1.5, 1.99])
def test_the_ends_of_all_words_give_finite_noise(alpha):
    ends = torch.tensor([0, 1, 2**23, 2**24 - 1, 2**31, 2**32 - 2, 2**32 - 1])
    words = tuple(w.flatten() for w in torch.meshgrid(ends, ends, ends, ends, indexing="ij"))
    for u, rest, v in zip(*split_words(words), strict=True):
        assert (torch.stack([u, rest, v]) > 0).all()
        assert (torch.stack([u, rest, v]) < 1).all()
        assert torch.isfinite(symmetric_stable(alpha, u, rest, v).bfloat16()).all()


# without the law of which values are drawn again: that, only values say
@pytest.mark.parametrize("noise", [law for law in LAWS if law != Stable(1.5, isotropic=False, cap=3.0)], ids=str)
def test_nothing_of_a_draw_stays_behind_on_the_cpu(noise):
    """torch refuses operations between the CPU and the device ``meta``, which has shapes and no values, as it does on a GPU."""
    e, mixing = noise.sample_with_mixing((3, 4), streams(range(5), device=torch.device("meta")))
    assert (e.device.type, e.shape) == ("meta", (5, 3, 4))
    assert mixing.device.type == ("cpu" if mixing.shape[1:].numel() == 1 else "meta")
    assert noise.sample((3, 4), streams(range(5), device=torch.device("meta"))).device.type == "meta"


def test_noise_is_drawn_on_gpus_alone(monkeypatch):
    keys = [(0, "sample", i) for i in range(3)]
    assert isinstance(streams_of(keys, "cpu"), Streams)
    monkeypatch.setattr(philox, "OWN_NOISE", {"meta"})
    assert streams_of(keys, "meta").normal((2,)).device.type == "meta"
    assert philox.draws_own(torch.device("meta"))
    assert not philox.draws_own(CPU)


@pytest.mark.parametrize("noise", [Gaussian(), Stable(1.5, isotropic=False)], ids=str)
def test_a_fused_draw_is_given_its_places(noise, monkeypatch):
    """Triton's indices have 32 bits, and it refuses their products with Philox's multipliers, so that nothing is compiled on a GPU."""
    made = []

    def see(graph, inputs):
        made.extend(node.target for node in graph.graph.nodes)
        return graph.forward

    monkeypatch.setattr(philox, "fuse", lambda draw: torch.compile(draw, backend=see))
    found = noise.sample((3, 5), PhiloxStreams([7] * 4, range(4), CPU, fused=True))
    assert torch.equal(found, noise.sample((3, 5), streams(range(4))))
    assert torch.cat in made
    assert torch.arange not in made
