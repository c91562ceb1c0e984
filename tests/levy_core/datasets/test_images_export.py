"""Files of drawn images: pixels as they were drawn, and the class that was asked for of each."""

import csv

import numpy as np
import pytest
from PIL import Image

from levy_core.base.samples import RECORDED, Samples
from levy_core.datasets.images.export import ImageExporter


@pytest.mark.parametrize("channels", [1, 3])
def test_files_have_the_pixels_and_the_list_has_the_classes(tmp_path, channels):
    samples = Samples("images", ("a,b", "ü"), RECORDED["images"]["dtype"], RECORDED["images"]["exporter"])
    drawn = np.random.default_rng(0).integers(0, 256, (3, channels, 4, 5), dtype=np.uint8)
    assert ImageExporter(tmp_path, samples).write(drawn, np.array([1, 0, samples.no_class]), {}, tmp_path) == "3 images"
    with (tmp_path / "samples.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["class"] for row in rows] == ["ü", "a,b", ""]
    for row, image in zip(rows, drawn, strict=True):
        read = np.asarray(Image.open(tmp_path / row["file"]))
        assert (read == (image[0] if channels == 1 else image.transpose(1, 2, 0))).all()
