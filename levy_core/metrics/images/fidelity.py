"""FID and KID through torch-fidelity, manifolds, tails, and what becomes of each class and of the rare ones."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from levy_core.base import torchvision_ops  # noqa: F401  (before torch-fidelity)
from levy_core.base.errors import LevyError
from levy_core.base.seeds import generator
from levy_core.datasets.images.longtail import rare_classes
from levy_core.metrics.images import manifold, tails
from levy_core.metrics.images.classifier import load_classifier

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


def statistics(features: Tensor) -> Statistics | None:
    """Mean and covariance of [N, D]; None with fewer than 2 rows."""
    return metric_fid.fid_features_to_statistics(features.double()) if len(features) > 1 else None


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


@dataclass(frozen=True)
class Reference:
    """Real images to judge against; what does not depend on the samples is computed once.

    Attributes:
        features: [M, D]. labels: int64 [M].
        radii: distance to the k-th neighbour, float64 [M]. spacing: to the nearest other image, float64 [M].
    """

    features: Tensor
    labels: np.ndarray
    radii: Tensor
    spacing: Tensor
    _statistics: dict[tuple[int, ...], Statistics | None] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, features: Tensor, labels: np.ndarray, config: FidelityConfig) -> "Reference":
        """Measures the set itself."""
        return cls(features, labels, manifold.radii(features, config.neighborhood), manifold.radii(features, 1))

    def statistics(self, classes: tuple[int, ...] = ()) -> Statistics | None:
        """Mean and covariance of the images of some classes, () for all."""
        if classes not in self._statistics:
            rows = np.isin(self.labels, classes) if classes else slice(None)
            self._statistics[classes] = statistics(self.features[rows])
        return self._statistics[classes]

    def floor(self, n: int, draws: int = 8) -> float:
        """The FID to expect of n perfect samples, whose only fault is their number: n of these images, drawn again and again.

        The Frechet distance between finite sets is biased upwards, about as 1 / n.
        Source: Chong and Forsyth (2020), Effectively unbiased FID.
        """
        rows = [torch.randint(len(self.features), (n,), generator=generator(0, "floor", k)) for k in range(draws)]
        return float(np.mean([frechet(statistics(self.features[r]), self.statistics()) for r in rows]))


def measure_images(
    generated: Tensor,
    classes: np.ndarray,
    references: dict[str, Reference],
    train_counts: Sequence[int],
    config: FidelityConfig,
) -> dict[str, float]:
    """All metrics of one set of samples as flat names.

    Args:
        generated: features [N, D] of the samples. classes: int64 [N], the classifier's verdicts.
        references: by name; each gives ``fid/NAME`` and so on. The first judges the classes, the last is the training data.
        train_counts: images of each class in the training data: the shares that samples should have.

    ``class_count/c``, ``class_recall/c`` (the share of the real images of class c that lie within the samples'
    manifold) and ``class_fid/c`` are per class. ``rare_share_ratio`` is the rare classes' share among the samples over
    their share of the training data: 1 is right, 0 forgets them. FIDs of classes rest on few samples (their counts) and
    are biased upwards: compare them only at similar counts.
    ``near_train`` is the median distance of a sample to its nearest training image over the median distance of a
    training image to the next one: about 1 for new images, near 0 for copies; ``class_near/c`` the same in a class.
    ``tail_*`` compare how far features lie from the centre of the training images (``tails.compare``).
    """
    rare = rare_classes(train_counts)
    is_rare = np.isin(classes, rare)
    row: dict[str, float] = {"samples": float(len(classes)), "rare_count": float(is_rare.sum())}
    row["rare_share_ratio"] = is_rare.mean() / (sum(train_counts[c] for c in rare) / sum(train_counts))
    mine, rare_mine = statistics(generated), statistics(generated[is_rare])
    recalled = {}
    for name, real in references.items():
        row[f"fid/{name}"] = frechet(mine, real.statistics())
        row[f"kid/{name}"] = kid(generated, real.features, config)
        real_support = manifold.support(generated, real.features, real.radii, config.neighborhood)
        recalled[name] = real_support.recalled.numpy() if real_support else np.full(len(real.labels), NAN)
        row[f"precision/{name}"] = float(real_support.precise.double().mean()) if real_support else NAN
        row[f"recall/{name}"] = float(recalled[name].mean())
        row[f"density/{name}"] = real_support.density if real_support else NAN
        row[f"coverage/{name}"] = float(real_support.covered.double().mean()) if real_support else NAN
        row[f"rare_fid/{name}"] = frechet(rare_mine, real.statistics(tuple(rare)))
        row[f"rare_recall/{name}"] = _mean(recalled[name][np.isin(real.labels, rare)])
    first, train = next(iter(references.items())), list(references.values())[-1]
    distance = manifold.nearest(generated, train.features).numpy()
    row["near_train"] = _ratio(_median(distance), _median(train.spacing.numpy()))
    for c in range(len(train_counts)):
        row[f"class_count/{c}"] = float((classes == c).sum())
        row[f"class_recall/{c}"] = _mean(recalled[first[0]][first[1].labels == c])
        row[f"class_fid/{c}"] = frechet(statistics(generated[classes == c]), first[1].statistics((c,)))
        spacing = train.spacing.numpy()[train.labels == c]
        row[f"class_near/{c}"] = _ratio(_median(distance[classes == c]), _median(spacing))
    centre = train.features.mean(0)
    row |= tails.compare(*((f - centre).norm(dim=1).numpy() for f in (generated, train.features)))
    return row


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else NAN


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else NAN


def _ratio(a: float, b: float) -> float:
    return a / b if b else NAN  # training images that are mostly doubles have no spacing to compare with
