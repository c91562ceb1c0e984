"""The transformer is diffusers' DiT without the imports, with the conditions of the U-Net."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from levy_core.base import torchvision_ops  # noqa: F401  (before diffusers)
from levy_core.base.conditions import AUGMENT, LABEL, of_labels
from levy_core.base.errors import LevyError
from levy_core.nets.dit import DiT, DiTConfig, position_waves
from levy_core.process.design import Design
from levy_core.training.trainer import Trainer
from tests.support.checkpointing import answers_of
from tests.support.toy import TOY

from diffusers import DiTTransformer2DModel  # isort: skip

CONFIG = DiTConfig((2, 8, 8), classes=3, hidden=32, layers=2, patch=2, head_channels=16)
RHO = torch.linspace(-3, 3, 5)
LABELS = torch.arange(5) % 4


def network(config=CONFIG, **degrees):
    """With weights that are not as before training, where it returns 0."""
    net, g = DiT(config, **degrees).eval(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(0.2 * torch.randn(p.shape, generator=g))
    return net


def images(config=CONFIG, n=5):
    return torch.randn(n, *config.shape, generator=torch.Generator().manual_seed(1))


def given(labels=LABELS, **more):
    return of_labels(labels) | more


def diffusers_of(net):
    """diffusers' model with the same weights, of which every block has its own copy of the embedding."""
    config = net.config
    theirs = DiTTransformer2DModel(
        num_attention_heads=config.hidden // config.head_channels, attention_head_dim=config.head_channels, num_layers=config.layers,
        in_channels=config.shape[0], out_channels=config.shape[0] * config.heads, sample_size=config.shape[1], patch_size=config.patch,
        num_embeds_ada_norm=config.classes, norm_eps=1e-6,
    ).eval()  # fmt: skip
    own = net.state_dict()
    names = {"pos_embed.proj": "conv_in", "proj_out_1": "modulation_out", "proj_out_2": "proj_out"}
    for i in range(config.layers):
        block, mine = f"transformer_blocks.{i}", f"blocks.{i}"
        names |= {f"{block}.attn1.{name}": f"{mine}.{name}" for name in ("to_q", "to_k", "to_v")}
        names |= {f"{block}.attn1.to_out.0": f"{mine}.to_out", f"{block}.norm1.linear": f"{mine}.modulation"}
        names |= {f"{block}.ff.net.0.proj": f"{mine}.enter", f"{block}.ff.net.2": f"{mine}.leave"}
        for layer in ("linear_1", "linear_2"):
            names[f"{block}.norm1.emb.timestep_embedder.{layer}"] = f"embedding.{layer}"
        names[f"{block}.norm1.emb.class_embedder.embedding_table"] = "embedding.label"
    taken = {
        f"{a}.{part}": own[f"{b}.{part}"]
        for a, b in names.items()
        for part in ("weight", "bias")
        if f"{b}.{part}" in own
    }
    theirs.load_state_dict(taken)
    assert {names[name.rpartition(".")[0]] for name in taken} == {name.rpartition(".")[0] for name in own}
    return theirs


@pytest.mark.parametrize("changes", [{}, {"patch": 4}, {"patch": 1, "layers": 1}, {"heads": 2}, {"hidden": 48}])
def test_outputs_are_those_of_diffusers(changes):
    net = network(config := replace(CONFIG, **changes))
    with torch.no_grad():
        own = net(images(config), RHO, given())
        theirs = diffusers_of(net)(images(config), 250 * RHO, class_labels=LABELS).sample
    assert own.shape == (5, 2 * config.heads, 8, 8)
    # the same terms in the same order but for the layout of heads: float32 sums of up to 192 terms, through three layers
    assert (own - theirs).abs().max() < 1e-4 * theirs.abs().max()


def test_it_begins_as_zero_and_its_blocks_as_the_identity():
    net = DiT(CONFIG)
    assert not net(images(), RHO, given()).any()
    x, emb = torch.randn(5, 16, 32), torch.randn(5, 32)
    assert all(torch.equal(block(x, emb), x) for block in net.blocks)


@pytest.mark.parametrize("shape", [(1, 4, 8), (2, 6, 4), (3, 2, 2)])
def test_sides_may_differ_and_every_cell_depends_on_every_other(shape):
    net = network(replace(CONFIG, shape=shape))
    x = images(net.config).requires_grad_()
    out = net(x, RHO, given())
    assert out.shape == (5, *shape)
    (gradient,) = torch.autograd.grad(out[0, 0, 0, 0], x)
    assert (gradient[0] != 0).all()
    assert not gradient[1:].any()


def test_it_uses_noise_level_class_and_augmentation():
    net = network(replace(CONFIG, augment=2))
    x = images()
    with torch.no_grad():
        plain = net(x, RHO, given())
        assert torch.equal(net(x, RHO, given(**{AUGMENT: torch.zeros(5, 2)})), plain)
        for other in (
            net(x, RHO + 0.1, given()),
            net(x, RHO, given((LABELS + 1) % 4)),
            net(x, RHO, given(**{AUGMENT: torch.ones(5, 2)})),
        ):
            assert ((other - plain).abs().amax((1, 2, 3)) > 1e-3).all()


def test_positions_go_round_the_globe_where_fields_do():
    waves = position_waves(3, 8, 32, wraps=True).view(3, 8, 32)[..., :16]  # of the column
    apart = torch.cdist(waves[0], waves[0])
    for shift in range(8):
        assert torch.allclose(apart, apart.roll((shift, shift), (0, 1)), atol=1e-5)
    assert apart.fill_diagonal_(9).min() > 0.5
    open_ended = position_waves(3, 8, 32, wraps=False).view(3, 8, 32)
    ends = lambda waves: float((waves[0, 0] - waves[0, -1]).norm() / (waves[0, 0] - waves[0, 1]).norm())
    assert ends(waves) == pytest.approx(1, abs=1e-5)
    assert ends(open_ended[..., :16]) > 1.5
    assert torch.equal(open_ended[..., 16:], position_waves(3, 8, 32, wraps=True).view(3, 8, 32)[..., 16:])


def test_it_is_told_where_on_the_globe_cells_lie():
    config = replace(CONFIG, shape=(1, 4, 8), coordinates=True)
    degrees = {"latitude": np.linspace(60, 0, 4), "longitude": np.arange(8) * 45.0}
    one, other = network(config, **degrees), network(config, **degrees | {"latitude": np.linspace(50, -10, 4)})
    assert not torch.equal(one(images(config), RHO, given()), other(images(config), RHO, given()))
    again = DiT(config)
    again.load_state_dict(one.state_dict())
    assert torch.equal(one(images(config), RHO, given()), again.eval()(images(config), RHO, given()))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"shape": (1, 8, 9)},
            r"patches of 2 x 2, which do not fill 8 x 9: set net\.patch .* or choose a U-Net in net\.name",
        ),
        ({"shape": (1, 8, 8), "patch": 3}, "patches of 3 x 3, which do not fill 8 x 8"),
        ({"hidden": 30}, r"net\.hidden is 30, but it must be a multiple of 4"),
        ({"hidden": 52}, r"net\.hidden is 52, .* its 3 heads of about net\.head_channels 16"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(LevyError, match=message):
        DiT(replace(CONFIG, **changes))


def test_checkpointing_keeps_less_and_gives_the_same_gradients():
    net = network(replace(CONFIG, layers=6))
    found = answers_of(net, lambda: net(images(), RHO, given()))
    (plain, gradients, all_kept), (again, same, some_kept) = found
    assert torch.equal(plain, again)
    assert all(torch.equal(a, b) for a, b in zip(gradients, same, strict=True))
    assert some_kept < all_kept / 3


def test_a_training_lowers_its_loss_and_goes_on_to_the_same_bits():
    """Two classes of images, bright above and bright below; seeds are fixed."""
    labels = torch.arange(64) % 2
    data = torch.where(torch.arange(8)[:, None] < 4, 0.5, -0.5).expand(64, 1, 8, 8) * (
        1 - 2.0 * labels[:, None, None, None]
    )
    config = replace(TOY, steps=60, batch=32, warmup=5, ema=0.9, clip=1.0, label_dropout=0.3)

    def begin():
        torch.manual_seed(0)
        net = DiT(replace(CONFIG, shape=(1, 8, 8), classes=2))
        absent = {LABEL: torch.tensor(2)}
        design = Design.from_mapping({"preset": "edm"})
        return Trainer(design, net, data, of_labels(labels), absent, config, torch.device("cpu"))

    whole = begin()
    losses = [p.loss for p in whole.run()]
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])
    first = begin()
    steps = first.run()
    for _ in range(20):
        next(steps)
    second = begin()
    second.restore(first.state())
    list(second.run())
    assert all(torch.equal(value, second.state()[name]) for name, value in whole.state().items())
