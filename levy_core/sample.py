"""The one sampling loop."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from levy_core.errors import LevyError
from levy_core.noise import Noise
from levy_core.seeds import Streams
from levy_core.steps import StepTable

EpsHat = Callable[[Tensor, Tensor, Tensor], Tensor]


@torch.inference_mode()
def sample(
    predictor: EpsHat,
    table: StepTable,
    noise: Noise,
    seed: int,
    indices: Sequence[int],
    shape: Sequence[int],
    labels: Tensor,
    device: str | torch.device = "cpu",
) -> Tensor:
    """One batch of samples, float32 [B, *shape] on the CPU, unclamped.

    Sample i is a function of (seed, indices[i], labels[i], table, noise, predictor) alone, whatever the batch holds.

    Args:
        predictor: eps_hat(y [B, *shape], rho [B], label [B]).
        labels: int64 [B], as the predictor understands them.

    Raises:
        LevyError: the network returned a value that is not finite; names the step, rho and the samples.
    """
    if len(labels) != len(indices):
        raise LevyError(f"{len(indices)} sample indices came with {len(labels)} labels: give one label a sample")
    streams = Streams.of_samples(seed, "sample", indices)
    labels = labels.to(device)
    y = float(table.rho[0]) * noise.sample(shape, streams).to(device)
    for step in range(table.nfe):
        rho = torch.full((len(indices),), float(table.rho[step]), device=device)
        eps_hat = predictor(y, rho, labels)
        finite = torch.isfinite(eps_hat).flatten(1).all(1)
        if not finite.all():
            bad = [indices[i] for i in torch.nonzero(~finite).flatten().tolist()]
            raise LevyError(
                f"the network returned NaN or infinity at step {step + 1} of {table.nfe} (rho = {rho[0]:.4g}) for "
                f"{len(bad)} of {len(indices)} samples, the first with index {bad[0]}: look at the training loss"
            )
        y = float(table.keep[step]) * y + float(table.drift[step]) * eps_hat
        if table.noise[step] > 0:
            y = y + float(table.noise[step]) * noise.sample(shape, streams).to(device)
    return y.cpu()
