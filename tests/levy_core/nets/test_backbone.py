"""The network is diffusers' UNet2DModel without the imports: the same weights from the same seed, the same numbers out."""

import pytest
import torch

from levy_core.base import torchvision_ops  # noqa: F401  (before diffusers)
from levy_core.nets.backbone import Backbone
from tests.support.checkpointing import answers_of

from diffusers import UNet2DModel  # isort: skip


def theirs(channels, attends, layers, dropout, sides, head_channels=8, scale_shift=False, residual=False):
    plain = "Resnet{}sampleBlock2D" if residual else "{}Block2D"
    return UNet2DModel(
        sample_size=sides, in_channels=2, out_channels=1, block_out_channels=channels, layers_per_block=layers,
        down_block_types=tuple("AttnDownBlock2D" if a else plain.format("Down") for a in attends),
        up_block_types=tuple("AttnUpBlock2D" if a else plain.format("Up") for a in reversed(attends)),
        add_attention=any(attends), norm_num_groups=8, attn_norm_num_groups=8, dropout=dropout, num_class_embeds=4,
        downsample_type="resnet" if residual else "conv", upsample_type="resnet" if residual else "conv",
        attention_head_dim=head_channels, resnet_time_scale_shift="scale_shift" if scale_shift else "default",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("channels", "attends", "layers", "dropout", "head_channels"),
    [
        ((16, 32), (False, False), 1, 0.0, 64),  # the shipped settings
        ((8,), (True,), 2, 0.0, 8),
        ((8, 24), (True, False), 2, 0.5, 8),
        ((8, 16, 16), (False, False, True), 1, 0.0, 8),
        ((16, 64), (True, True), 1, 0.0, 16),  # one head of 16 channels, four
        ((16, 128), (False, True), 1, 0.0, 64),
    ],
)
@pytest.mark.parametrize("scale_shift", [False, True])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_names_outputs_and_gradients_are_those_of_diffusers(
    channels, attends, layers, dropout, head_channels, dtype, scale_shift, residual
):
    sides = (8, 12)
    torch.manual_seed(0)
    reference = theirs(channels, attends, layers, dropout, sides, head_channels, scale_shift, residual)
    torch.manual_seed(0)
    own = Backbone(
        2, 1, channels, layers, list(attends), 8, dropout, 4, head_channels, scale_shift, residual_resampling=residual
    )
    mine, its = list(own.named_parameters()), list(reference.named_parameters())
    assert [name for name, _ in mine] == [name for name, _ in its]
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(mine, its, strict=True))

    x, label = torch.randn(5, 2, *sides), torch.arange(5) % 4
    time = 250 * torch.linspace(-5, 5, 5)
    answers = []
    for net in (own, reference):
        torch.manual_seed(1)  # of the dropout
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            answer = net(x, time, label) if net is own else net(x, time, class_labels=label).sample
        answer.float().square().sum().backward()
        answers.append(answer)
    assert torch.equal(*answers)
    assert answers[0].abs().max() > 1e-3
    apart = [
        ((a.grad - b.grad).abs().max() / b.grad.abs().max()).item() for (_, a), (_, b) in zip(mine, its, strict=True)
    ]
    # equal without attention; with it the same terms are summed in another order
    assert max(apart) <= (0.0 if not any(attends) else 1e-5 if dtype == torch.float32 else 0.05)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_checkpointing_keeps_less_and_gives_the_same_gradients(dtype, residual):
    torch.manual_seed(0)
    net = Backbone(2, 1, (16, 32), 2, [False, True], 8, 0.5, 4, 16, residual_resampling=residual)
    x, time, label = torch.randn(5, 2, 8, 12), torch.linspace(-900, 900, 5), torch.arange(5) % 4

    def answer():
        torch.manual_seed(1)  # of the dropout
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            return net(x, time, label)

    found = answers_of(net, answer)
    (plain, gradients, all_kept), (again, same, some_kept) = found
    assert torch.equal(plain, again)
    assert all(torch.equal(a, b) for a, b in zip(gradients, same, strict=True))
    assert some_kept < all_kept / 3
