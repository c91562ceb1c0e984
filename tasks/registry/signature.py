"""What MLflow is told of a registered model's requests."""

from typing import Any

from levy_core.serving.requests import COLUMNS


def inputs() -> Any:
    """MLflow's schema of the keys of a request, each of any type: told of types its server makes 1 of 1.5, of "1" and of true.

    levy's own check of types (``levy_core.serving.requests.typed``) sees what was sent.
    """
    from mlflow.types import ColSpec, Schema
    from mlflow.types.schema import AnyType

    return Schema([ColSpec(AnyType(), name, required=False) for name in COLUMNS])
