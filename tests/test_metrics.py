"""Metrics agree with torch-fidelity's front door and with closed forms."""

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from levy_core.errors import LevyError
from levy_core.metrics import images as metrics
from levy_core.metrics.classifier import (
    Classifier,
    ClassifierConfig,
    classify,
    load_classifier,
    save_classifier,
    split,
    train_classifier,
)
from tasks.starter import digits

CONFIG = metrics.FidelityConfig(kid_subsets=5, kid_subset_size=40, neighborhood=3)


class Pictures(Dataset):
    def __init__(self, image):
        self.image = torch.from_numpy(image)

    def __len__(self):
        return len(self.image)

    def __getitem__(self, i):
        return self.image[i]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("classifier")
    save_classifier(path, Classifier(1, 4, width=4, features=6).eval(), {})
    return path


def pictures(seed, n):
    return np.random.default_rng(seed).integers(0, 256, (n, 1, 8, 8), dtype=np.uint8)


def test_the_numbers_are_those_of_torch_fidelitys_calculate_metrics(folder):
    import torch_fidelity

    a, b = pictures(0, 60), pictures(1, 80) // 2
    features = metrics.Features(folder)
    theirs = torch_fidelity.calculate_metrics(
        input1=Pictures(a), input2=Pictures(b), fid=True, kid=True, prc=True, cuda=False, verbose=False, save_cpu_ram=True,
        feature_extractor=metrics.EXTRACTOR, feature_extractor_weights_path=str(folder), cache=False,
        kid_subsets=5, kid_subset_size=40, rng_seed=0, prc_neighborhood=3,
    )  # fmt: skip
    fa, fb = features(a), features(b)
    assert metrics.fid(fa, fb) == pytest.approx(theirs["frechet_inception_distance"], rel=1e-4)
    assert metrics.kid(fa, fb, CONFIG) == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-4)
    assert metrics.precision_recall(fa, fb, CONFIG) == pytest.approx((theirs["precision"], theirs["recall"]))


def test_fid_of_gaussians_in_closed_form():
    g = torch.Generator().manual_seed(0)
    a = torch.randn(200_000, 2, generator=g, dtype=torch.float64)
    b = torch.randn(200_000, 2, generator=g, dtype=torch.float64) * torch.tensor([2.0, 1.0]) + torch.tensor([0.0, 3.0])
    assert metrics.fid(a, b) == pytest.approx(9 + 1, rel=0.01)  # |mean|**2 + (2 - 1)**2


def test_a_set_against_itself_is_perfect():
    f = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    assert metrics.fid(f, f) == pytest.approx(0, abs=1e-5)
    assert metrics.precision_recall(f, f, CONFIG) == (1.0, 1.0)


def test_too_few_samples_give_nan_not_a_number():
    f, none = torch.randn(50, 4), torch.empty(0, 4)
    assert np.isnan(metrics.fid(none, f))
    assert np.isnan(metrics.precision_recall(torch.randn(3, 4), f, CONFIG)).all()


def test_rare_classes_are_counted_against_their_true_share():
    g = torch.Generator().manual_seed(0)
    labels = np.repeat([0, 1, 2], [80, 16, 4])
    real = metrics.Reference(torch.randn(100, 3, generator=g) + torch.from_numpy(labels)[:, None] * 5, labels)
    row = metrics.evaluate(real.features, labels, {"longtail": real}, [80, 16, 4], CONFIG)
    assert row["rare_share_ratio"] == pytest.approx(1.0)
    assert [row[f"class_count/{c}"] for c in range(3)] == [80, 16, 4]
    forgets = metrics.evaluate(real.features[:80], labels[:80], {"longtail": real}, [80, 16, 4], CONFIG)
    assert forgets["rare_share_ratio"] == 0
    assert forgets["class_recall/2"] == 0
    assert forgets["class_recall/0"] == 1
    assert np.isnan(forgets["rare_fid/longtail"])


def test_missing_inception_weights_are_named(folder, tmp_path):
    with pytest.raises(LevyError, match=r"inception-v3-compat cannot be loaded from .*weights.pth"):
        metrics.Features(folder, tmp_path / "weights.pth")


def test_inception_weights_from_a_file_are_used_and_grey_images_are_widened(folder, tmp_path, monkeypatch):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    path = tmp_path / "weights.pth"
    with monkeypatch.context() as patch:  # random weights of the right shapes: the published ones are not at hand here
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        torch.save({}, path)
        torch.manual_seed(0)
        random = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path))
    torch.save(random.state_dict(), path)
    features = metrics.Features(folder, path)
    assert features.is_inception
    assert features(pictures(0, 2)).shape == (2, 2048)


def test_weights_that_would_run_code_are_refused(folder, tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"weights": Trap()}, tmp_path / "weights.pth")
    with pytest.raises(LevyError, match="cannot be loaded"):
        metrics.Features(folder, tmp_path / "weights.pth")
    assert not (tmp_path / "ran").exists()


def test_the_classifier_learns_and_survives_disk(tmp_path):
    image, label = digits()
    image = image[:, None]
    train, held_out = split(label, 0)
    assert set(train).isdisjoint(held_out)
    config = ClassifierConfig(steps=150, batch=64, lr=0.01, width=8, features=16, seed=0)
    *_, (_, _, net) = train_classifier(image[train], label[train], 10, config, torch.device("cpu"))
    verdict = classify(net, image[held_out])
    assert (verdict == label[held_out]).mean() > 0.93
    save_classifier(tmp_path, net, {"held_out_accuracy": 1.0})
    assert np.array_equal(classify(load_classifier(tmp_path), image[held_out]), verdict)
