"""A small image classifier: the judge of classes, and the feature space of FID, KID, precision and recall.

It is trained on the data set at hand, so its distances compare samples of one data set with each other; they are not
the published Inception distances.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from levy_core.base.artifacts import Artifact, read_artifact
from levy_core.base.errors import LevyError
from levy_core.base.seeds import generator
from levy_core.datasets.images.split import CHECKS

Number = Annotated[int, Field(ge=1, le=65_536)]  # of channels, classes or features
Count = Annotated[int, Field(ge=0, lt=2**63)]


class Classifier(nn.Module):
    """Convolutions, global pooling, ``features`` numbers, class scores. Input uint8 [B, C, H, W], any side of 4 or more."""

    def __init__(self, channels: int, classes: int, width: int = 32, features: int = 32):
        super().__init__()
        self.config = {"channels": channels, "classes": classes, "width": width, "features": features}
        self.body = nn.Sequential(
            *_block(channels, width),
            *_block(width, width),
            nn.MaxPool2d(2),
            *_block(width, 2 * width),
            *_block(2 * width, 2 * width),
        )
        # Unit variance per feature: distances then have the same scale for every data set.
        self.embed = nn.Sequential(nn.Linear(4 * 2 * width, features), nn.BatchNorm1d(features, affine=False))
        self.score = nn.Linear(features, classes)

    def features(self, image: Tensor) -> Tensor:
        """float32 [B, features], the layer before the scores."""
        x = self.body(image.float() / 127.5 - 1)
        return self.embed(F.adaptive_avg_pool2d(x, 2).flatten(1))

    def forward(self, image: Tensor) -> Tensor:
        return self.score(F.relu(self.features(image)))


def _block(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


@dataclass(frozen=True)
class ClassifierConfig:
    """Training of the classifier."""

    steps: int
    batch: int
    lr: float
    width: int
    features: int
    seed: int


def hold_out(labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(training rows, held-out rows) of a labelled set, a fifth of it held out."""
    rows = torch.randperm(len(labels), generator=generator(seed, "classifier-split")).numpy()
    held_out = max(1, int(len(rows) * CHECKS))
    return rows[held_out:], rows[:held_out]


def train_classifier(
    image: np.ndarray, label: np.ndarray, classes: int, config: ClassifierConfig, device: torch.device
) -> Iterator[tuple[int, float, Classifier]]:
    """Yields (step, loss, classifier) after each step; images uint8 [N, C, H, W], shifted by up to a pixel as augmentation."""
    torch.manual_seed(config.seed)
    net = Classifier(image.shape[1], classes, config.width, config.features).to(device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=config.lr, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, total_steps=config.steps + 1)
    images, labels = torch.from_numpy(image), torch.from_numpy(label)
    net.train()
    for step in range(config.steps):
        g = generator(config.seed, "classifier-batch", step)
        rows = torch.randint(len(images), (config.batch,), generator=g)
        dy, dx = torch.randint(-1, 2, (2,), generator=g).tolist()
        batch = F.pad(images[rows], (1, 1, 1, 1))[
            ..., 1 + dy : 1 + dy + image.shape[2], 1 + dx : 1 + dx + image.shape[3]
        ]
        loss = F.cross_entropy(net(batch.to(device)), labels[rows].to(device), label_smoothing=0.05)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        yield step + 1, loss.item(), net


@torch.inference_mode()
def classify(net: Classifier, image: np.ndarray, batch: int = 500) -> np.ndarray:
    """The most likely class of each image, int64 [N], from uint8 [N, C, H, W]."""
    net.eval()
    device = next(net.parameters()).device
    parts = torch.from_numpy(image).split(batch)
    return np.concatenate([net(part.to(device)).argmax(1).cpu().numpy() for part in parts])


@torch.inference_mode()
def log_probabilities(net: Classifier, image: np.ndarray, batch: int = 500) -> np.ndarray:
    """Of each class, float64 [N, classes], from uint8 [N, C, H, W]."""
    device = next(net.parameters()).device
    parts = torch.from_numpy(image).split(batch)
    return np.concatenate([net(part.to(device)).double().log_softmax(1).cpu().numpy() for part in parts])


def check_classes(labels: np.ndarray, verdicts: np.ndarray, classes: int) -> list[dict[str, int]]:
    """Of each class, as ``Check`` has it, from real images that the classifier was not trained on; labels, verdicts: int64 [N]."""
    images, called = (np.bincount(each, minlength=classes) for each in (labels, verdicts))
    known = np.bincount(labels[labels == verdicts], minlength=classes)
    counts = {"images": images, "known": known, "others": len(labels) - images, "mistaken": called - known}
    return [{name: int(of[c]) for name, of in counts.items()} for c in range(classes)]


def save_classifier(folder: Path, net: Classifier, about: dict[str, Any]) -> None:
    """``classifier.safetensors`` and ``classifier.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {k: v.detach().cpu().contiguous() for k, v in net.state_dict().items()}, folder / "classifier.safetensors"
    )
    (folder / "classifier.json").write_text(
        json.dumps({"config": net.config, **about}, indent=1, sort_keys=True) + "\n"
    )


class Size(Artifact):
    """Arguments of ``Classifier``."""

    channels: Number
    classes: Number
    width: Number
    features: Number


class Check(Artifact):
    """What a classifier said of real images that it was not trained on: of a class, how many it knew; of others, how many it took for it."""

    images: Count
    known: Count
    others: Count
    mistaken: Count


class Description(Artifact):
    """What ``classifier.json`` says: the network, on how many held-out images it was right how often, and its checks by class."""

    config: Size
    held_out_accuracy: float | None = None
    held_out_images: int | None = None
    checks: list[Check] | None = None


def describe_classifier(folder: Path) -> Description:
    """What ``save_classifier`` said of a classifier.

    Raises:
        LevyError: the file is missing or damaged.
    """
    return read_artifact(folder / "classifier.json", Description, "reference")


def load_classifier(folder: Path) -> Classifier:
    """The classifier of ``save_classifier``, in eval mode.

    Raises:
        LevyError: its files are missing or damaged, or do not belong together.
    """
    net, path = Classifier(**describe_classifier(folder).config.model_dump()), folder / "classifier.safetensors"
    try:
        net.load_state_dict(load_file(path))
    except (SafetensorError, OSError, RuntimeError) as error:
        found = " ".join(str(error).split())
        raise LevyError(
            f"{path} cannot be read as weights of classifier.json ({found}): run the reference stage again"
        ) from error
    return net.eval().requires_grad_(False)
