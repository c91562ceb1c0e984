"""Pictures of samples of a fixed seed, along a training, for whoever watches. They decide nothing."""

import shutil
from math import prod
from pathlib import Path

import numpy as np
import torch

from levy_core.base.files import replacing
from levy_core.base.pixels import to_uint8
from levy_core.base.samples import Samples
from levy_core.base.seeds import Streams
from levy_core.nets.latent import Latent
from levy_core.training.batches import sample_shape
from levy_core.training.preview import draw_preview
from levy_core.training.trainer import Trainer

SEED = 0
MOST, VALUES = 16, 2**20  # samples in a picture, and their values in all, at most
COLUMNS, GAP = 8, 2
SPREAD = 3.0  # standard deviations of a standardised value, from grey to white or black
LEAST, LONGEST = 32, 256  # pixels of a sample's height, of its longer side


class Pictures:
    """One PNG per interval of a training, named by its step, of samples of the averaged weights, as many of each class.

    Args:
        folder: where they lie; those of another training go with ``clear``. number: in the training; 0: none, which costs nothing.
        samples: what they are. latent: what leads to them from what the network makes.
    """

    def __init__(self, folder: Path, number: int, samples: Samples, latent: Latent | None):
        self._folder, self._number, self._samples, self._latent = folder, number, samples, latent
        self._before = 0  # intervals that are over

    def clear(self) -> None:
        """Removes them."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def begin(self, step: int, steps: int) -> None:
        """The training goes on from a step: the picture of its interval is there."""
        self._before = step * self._number // steps

    def draw(self, trainer: Trainer, step: int) -> Path | None:
        """The picture after a step, where one is due and the trainer stands there."""
        over = step * self._number // trainer.config.steps
        if over == self._before or step != trainer.step:
            return None
        self._before = over
        return self._write(trainer, step)

    def _write(self, trainer: Trainer, step: int) -> Path:
        from PIL import Image

        made = sample_shape(trainer.data)
        shape = self._latent.shape if self._latent else made
        n = max(1, min(MOST, VALUES // prod(shape)))
        cond = self._samples.condition(np.sort(self._samples.labels("balanced", 0, n)))
        predictor = trainer.design.predictor(trainer.averaged)
        drawn = draw_preview(predictor, trainer.design, made, cond, SEED, trainer.together)
        if self._latent:
            drawn = self._latent.decode(drawn) + self._latent.draw_rest(Streams.of_samples(SEED, "rest", range(n)))
        scale = 1.0 if self._samples.dtype == "uint8" else SPREAD
        pixels = to_uint8(torch.nan_to_num(drawn / scale).numpy())
        path = self._folder / f"{step:08d}.png"
        with replacing(path) as temporary:
            Image.fromarray(lay_out(pixels)).save(temporary, format="png")
        return path


def lay_out(pixels: np.ndarray) -> np.ndarray:
    """uint8 [N, C, H, W] as one picture [H', W'] or [H', W', 3]: rows of ``COLUMNS`` samples; of other than 1 or 3 channels each has rows of its own."""
    channels, height, width = pixels.shape[1:]
    if channels not in (1, 3):
        return np.concatenate([lay_out(pixels[:, c : c + 1]) for c in range(channels)])
    zoom = max(1, min(-(-LEAST // height), LONGEST // width))
    thin = -(-max(height, width) // LONGEST)
    tiles = pixels[..., ::thin, ::thin].repeat(zoom, 2).repeat(zoom, 3)
    tiles = np.pad(
        tiles,
        ((0, -len(tiles) % COLUMNS if len(tiles) > COLUMNS else 0), (0, 0), (0, GAP), (0, GAP)),
        constant_values=128,
    )
    rows = tiles.reshape(-1, min(COLUMNS, len(tiles)), *tiles.shape[1:])
    sheet = rows.transpose(0, 3, 1, 4, 2).reshape(len(rows) * tiles.shape[2], -1, channels)
    return sheet[..., 0] if channels == 1 else sheet
