"""A part of an image that was seen: the opaque pixels of a picture, as the network sees them."""

import numpy as np
import pytest
from PIL import Image

from levy_core.base.errors import LevyError
from levy_core.datasets.images.observed import read_observed


def picture(path, channels, seen, size=8):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (size, size, channels + 1), dtype=np.uint8)
    pixels[..., -1] = np.where(seen, 255, 0)
    Image.fromarray(pixels, "LA" if channels == 1 else "RGBA").save(path)
    return pixels[..., :-1].transpose(2, 0, 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_opaque_pixels_are_values_of_the_flattened_sample(tmp_path, channels):
    seen = np.random.default_rng(1).random((8, 8)) < 0.5
    pixels = picture(tmp_path / "a.png", channels, seen)
    found = read_observed(tmp_path / "a.png", (channels, 8, 8), 12.75)
    flat = (pixels / 127.5 - 1).reshape(-1)
    assert np.array_equal(flat[found.cells[:, 0]], found.values)
    assert found.cells[:, 0].tolist() == np.flatnonzero(np.broadcast_to(seen, (channels, 8, 8)).reshape(-1)).tolist()
    assert np.allclose(found.std, 0.1)
    assert found.text == f"{seen.sum()} of 64 pixels"
    assert found.label is None


def test_a_picture_without_transparency_is_seen_as_a_whole(tmp_path):
    Image.new("L", (8, 8), 51).save(tmp_path / "a.png")
    found = read_observed(tmp_path / "a.png", (1, 8, 8), 0.0)
    assert len(found.values) == 64
    assert np.allclose(found.values, -0.6)


def test_pictures_that_cannot_be_used_are_named(tmp_path):
    picture(tmp_path / "large.png", 1, np.ones((9, 9), dtype=bool), 9)
    picture(tmp_path / "unseen.png", 1, np.zeros((8, 8), dtype=bool))
    (tmp_path / "half.png").write_bytes((tmp_path / "large.png").read_bytes()[:60])
    (tmp_path / "text.png").write_text("no picture")
    Image.new("L", (8, 8)).save(tmp_path / "script.png", "EPS")  # which Pillow gives to Ghostscript
    (tmp_path / "header.png").write_bytes((tmp_path / "large.png").read_bytes().replace(b"IDAT", b"\xe3\xe0\x06\x9f"))
    Image.fromarray(np.full((8, 8), 30_000, dtype=np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(np.full((8, 8), 0.5, dtype=np.float32)).save(tmp_path / "real.tif")
    for name, message in (
        ("large.png", "has 9 x 9 pixels, but the model draws 8 x 8"),
        ("unseen.png", "has no opaque pixel"),
        ("half.png", "is not a readable image"),
        ("text.png", "is not a readable image"),
        ("script.png", "is not a readable image"),
        ("header.png", "is not a readable image"),
        ("deep.png", "has pixel mode 'I;16'"),  # all of it would be white
        ("real.tif", "has pixel mode 'F'"),  # and black
        ("none.png", "is not a readable image"),
        ("", "is not a readable image"),
    ):
        with pytest.raises(LevyError, match=message):
            read_observed(tmp_path / name, (1, 8, 8), 0.0)
