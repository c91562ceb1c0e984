"""What opens a model for a command says what is wrong with its name before it asks any server."""

import pytest

from flows.commands.opening import open_model
from levy_core.base.errors import LevyError


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("levy-digits", "levy-digits"),
        ("levy-digits@champion", "levy-digits"),
        ("", "NAME"),
        (".", "NAME"),
        (" ", "NAME"),
    ],
)
def test_a_name_without_a_scheme_is_told_how_a_uri_is_written(uri, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = rf"'{uri}' is no model URI: write models:/{name}@champion, or models:/{name}/1 for a version"
    with pytest.raises(LevyError, match=message), open_model(uri, verified=False):
        pytest.fail("it was opened")
