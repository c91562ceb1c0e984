"""A registry with one champion, for tests that damage what it keeps."""

import pytest

from tests.support.registered import register


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """The folder of a registry, in mlflow.db, and the folder of its champion's artifact."""
    folder = tmp_path_factory.mktemp("registry")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        return folder, register(folder)
