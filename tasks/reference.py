"""Stage reference: what samples are measured with, and what of the real data does not depend on samples, made once and kept."""

from levy_core.base.determinism import make_reproducible
from tasks.params.schema import Params
from tasks.runtime import paths, stage


def reference(params: Params, dataset: str) -> None:
    """Writes the folder that the metrics of the data set's kind read."""
    make_reproducible(params.compute.threads)
    with stage.replacing_folder(paths.reference(dataset)) as folder:
        params.kind(dataset).make_reference(
            paths.prepared(dataset), folder, params.evaluation(dataset), stage.device(params.compute.device), dataset
        )
