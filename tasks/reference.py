"""Stage reference: what samples are measured with, and what of the real data does not depend on samples, made once and kept."""

from levy_core.base.code import hash_code
from levy_core.base.determinism import make_reproducible
from levy_core.base.files import hash_json
from tasks.params.schema import Params
from tasks.runtime import paths, stage
from tasks.runtime.finished import FinishedStage, hash_contents


def reference(params: Params, dataset: str) -> None:
    """Writes the folder that the metrics of the data set's kind read; one that would be written alike is kept."""
    make_reproducible(params.compute.threads)
    kind, prepared = params.kind(dataset), paths.prepared(dataset)
    settings, device = params.evaluation(dataset), stage.device(params.compute.device)
    code = [hash_code(__name__, leaves=[__name__]), kind.hash_code("metrics")]
    decided_by = [hash_contents(prepared), settings.model_dump(mode="json"), code, device.type, params.compute.threads]
    finished = FinishedStage(paths.finished_reference(dataset), hash_json(decided_by), [paths.reference(dataset)])
    if finished.is_kept():
        print(
            f"{dataset}: the reference is kept, because its data, its settings and its code are those that it was made with"
        )
        return
    with stage.replacing_folder(paths.reference(dataset)) as folder:
        kind.make_reference(prepared, folder, settings, device, dataset)
    finished.write()
