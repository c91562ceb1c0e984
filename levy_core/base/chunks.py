"""Single rows of a zarr array, which zarr itself, whose smallest piece is a chunk, cannot read."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import zarr


@dataclass(frozen=True)
class ChunkRows:
    """The rows of an array on disk whose chunks are whole rows, neither compressed nor sharded.

    Attributes:
        shape: of a row. dtype: of its values.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    _chunks: Path
    _rows: int

    @classmethod
    def open(cls, path: Path, *dtypes: str) -> "ChunkRows":
        """An array; no row is read.

        Raises:
            ValueError: its chunks hold anything else than plain rows of one of the ``dtypes``. What zarr raises of an array that is not there.
        """
        array = zarr.open_array(path, mode="r")
        whole = array.chunks[1:] == array.shape[1:]
        if array.compressors or array.filters or array.shards or array.dtype not in dtypes or not whole:
            raise ValueError(f"its chunks are not plain rows of {' or '.join(dtypes)}")
        return cls(array.shape[1:], array.dtype.newbyteorder("<"), path / "c", array.chunks[0])

    def read(self, rows: np.ndarray, dtype: str | None = None) -> np.ndarray:
        """Rows [n, *shape] by their numbers, int64 [n], in their order, as numbers of ``dtype``; None: as they are. Python's lock is free meanwhile.

        Raises:
            OSError: a chunk that is missing or truncated; ``filename`` is its path.
        """
        found = np.empty((len(rows), *self.shape), dtype=dtype or self.dtype)
        row = None if found.dtype == self.dtype else np.empty(self.shape, self.dtype)
        chunks, places = np.divmod(rows, self._rows)
        size = self.dtype.itemsize * int(np.prod(self.shape))
        for chunk in np.unique(chunks):
            path = self._chunks.joinpath(str(chunk), *["0"] * len(self.shape))
            with path.open("rb", buffering=0) as file:
                for i in np.flatnonzero(chunks == chunk):
                    file.seek(int(places[i]) * size)
                    if file.readinto((found[i] if row is None else row).data) != size:
                        raise OSError(0, "it is truncated", str(path))
                    if row is not None:  # numpy takes five times as long for float16
                        torch.from_numpy(found[i]).copy_(torch.from_numpy(row))
        return found
