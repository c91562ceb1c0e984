"""Samples of classes that were asked for: weights, shares by a judge that errs, and what is asked of few images."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from levy_core.metrics.images.fidelity import FidelityConfig, fid, frechet, statistics
from levy_core.metrics.images.measures import Generated, floors, measure_images, score
from levy_core.metrics.images.reference import Reference
from levy_core.metrics.images.shares import Judged, jeffreys
from levy_core.metrics.images.tails import compare
from levy_core.metrics.images.weights import class_weights, quantile, shares_of

from torch_fidelity import metric_fid  # isort: skip  (after levy_core)

CONFIG = FidelityConfig(kid_subsets=3, kid_subset_size=30, neighborhood=3)
COUNTS = [60, 25, 10, 5]
SHARES = np.array(COUNTS) / sum(COUNTS)


def classes_of(n, shares, rng):
    """Labels and features float64 [n, 3] around a centre of each class, 8 apart."""
    labels = rng.choice(len(shares), n, p=shares)
    return labels, torch.from_numpy(rng.standard_normal((n, 3)) + 8 * labels[:, None])


def references(rng, per_class=60):
    """A balanced reference with a judge that is always right, and a long tail."""
    labels = np.repeat(np.arange(4), per_class)
    balanced = Reference.of(
        torch.from_numpy(rng.standard_normal((len(labels), 3)) + 8 * labels[:, None]), labels, CONFIG
    )
    own = np.ones(len(labels), dtype=bool)
    confusion = balanced.confuse(balanced.features, labels, labels, own, 4, CONFIG.neighborhood)
    labels = np.repeat(np.arange(4), COUNTS)
    train = Reference.of(torch.from_numpy(rng.standard_normal((len(labels), 3)) + 8 * labels[:, None]), labels, CONFIG)
    return {"balanced": replace(balanced, confusion=confusion), "longtail": train}


@settings(max_examples=50, deadline=None)
@given(labels=st.lists(st.integers(0, 4), min_size=1, max_size=60), seed=st.integers(0, 99))
def test_weights_give_each_class_its_share(labels, seed):
    labels = np.array(labels)
    shares = np.random.default_rng(seed).dirichlet(np.ones(4))
    weights = class_weights(labels, shares)
    assert weights.sum() == pytest.approx(1)
    asked = labels < 4
    assert weights[~asked] == pytest.approx(1 / len(labels))
    present = np.unique(labels[asked])
    for c in present:
        assert weights[labels == c].sum() == pytest.approx(asked.mean() * shares[c] / shares[present].sum())


def test_in_their_own_proportions_all_weigh_the_same_and_statistics_are_torch_fidelitys():
    labels, features = classes_of(80, SHARES, np.random.default_rng(0))
    weights = class_weights(labels, shares_of(labels, 4))
    assert weights == pytest.approx(1 / 80, rel=1e-12)
    theirs = metric_fid.fid_features_to_statistics(features)
    for mine in (statistics(features, weights), statistics(features)):
        assert np.array_equal(mine["mu"], theirs["mu"])
        assert np.array_equal(mine["sigma"], theirs["sigma"])


def test_weighted_statistics_are_those_of_repeated_rows_but_for_the_bias():
    rng = np.random.default_rng(1)
    features, times = torch.from_numpy(rng.standard_normal((30, 4))), rng.integers(0, 5, 30)
    w = times / times.sum()
    found = statistics(features, w)
    rows = np.repeat(features.numpy(), times, axis=0)
    assert np.allclose(found["mu"], rows.mean(0))
    assert np.allclose(found["sigma"], np.cov(rows.T, ddof=0) / (1 - (w**2).sum()))
    assert statistics(features, np.eye(30)[0]) is None  # one row has all the weight


def test_samples_drawn_balanced_score_as_those_in_proportion_but_for_noise():
    rng = np.random.default_rng(2)
    known, n = references(rng), 4000
    scores = {}
    for name, shares in (("balanced", np.full(4, 0.25)), ("training", SHARES)):
        labels, features = classes_of(n, shares, rng)
        row = measure_images(Generated(features, labels, labels), known, COUNTS, CONFIG)
        scores[name] = [
            row[k] for k in ("fid/longtail", "precision/longtail", "near_train", "tail_q99", "rare_share_ratio")
        ]
        assert row["rare_agreement"] == 1
        assert (
            score(Generated(features, labels, labels), "fid_classes/longtail", known, CONFIG)
            == row["fid_classes/longtail"]
        )
    # Over 20 such pairs the differences have standard deviations of 0.012, 0.006, 0.019, 0.002, 0.021: 5 sigma of the largest
    assert scores["balanced"] == pytest.approx(scores["training"], abs=0.1)
    unweighted = fid(classes_of(n, np.full(4, 0.25), rng)[1], known["longtail"].features)
    assert unweighted > 20 * max(s[0] for s in scores.values())


def test_a_class_that_is_asked_for_and_comes_as_another_is_seen():
    rng = np.random.default_rng(3)
    known = references(rng)
    made, features = classes_of(400, np.full(4, 0.25), rng)
    asked = np.where(made == 0, 3, made)  # some are asked to be the rarest class, and are of the commonest
    row = measure_images(Generated(features, asked, made), known, COUNTS, CONFIG)
    agreed = (made == 3).sum() / (asked == 3).sum()
    assert row["class_agreement/3"] == row["rare_agreement"] == pytest.approx(agreed)
    assert np.isnan(row["class_agreement/0"])
    assert row["class_coverage/0"] == 0  # nobody was asked for it
    assert row["class_fid/3"] > 50
    assert row["rare_precision/balanced"] == pytest.approx(agreed, abs=0.05)
    right = measure_images(Generated(features, made, made), known, COUNTS, CONFIG)
    assert row["fid_classes/balanced"] > 10 * right["fid_classes/balanced"]
    assert row["fid/balanced"] > right["fid/balanced"]


def test_without_a_class_samples_count_to_the_verdict_and_agreement_is_not_known():
    rng = np.random.default_rng(4)
    known = references(rng)
    labels, features = classes_of(300, SHARES, rng)
    row = measure_images(Generated(features, np.full(300, 4), labels), known, COUNTS, CONFIG)
    assert row["class_fid/0"] == frechet(statistics(features[labels == 0]), known["balanced"].statistics((0,)))
    assert np.isnan([row["rare_agreement"], row["class_agreement/1"]]).all()
    assert row["fid/longtail"] == fid(features, known["longtail"].features)
    assert np.isfinite([row["kid/longtail"], row["kid/balanced"]]).all()


def test_kid_is_of_samples_in_the_proportions_of_the_reference():
    rng = np.random.default_rng(5)
    known = references(rng)
    labels = np.arange(200) % 4
    features = torch.from_numpy(rng.standard_normal((200, 3)) + 8 * labels[:, None])
    row = measure_images(Generated(features, labels, labels), known, COUNTS, CONFIG)
    assert np.isnan(row["kid/longtail"])  # 50 of the commonest leave few of the others
    assert np.isfinite(row["kid/balanced"])
    assert row["kid/balanced"] == score(Generated(features, labels, labels), "kid/balanced", known, CONFIG)


def test_a_class_that_never_comes_has_no_fid_and_a_bad_score_rather_than_none():
    rng = np.random.default_rng(6)
    known = references(rng)
    labels, features = classes_of(300, np.array([0.5, 0.3, 0.2, 0.0]), rng)
    row = measure_images(Generated(features, np.full(300, 4), labels), known, COUNTS, CONFIG)
    assert np.isnan(row["class_fid/3"])
    assert row["fid_classes/longtail"] > row["fid/longtail"] + 20
    assert row["rare_coverage/balanced"] == row["rare_share_ratio"] == 0


@pytest.mark.parametrize("asked", ["balanced", "none"])
def test_floors_are_what_fresh_samples_of_the_law_score(asked):
    rng = np.random.default_rng(7)
    known = references(rng, per_class=1500)
    train, features = classes_of(6000, SHARES, rng)
    known["longtail"] = Reference(features, train, features[:, 0], features[:, 0])  # no radii needed
    labels = np.arange(200) % 4 if asked == "balanced" else np.full(200, 4)
    found, scores = floors(labels, known, 4, draws=40), {"fid/longtail": [], "fid_classes/longtail": []}
    for _ in range(40):
        made = labels if asked == "balanced" else rng.choice(4, 200, p=SHARES)
        mine = Generated(torch.from_numpy(rng.standard_normal((200, 3)) + 8 * made[:, None]), labels, made)
        for metric, values in scores.items():
            values.append(score(mine, metric, known, CONFIG))
    for metric, values in scores.items():
        error = np.std(values, ddof=1) * (2 / 40) ** 0.5
        assert abs(found[f"floor/{metric}"] - np.mean(values)) < 4 * error, (
            metric
        )  # 4 sigma: one of 4,000 runs of all four
    assert found["floor/kid/balanced"] == 0


BALANCED, TRAINING = np.arange(200) % 4, np.repeat(np.arange(4), 2 * np.array(COUNTS))


@pytest.mark.parametrize(("drawn", "told"), [(BALANCED, True), (TRAINING, True), (TRAINING, False)])
def test_the_interval_of_a_share_holds_the_truth_and_its_value_has_little_bias(drawn, told):
    rng, rare, draws = np.random.default_rng(8), [2, 3], 300
    rates = np.full((4, 4), 0.01) + 0.87 * np.eye(4)  # the judge errs, and sees one of ten real images outside
    table = np.c_[rates, 1 - rates.sum(1)]
    made = np.eye(4)  # by class asked for: of those of class 3, a third come as class 0
    made[3] = [1 / 3, 0, 0, 2 / 3]
    truth, p, values, held = (SHARES @ made)[rare].sum(), (made @ table)[drawn].cumsum(1), [], []
    for _ in range(draws):
        confusion = np.stack([rng.multinomial(60, row) for row in table])
        verdicts = (rng.random((len(drawn), 1)) > p).sum(1).clip(0, 4)
        share = Judged(drawn if told else np.full(200, 4), verdicts, confusion, SHARES).share(rare)
        values.append(share.value)
        held.append(share.low <= truth <= share.high)
    # 4 sigma, and 2 % for shares that are cut at 1 in all
    assert np.mean(values) == pytest.approx(truth, rel=0.02, abs=4 * np.std(values) / draws**0.5)
    assert np.mean(held) > 0.90  # 4 sigma below 0.95


def test_jeffreys_interval_of_none_and_all_reaches_the_end():
    low, high = jeffreys(np.array([0.0, 1.0, 0.5]), np.array([20.0, 20.0, 20.0]))
    assert (low[0], high[1]) == (0, 1)
    assert high[0] == pytest.approx(1 - low[1])
    assert high[0] == pytest.approx(stats.beta.ppf(0.975, 0.5, 20.5))
    assert low[2] == pytest.approx(1 - high[2])


def test_weighted_quantiles_and_tails_are_numpys_where_all_weigh_the_same():
    rng = np.random.default_rng(9)
    values, levels = rng.standard_exponential(57), np.linspace(0, 1, 13)
    assert quantile(values, np.full(57, 1 / 57), levels) == pytest.approx(np.quantile(values, levels))
    half = np.where(values > np.median(values), 1.0, 0.0)
    assert quantile(values, half, np.array(0.0)) == values[half > 0].min()  # what weighs nothing is not there
    assert quantile(values, half, np.array(0.5)) == pytest.approx(np.median(values[half > 0]))
    assert np.isnan(quantile(values, np.zeros(57), np.array(0.5)))
    # Two classes of one law each, of which one is drawn ten times too often: weights set it right.
    near, far = rng.standard_exponential(20_000), 5 + rng.standard_exponential(2_000)
    real = np.concatenate([rng.standard_exponential(10_000), 5 + rng.standard_exponential(10_000)])
    drawn, weights = np.concatenate([near, far]), np.repeat([0.5 / 20_000, 0.5 / 2_000], [20_000, 2_000])
    found = compare(drawn, real, weights)
    assert found["tail_ks"] < 0.03  # 0.011 +- 0.003 over 20 seeds: 6 sigma
    assert found["tail_q99"] == pytest.approx(1, abs=0.1)  # 1.00 +- 0.016
    assert compare(drawn, real)["tail_ks"] > 0.3


def test_classes_of_one_image_and_sets_of_few_samples_give_nan_and_no_error():
    rng = np.random.default_rng(10)
    labels = np.array([0] * 8 + [1] * 6 + [2])
    features = torch.from_numpy(rng.standard_normal((15, 3)))
    real = Reference.of(features, labels, CONFIG)
    assert real.confuse(features, labels, labels, np.ones(15, bool), 4, 3) is None  # class 3 has no image
    known = {"balanced": real, "longtail": real}
    for n, asked in ((1, 0), (3, 2), (12, 2), (12, 3)):
        mine = Generated(torch.from_numpy(rng.standard_normal((n, 3))), np.full(n, asked), np.full(n, min(asked, 2)))
        row = measure_images(mine, known, [8, 6, 1], replace(CONFIG, kid_subset_size=5))
        assert np.isnan([row["class_fid/2"], row["rare_share_ratio"], row["class_share_low/0"]]).all()
        assert row["samples"] == n
        assert np.isnan(row["precision/balanced"]) == (n <= 3)
