"""Stage prepare: what a person brought -> a packed store, checked, with its statistics."""

from tasks.params.schema import Params
from tasks.runtime import paths, stage


def prepare(params: Params, dataset: str) -> None:
    """Reads ``data/DATASET``, checks it and writes the store in one piece; what an earlier one still holds may be used again."""
    last = paths.prepared(dataset)
    with stage.replacing_folder(last) as folder:
        params.kind(dataset).prepare(
            paths.raw(dataset), params.data[dataset], folder, last if last.exists() else None, dataset
        )
