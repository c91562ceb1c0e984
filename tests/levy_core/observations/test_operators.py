"""Operators: adjoints by inner products, what they see, and what they refuse."""

import pytest
import torch

from levy_core.base.errors import LevyError
from levy_core.observations.observation import Observation
from levy_core.observations.operators import Blur, Stack, block_mean, mask, points

SHAPE = (2, 6, 8)
SCATTERED = torch.tensor([[0.0, 0.0], [2.3, 7.6], [5.0, 7.999], [4.5, 3.0]])
OPERATORS = {
    "mask": mask(torch.arange(96).view(SHAPE) % 5 == 0),
    "no cell": mask(torch.zeros(SHAPE, dtype=torch.bool)),
    "block mean": block_mean(SHAPE, (3, 2), torch.linspace(0.1, 1, 6)[:, None]),
    "points": points(SHAPE, SCATTERED, wrap=True),
    "blur": Blur(SHAPE, 1.3),
    "odd blur": Blur((1, 5, 7), 0.8),
}
OPERATORS["stack"] = Stack((OPERATORS["mask"], OPERATORS["blur"], OPERATORS["points"]))


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_adjoint_keeps_inner_products(name, dtype):
    operator, g = OPERATORS[name], torch.Generator().manual_seed(0)
    x = torch.randn(3, *operator.shape, generator=g, dtype=dtype)
    v = torch.randn(3, operator.rows, generator=g, dtype=dtype)
    seen, back = operator.apply(x), operator.adjoint(v)
    assert (seen.shape, back.shape, seen.dtype, back.dtype) == (v.shape, x.shape, dtype, dtype)
    torch.testing.assert_close((seen * v).sum(1), (x * back).flatten(1).sum(1), rtol=1e-4, atol=1e-5)
    if dtype == torch.float64:
        torch.testing.assert_close((seen * v).sum(1), (x * back).flatten(1).sum(1), rtol=1e-12, atol=1e-12)


def test_a_mask_sees_cells_as_they_are():
    x = torch.randn(2, *SHAPE)
    observed = torch.arange(96).view(SHAPE) % 5 == 0
    assert torch.equal(mask(observed).apply(x), x[:, observed])


def test_block_means_are_weighted_by_area():
    x = torch.arange(8.0).view(1, 2, 4)
    assert block_mean((2, 4), (2, 2)).apply(x).tolist() == [[2.5, 4.5]]
    area = torch.tensor([[3.0], [1.0]])  # the upper row counts three times
    assert block_mean((2, 4), (2, 2), area).apply(x).tolist() == [[1.5, 3.5]]


def test_points_interpolate_linear_fields_exactly_and_go_around():
    rows, columns = torch.meshgrid(torch.arange(6.0), torch.arange(8.0), indexing="ij")
    at = torch.tensor([[2.25, 3.5], [5.0, 7.0], [0.0, 0.1]])
    seen = points((6, 8), at).apply((2 * rows - 3 * columns)[None])
    torch.testing.assert_close(seen[0], 2 * at[:, 0] - 3 * at[:, 1])
    around = points((6, 8), torch.tensor([[1.0, 7.75]]), wrap=True).apply(columns[None])
    torch.testing.assert_close(around, torch.tensor([[0.25 * 7 + 0.75 * 0]]))


def test_a_blur_keeps_the_mean_and_spreads_a_point_by_its_width():
    at = torch.arange(32, dtype=torch.float64) - 16
    x = torch.zeros(1, 32, 32, dtype=torch.float64)
    x[0, 16, 16] = 1
    seen = Blur((32, 32), 2.0).apply(x).view(32, 32)
    assert abs(float(seen.sum()) - 1) < 1e-12
    assert abs(float((seen.sum(1) * at**2).sum()) - 4) < 1e-6


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: mask(torch.ones(3)), "must be bool"),
        (lambda: block_mean((6, 8), (4, 2)), "4 x 2 cells do not divide fields of 6 x 8"),
        (lambda: block_mean((6, 8), (2, 2), torch.zeros(6, 1)), "need positive numbers"),
        (lambda: points((6, 8), torch.tensor([[1.0, 1.0], [5.1, 0.0]])), "number 1, at row 5.1, column 0: rows go from 0 to 5"),
        (lambda: points((6, 8), torch.tensor([[1.0, 7.5]])), "columns from 0 to 7"),
        (lambda: points((6, 8), torch.tensor([[float("nan"), 1.0]])), "1 of 1 points lie outside"),
        (lambda: points((6, 8), torch.zeros(4)), r"must be \[points, 2\]"),
        (lambda: Blur((6, 8), 0.0), "must be above 0"),
        (lambda: Stack((Blur((6, 8), 1.0), Blur((8, 6), 1.0))), "cannot be stacked"),
    ],
)  # fmt: skip
def test_operators_refuse_what_they_cannot_see(make, says):
    with pytest.raises(LevyError, match=says):
        make()


@pytest.mark.parametrize(
    ("values", "std", "says"),
    [
        ([1.0, 2.0], 0.0, r"are \[2\], but the operator sees 3"),
        ([1.0, float("nan"), 2.0], 0.0, "1 of 3 observed values are NaN"),
        ([1.0, 2.0, 3.0], -1.0, "std is"),
        ([1.0, 2.0, 3.0], 0.0, "contradict each other: no sample has values number 0 .1. and number 2 .3. at once"),
        ([[1.0, 2.0, 1.0], [1.0, 2.0, 3.0]], 0.0, "contradict each other"),
    ],
)
def test_observations_refuse_values_that_no_sample_has(values, std, says):
    twice = points((6, 8), torch.tensor([[1.0, 2.0], [4.0, 4.0], [1.0, 2.0]]))
    with pytest.raises(LevyError, match=says):
        Observation(twice, torch.tensor(values), std)


def test_more_values_than_matrices_can_hold_are_refused_at_once():
    with pytest.raises(LevyError, match="sees 40,000 values, and at most 10,000"):
        Observation(Blur((200, 200), 2.0), torch.zeros(40_000), 0.1)


def test_values_for_one_cell_may_agree_or_have_an_error():
    twice = points((6, 8), torch.tensor([[1.0, 2.0], [4.0, 4.0], [1.0, 2.0]]))
    Observation(twice, torch.tensor([1.0, 2.0, 1.0]))
    Observation(twice, torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, 0.0, 0.1]))


def test_a_mean_that_contradicts_its_cells_is_refused():
    both = Stack((mask(torch.ones(2, 2, dtype=torch.bool)), block_mean((2, 2), (2, 2))))
    Observation(both, torch.tensor([1.0, 2.0, 3.0, 4.0, 2.5]))
    with pytest.raises(LevyError, match="contradict"):
        Observation(both, torch.tensor([1.0, 2.0, 3.0, 4.0, 2.6]))
