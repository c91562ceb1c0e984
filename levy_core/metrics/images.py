"""FID, KID, precision and recall through torch-fidelity, and what becomes of the rare classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from levy_core import torchvision_ops  # noqa: F401  (before torch-fidelity)
from levy_core.datasets.longtail import rare_classes
from levy_core.errors import LevyError
from levy_core.metrics.classifier import load_classifier

from torch_fidelity import metric_fid, metric_kid, metric_prc, register_feature_extractor  # isort: skip
from torch_fidelity.feature_extractor_base import FeatureExtractorBase  # isort: skip
from torch_fidelity.utils import create_feature_extractor  # isort: skip

EXTRACTOR = "levy-classifier"
INCEPTION = "inception-v3-compat"
NAN = float("nan")


@dataclass(frozen=True)
class FidelityConfig:
    """torch-fidelity's own settings."""

    kid_subsets: int
    kid_subset_size: int
    neighborhood: int


class ClassifierFeatures(FeatureExtractorBase):
    """The classifier as a torch-fidelity feature extractor; ``feature_extractor_weights_path`` is its folder."""

    def __init__(self, name: str, features_list: list[str], feature_extractor_weights_path: str, **_: Any):
        super().__init__(name, features_list)
        self.net = load_classifier(Path(feature_extractor_weights_path))

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return ("features",)

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "features"

    @staticmethod
    def can_be_compiled() -> bool:
        return False

    @staticmethod
    def get_dummy_input_for_compile() -> Tensor:
        raise NotImplementedError

    def forward(self, input: Tensor) -> tuple[Tensor]:
        return (self.net.features(input),)


register_feature_extractor(EXTRACTOR, ClassifierFeatures)


class Features:
    """A feature space: uint8 images [N, C, H, W] -> float32 [N, D].

    With ``inception_weights`` (a file of torch-fidelity's Inception weights) it is the published one; else the
    classifier in ``classifier`` registered with torch-fidelity.

    Raises:
        LevyError: the weights are missing or unreadable.
    """

    def __init__(self, classifier: Path, inception_weights: Path | None = None, device: str = "cpu"):
        self.is_inception = inception_weights is not None
        name, path = (INCEPTION, inception_weights) if inception_weights else (EXTRACTOR, classifier)
        layer = "2048" if self.is_inception else "features"
        try:
            if inception_weights:
                torch.load(inception_weights, map_location="cpu", weights_only=True)  # torch-fidelity itself unpickles
            self._net = create_feature_extractor(
                name, [layer], cuda=False, feature_extractor_weights_path=str(path), verbose=False
            )
        except Exception as error:  # torch-fidelity and torch.load raise many kinds
            raise LevyError(
                f"the feature extractor {name} cannot be loaded from {path} ({type(error).__name__}: {error})"
            ) from error
        self._net.to(device)
        self._device = device

    @torch.inference_mode()
    def __call__(self, image: np.ndarray, batch: int = 250) -> Tensor:
        """Features on the CPU. Grey images become three equal channels where Inception asks for them."""
        images = torch.from_numpy(image)
        if self.is_inception and images.shape[1] == 1:
            images = images.expand(-1, 3, -1, -1)
        return torch.cat([self._net(part.to(self._device))[0].cpu() for part in images.split(batch)])


def fid(generated: Tensor, real: Tensor) -> float:
    """Frechet distance between features [N, D] and [M, D]; NaN where a side has fewer than 2 rows."""
    if min(len(generated), len(real)) < 2:
        return NAN
    sides = [metric_fid.fid_features_to_statistics(side.double()) for side in (generated, real)]
    return metric_fid.fid_statistics_to_metric(*sides, verbose=False)[metric_fid.KEY_METRIC_FID]


def kid(generated: Tensor, real: Tensor, config: FidelityConfig) -> float:
    """Kernel distance (unbiased), mean over subsets of at most the smaller side."""
    size = min(config.kid_subset_size, len(generated), len(real))
    value = metric_kid.kid_features_to_metric(
        generated, real, kid_subsets=config.kid_subsets, kid_subset_size=size, rng_seed=0, verbose=False
    )
    return value[metric_kid.KEY_METRIC_KID_MEAN]


def precision_recall(generated: Tensor, real: Tensor, config: FidelityConfig) -> tuple[float, float]:
    """Improved precision and recall (Kynkaanniemi et al., 2019); NaN where a side has too few rows for a neighbourhood."""
    if min(len(generated), len(real)) <= config.neighborhood:
        return NAN, NAN
    value = metric_prc.prc_features_to_metric(
        generated, real, prc_neighborhood=config.neighborhood, prc_batch_size=10000, save_cpu_ram=True, verbose=False
    )
    return value[metric_prc.KEY_METRIC_PRECISION], value[metric_prc.KEY_METRIC_RECALL]


@dataclass(frozen=True)
class Reference:
    """Real images to judge against: features [M, D] and labels [M]."""

    features: Tensor
    labels: np.ndarray


def evaluate(
    generated: Tensor,
    classes: np.ndarray,
    references: dict[str, Reference],
    train_counts: Sequence[int],
    config: FidelityConfig,
) -> dict[str, float]:
    """All metrics of one set of samples as flat names.

    Args:
        generated: features [N, D] of the samples. classes: int64 [N], the classifier's verdicts.
        references: by name; each gives ``fid/NAME`` and so on.
        train_counts: images of each class in the training data: the shares that samples should have.

    ``class_count/c`` and ``class_recall/c`` (the share of the real images of class c that lie within the samples'
    manifold, against the first reference) are per class. ``rare_share_ratio`` is the rare classes' share among the
    samples over their share of the training data: 1 is right, 0 forgets them. Rare FIDs rest on few samples
    (``rare_count``) and are biased upwards: compare them only at similar counts.
    """
    rare = rare_classes(train_counts)
    is_rare = np.isin(classes, rare)
    row: dict[str, float] = {"samples": float(len(classes)), "rare_count": float(is_rare.sum())}
    row["rare_share_ratio"] = is_rare.mean() / (sum(train_counts[c] for c in rare) / sum(train_counts))
    for name, real in references.items():
        row[f"fid/{name}"] = fid(generated, real.features)
        row[f"kid/{name}"] = kid(generated, real.features, config)
        row[f"precision/{name}"], row[f"recall/{name}"] = precision_recall(generated, real.features, config)
        rare_real = real.features[np.isin(real.labels, rare)]
        row[f"rare_fid/{name}"] = fid(generated[is_rare], rare_real)
        row[f"rare_recall/{name}"] = precision_recall(generated, rare_real, config)[1]
    first = next(iter(references.values()))
    for c in range(len(train_counts)):
        row[f"class_count/{c}"] = float((classes == c).sum())
        row[f"class_recall/{c}"] = precision_recall(generated, first.features[first.labels == c], config)[1]
    return row
