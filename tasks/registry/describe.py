"""What people read of a run in MLflow: a few lines of Markdown, and the data that went in."""

from collections.abc import Mapping
from typing import Any

from tasks.cells.selection import cell_label


def describe_result(dataset: str, metric: str, winner: Mapping[str, Any], tags: Mapping[str, str], run: str) -> str:
    """Markdown of a run and of the version that it registers: what won, how good it is, where it comes from, and a picture of the run's artifacts."""
    spread = winner[f"{metric}_std"]
    value = f"{winner[metric]:.3g}" + ("" if spread is None else f" ± {spread:.2g}")
    commit = tags["git.commit"][:7] + (" (with uncommitted changes)" if tags["git.dirty"] == "true" else "")
    return (
        f"**{winner['design']}** on **{dataset}**, sampler {cell_label(winner)}: {metric} {value} over {winner['seeds']} seeds, "
        "smaller is better.\n\n"
        f"Code {commit}, data `{tags['levy.data_md5']}`, levy {tags['levy.version']}. "
        "Samples, curves and every measure: `report/index.html` among the artifacts of its run.\n\n"
        f"![Samples](get-artifact?path=report/samples-{winner['design']}.png&run_uuid={run})\n\n"  # of the server that shows the page
        f'```python\nmlflow.pyfunc.load_model("models:/levy-{dataset}@champion").predict({{"n": 16}})\n```\n'
    )


def log_data(mlflow: Any, dataset: str, tags: Mapping[str, str]) -> None:
    """The data set as an input of the active run, by the hash that data.dvc has."""
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.data.meta_dataset import MetaDataset

    where = {name: tags[name] for name in ("git.commit", "git.remote") if name in tags}
    source = CodeDatasetSource({**where, "path": f"data/{dataset}", "dvc": "data.dvc"})
    mlflow.log_input(MetaDataset(source, name=dataset, digest=tags["levy.data_md5"]), context="training")
