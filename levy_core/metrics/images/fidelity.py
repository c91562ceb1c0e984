"""Features, FID and KID through torch-fidelity."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from levy_core.base import torchvision_ops  # noqa: F401  (before torch-fidelity)
from levy_core.base.errors import LevyError
from levy_core.metrics.images.classifier import load_classifier
from levy_core.metrics.images.weights import are_equal, normalise

from torch_fidelity import metric_fid, metric_kid, register_feature_extractor  # isort: skip
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


Statistics = dict[str, Any]  # mean and covariance, as torch-fidelity holds them


def statistics(features: Tensor, weights: np.ndarray | None = None) -> Statistics | None:
    """Mean and covariance of [N, D], of rows that weigh float64 [N]; None with fewer than 2 rows of any weight.

    The covariance is divided by 1 - sum w**2 (w of sum 1): with equal weights by 1 - 1 / N, as torch-fidelity does.
    """
    if weights is not None and not are_equal(weights):
        features, weights = features[torch.from_numpy(weights > 0)], normalise(weights[weights > 0])
    if len(features) < 2:
        return None
    if weights is None or are_equal(weights):
        return metric_fid.fid_features_to_statistics(features.double())
    rows = features.double().numpy()
    return {"mu": weights @ rows, "sigma": np.cov(rows, rowvar=False, aweights=weights)}


def frechet(a: Statistics | None, b: Statistics | None) -> float:
    """Frechet distance between two Gaussians; NaN where a side has none."""
    if a is None or b is None:
        return NAN
    return metric_fid.fid_statistics_to_metric(a, b, verbose=False)[metric_fid.KEY_METRIC_FID]


def fid(generated: Tensor, real: Tensor) -> float:
    """Frechet distance between features [N, D] and [M, D]; NaN where a side has fewer than 2 rows."""
    return frechet(statistics(generated), statistics(real))


def kid(generated: Tensor, real: Tensor, config: FidelityConfig) -> float:
    """Kernel distance (unbiased), mean over subsets of at most the smaller side."""
    size = min(config.kid_subset_size, len(generated), len(real))
    value = metric_kid.kid_features_to_metric(
        generated, real, kid_subsets=config.kid_subsets, kid_subset_size=size, rng_seed=0, verbose=False
    )
    return value[metric_kid.KEY_METRIC_KID_MEAN]
