"""Stage reference: what samples are measured with, and what of the real data does not depend on samples, made once and kept."""

from tasks.kinds.metrics import ruler_of
from tasks.params.schema import Params
from tasks.runtime import paths, stage


def reference(params: Params, dataset: str) -> None:
    """Writes the folder that the data set's ruler reads."""
    stage.reproducible(params.compute.threads)
    with stage.replacing_folder(paths.reference(dataset)) as folder:
        ruler_of(params.data[dataset].kind).make(params, dataset, folder)


if __name__ == "__main__":
    stage.main(reference, "dataset")
