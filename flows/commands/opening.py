"""A registered model, fetched for one command."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from levy_core.base.errors import LevyError

if TYPE_CHECKING:
    from levy_core.serving.registered import RegisteredModel


@contextmanager
def open_model(uri: str, verified: bool) -> "Iterator[tuple[RegisteredModel, Mapping[str, str]]]":
    """The model, and where it comes from, for files that keep provenance; its own files are gone after the block.

    Args:
        uri: any MLflow model URI, or a folder with an MLmodel. verified: refuse a version that `levy verify` would refuse.

    Raises:
        LevyError: no URI, no server, no such model, or files that are not what was registered.
    """
    if ":" not in uri and not (Path(uri) / "MLmodel").is_file():
        name = uri.partition("@")[0].strip(" ./") or "NAME"
        raise LevyError(f"{uri!r} is no model URI: write models:/{name}@champion, or models:/{name}/1 for a version")
    from tasks.registry import lineage, tracking
    from tasks.registry.download import fetch, resolve

    tracking.check_server(tracking.address())
    version = resolve(uri)  # of one moment, so that files say which it was
    with TemporaryDirectory(ignore_cleanup_errors=True) as scratch:  # MLflow's threads may write after a refusal
        folder = fetch(version, Path(scratch) / "model", verified)
        from levy_core.serving.registered import (
            RegisteredModel,  # imports torch, which nobody waits for if there is no such model
        )

        yield RegisteredModel(folder), lineage.origin_of(version, folder)


def given(request: Mapping[str, Any]) -> dict[str, Any]:
    """A request without what was left to the model."""
    return {name: value for name, value in request.items() if value is not None}
