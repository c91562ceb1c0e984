"""Patches on a field: they cover it, their weights are shares, and training meets every cell as often as is said."""

from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from levy_core.base.errors import LevyError
from levy_core.base.patches import Cover, Patches
from levy_core.base.seeds import generator

SIZES = st.integers(1, 40)


@st.composite
def covers(draw):
    height, width = draw(SIZES), draw(SIZES)
    side = draw(st.integers(1, height)), draw(st.integers(1, width))
    return Cover(Patches(side, draw(st.integers(0, min(side) - 1))), height, width, draw(st.booleans()))


def rows_and_columns(cover, place):
    (row, column), (h, w) = place, cover.patches.side
    return torch.arange(row, row + h), torch.arange(column, column + w) % cover.width


@given(covers())
def test_weights_of_a_cell_sum_to_one_and_none_is_zero(cover):
    total = torch.zeros(cover.height, cover.width)
    pairs = [(down, across) for down in cover.weights[0] for across in cover.weights[1]]
    for place, (down, across) in zip(cover.places, pairs, strict=True):
        rows, columns = rows_and_columns(cover, place)
        total[rows[:, None], columns] += down[:, None] * across
    assert (total - 1).abs().max() < 1e-6  # a few float32 roundings of 6e-8
    assert all((weights > 0).all() for weights in cover.weights)


@given(covers())
def test_neighbours_have_the_overlap_in_common_and_there_is_no_patch_too_many(cover):
    for axis, (side, size) in enumerate(zip(cover.patches.side, (cover.height, cover.width), strict=True)):
        starts = sorted({place[axis] for place in cover.places})
        closed = axis == 1 and cover.closed
        ends = [*starts, starts[0] + size] if closed else starts
        assert all(0 < after - before <= side - cover.patches.overlap for before, after in pairwise(ends))
        assert starts[0] == 0
        step, one = side - cover.patches.overlap, side == size
        if closed:
            assert len(starts) == -(-size // step)
        else:
            assert starts[-1] == size - side
            assert one or (len(starts) - 2) * step < size - side


def test_weights_fall_to_the_edge_of_a_patch_and_are_one_where_it_is_alone():
    down, _ = Cover(Patches((16, 8), 4), 40, 8).weights
    assert len(down) == 3
    assert torch.equal(down[:, 4:12][1], torch.ones(8))
    assert torch.equal(down[0, :12], torch.ones(12))  # at the edge of the field there is no other
    assert (down[1, :4].diff() > 0).all()
    assert down[1, 0] < 0.05


@pytest.mark.parametrize(
    ("side", "overlap", "message"),
    [
        ((0, 8), 0, r"patches.side is \[0, 8\], but height and width must be at least 1"),
        ((8, 16), 8, r"patches.overlap is 8, but must lie between 0 and 7: neighbours of 8 x 16"),
        ((8, 8), -1, r"patches.overlap is -1, but must lie between 0 and 7"),
    ],
)
def test_sizes_that_make_no_patches_are_refused(side, overlap, message):
    with pytest.raises(LevyError, match=message):
        Patches(side, overlap)


@pytest.mark.parametrize(
    "said",
    [
        8,
        [8, 8],
        {"side": 8, "overlap": 2},
        {"side": [8], "overlap": 2},
        {"side": [8, 8.0], "overlap": 2},
        {"side": [8, 8]},
        {"side": [8, 8], "overlap": True},
        {"side": [8, 8], "overlap": 2, "steps": 1},
    ],
)
def test_what_says_no_size_is_refused(said):
    with pytest.raises(
        LevyError, match=r"^patches is .*but must say side, .* such as \{side: \[64, 64\], overlap: 16\}"
    ):
        Patches.from_mapping(said)


def test_patches_larger_than_the_field_are_refused_and_one_as_large_is_no_patch():
    patches = Patches.from_mapping({"side": [8, 12], "overlap": 2})
    assert Patches.from_mapping(patches.to_mapping()) == patches
    with pytest.raises(
        LevyError, match=r"patches.side is \[8, 12\], but a field has 8 x 11 cells: take smaller patches"
    ):
        Cover.of(patches, (2, 8, 11))
    assert Cover.of(patches, (2, 8, 12)) is None
    assert Cover.of(None, (2, 8, 11)) is None
    assert Cover.of(patches, (2, 9, 12), True).closed is False  # its last axis is as wide as the patch


@given(covers(), st.integers(0, 2**31))
def test_a_patch_that_is_cut_is_that_part_of_the_field(cover, seed):
    x = torch.arange(2 * cover.height * cover.width).view(2, 1, cover.height, cover.width)
    places = cover.draw(2, generator(seed))
    for field, found, place in zip(x, cover.cut(x, places), places.tolist(), strict=True):
        rows, columns = rows_and_columns(cover, place)
        assert (rows < cover.height).all()
        assert cover.closed or place[1] + cover.patches.side[1] <= cover.width
        assert torch.equal(found[0], field[0][rows[:, None], columns])
    assert torch.equal(cover.cut(x[0], places[:1]), cover.cut(x[:1], places[:1]))


def exact_coverage(side, size):
    """Probability that a cell of a box is in a patch, over the cells: the place is that of u, uniform over 1 - side, ..., size - 1."""
    starts = [min(max(u, 0), size - side) for u in range(1 - side, size)]
    return [Fraction(sum(s <= cell < s + side for s in starts), len(starts)) for cell in range(size)]


def test_no_cell_of_a_box_is_trained_less_often_than_one_in_the_middle():
    for side, size in ((1, 9), (4, 9), (5, 40), (32, 64)):
        found = exact_coverage(side, size)
        assert min(found) == Fraction(side, size + side - 1)
        assert found[0] == min(found)
        assert max(found) < 2 * min(found)
    assert set(exact_coverage(9, 9)) == {1}


def test_cells_are_drawn_with_their_probability():
    """Each share of 20,000 draws within 5 standard deviations: of 28 + 24 shares a false alarm of 3e-5, and the seed is fixed."""
    n, cover = 20_000, Cover(Patches((8, 8), 2), 28, 24, True)
    places = cover.draw(n, generator(1, "places"))
    assert [int(places[:, 1].min()), int(places[:, 1].max())] == [0, 23]
    seen = [((places[:, axis, None] + torch.arange(8)) % size) for axis, size in ((0, 28), (1, 24))]
    shares = [cells.flatten().bincount(minlength=size) / n for cells, size in zip(seen, (28, 24), strict=True)]
    expected = (torch.tensor([float(p) for p in exact_coverage(8, 28)]), torch.full((24,), 8 / 24))
    for share, p in zip(shares, expected, strict=True):
        assert ((share - p).abs() < 5 * (p * (1 - p) / n).sqrt()).all()
