"""A registry with one champion, for tests that damage what it keeps."""

import pytest

from tests.support.registered import register, registry_in


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """The folder of a registry, in mlflow.db, and the folder of its champion's artifact."""
    folder = tmp_path_factory.mktemp("registry")
    with registry_in(folder):
        return folder, register(folder)
