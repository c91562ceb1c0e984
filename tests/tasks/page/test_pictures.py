"""Sheets of images: where each image lies, and how large it is."""

import numpy as np
import pytest

from tasks.page.pictures import APART, COMPARED, draw_comparison


def images_of(n, size, first, channels=1):
    """Images of one value each: first, first + 1, ..."""
    return np.broadcast_to(np.arange(first, first + n, dtype=np.uint8)[:, None, None, None], (n, channels, size, size))


@pytest.mark.parametrize(("size", "zoom"), [(8, 6), (28, 1), (32, 1), (64, 1), (16, 3)])
def test_real_images_stand_above_generated_ones_enlarged_by_a_whole_number(size, zoom):
    real, generated = images_of(4, size, 0), images_of(30, size, 200)
    sheet = np.asarray(draw_comparison([real, generated]))
    tile = size * zoom + APART
    assert sheet.shape == (2 * tile, COMPARED * tile)
    for row, first, n in ((0, 0, 4), (1, 200, COMPARED)):
        for k in range(n):
            part = sheet[row * tile : (row + 1) * tile - APART, k * tile : (k + 1) * tile - APART]
            assert (part == first + k).all()
    assert (sheet[:tile, 4 * tile :] == 128).all()  # a class with four images


def test_pixels_are_repeated_not_smoothed_and_a_row_may_be_empty():
    image = np.random.default_rng(0).integers(0, 256, (1, 3, 8, 8), dtype=np.uint8)
    sheet = np.asarray(draw_comparison([image, image[:0]]))
    assert np.array_equal(sheet[:48:6, :48:6], image[0].transpose(1, 2, 0))
    assert set(np.unique(sheet[:48, :48])) == set(np.unique(image))
    assert (sheet[52:] == 128).all()
