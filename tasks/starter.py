"""Makes the starter data: scikit-learn's handwritten digits as ``data/digits/digits.zip``, a sub-folder of PNGs per class.

Run once by the maintainers (`python -m tasks.starter`), then `dvc add data` and `dvc push -r starter`; people get it by `dvc pull`.
"""

import io
import zipfile

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from tasks import paths


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [1797, 8, 8] (the original 0..16 spread over 0..255) and labels int64 [1797]."""
    bunch = load_digits()
    return np.rint(bunch.images * (255 / 16)).astype(np.uint8), bunch.target


def main() -> None:
    """Writes the zip, with fixed dates so that its hash is fixed."""
    path = paths.raw("digits") / "digits.zip"
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for number, (image, label) in enumerate(zip(*digits(), strict=True)):
            png = io.BytesIO()
            Image.fromarray(image).save(png, "PNG")
            archive.writestr(zipfile.ZipInfo(f"{label}/{number:04d}.png"), png.getvalue())


if __name__ == "__main__":
    main()
