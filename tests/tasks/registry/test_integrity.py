"""No bit of a registered model can change, and no file be cut, grown or lost, without every way to load it refusing and naming the file."""

import logging
import random

import mlflow
import pytest

from flows import cli
from levy_core.base.errors import LevyError
from levy_core.base.manifest import MANIFEST, check_manifest, format_manifest, parse_manifest, sha256_of_files
from levy_core.serving.registered import RegisteredModel, _load_pyfunc
from tasks.registry import integrity
from tasks.registry.download import fetch
from tests.support.databases import put_database
from tests.support.registered import NAME, register

URI = f"models:/{NAME}@champion"
BITS = 6  # of each file


@pytest.fixture
def artifact(registry, monkeypatch):
    """The artifact, whose files are as before afterwards."""
    folder, artifact = registry
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    kept = {path: path.read_bytes() for path in artifact.rglob("*") if path.is_file()}
    yield artifact
    for path in artifact.rglob("*"):
        if path.is_file() and path not in kept:
            path.unlink()
    for path, content in kept.items():
        path.write_bytes(content)


def damaged(content):
    """The contents of a file after each kind of damage: single bits all over it, cut off, grown, empty, and None: gone."""
    draws = random.Random(0)
    for bit in [0, 8 * len(content) - 1, *(draws.randrange(8 * len(content)) for _ in range(BITS))]:
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        yield bytes(flipped)
    yield from (content[: len(content) // 2], content + b"\0" * 4096, b"", None)


def put(path, content):
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_bytes(content)


def test_every_damage_to_every_file_is_refused_by_what_fetches_and_the_file_is_named(artifact, tmp_path):
    files = sorted(path for path in artifact.rglob("*") if path.is_file() and path.name != integrity.OF_DOWNLOADS)
    assert {"MLmodel", "model.safetensors", "design.json", "sampler.json", MANIFEST, "params.yaml"} <= {
        p.name for p in files
    }
    for number, path in enumerate(files):
        content = path.read_bytes()
        for kind, changed in enumerate(damaged(content)):
            put(path, changed)
            with pytest.raises(LevyError) as refusal:
                fetch(URI, tmp_path / f"{number}-{kind}")
            assert path.name in str(refusal.value)
            assert f"levy restore models:/{NAME}/1" in str(refusal.value)
            assert "\n" not in str(refusal.value)
        put(path, content)
    fetch(URI, tmp_path / "whole")


def test_every_damage_to_levys_own_files_is_refused_by_mlflows_loader(artifact):
    inner = artifact / integrity.INNER
    for path in sorted(p for p in inner.rglob("*") if p.is_file()):
        content = path.read_bytes()
        for changed in damaged(content):
            put(path, changed)
            with pytest.raises(LevyError) as refusal:
                _load_pyfunc(str(inner))
            assert path.name in str(refusal.value) or path.name == MANIFEST
            assert "\n" not in str(refusal.value)
        put(path, content)
    assert mlflow.pyfunc.load_model(URI).predict([{"n": 1}]).shape == (1, 8, 8, 1)


@pytest.mark.parametrize("name", ["model.safetensors", "sampler.json", "design.json"])
def test_levy_sample_ends_with_one_line(artifact, monkeypatch, tmp_path, name):
    path = artifact / integrity.INNER / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    monkeypatch.setattr("sys.argv", ["levy", "sample", str(tmp_path / "out"), "--model", URI])
    with pytest.raises(SystemExit) as end:
        cli.dispatch()
    assert str(end.value).startswith("error: ")
    assert name in str(end.value)
    assert "\n" not in str(end.value)
    assert not (tmp_path / "out").exists()


def test_a_file_that_was_added_is_refused(artifact, tmp_path):
    (artifact / integrity.INNER / "lineage" / "new").touch()
    with pytest.raises(LevyError, match="lineage/new is not on record"):
        fetch(URI, tmp_path / "copy")


def test_a_model_of_an_earlier_version_loads_and_says_once_that_nothing_was_compared(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", put_database(tmp_path))
    artifact = register(tmp_path, sealed=False)
    caplog.clear()  # MLflow loaded it for its example
    with caplog.at_level(logging.WARNING, "levy"):
        RegisteredModel(fetch(URI, tmp_path / "copy"))
    said = [record.getMessage() for record in caplog.records if record.name == "levy"]
    assert len(said) == 1
    assert "was written by an earlier levy" in said[0]
    for number, text in enumerate(
        ("", "{", "[]", '{"default": 3}', '{"default": 3, "samplers": {"3": {"family": "x"}}}', "\xff")
    ):
        (artifact / integrity.INNER / "sampler.json").write_bytes(text.encode("latin1"))
        with pytest.raises(LevyError, match=r"sampler.json is damaged"):
            RegisteredModel(fetch(URI, tmp_path / str(number)))


def test_a_manifest_is_that_of_sha256sum_and_reads_as_written(tmp_path):
    hashes = {"b c": "0" * 64, "a/b": "f" * 64}
    assert parse_manifest(format_manifest(hashes)) == hashes
    for text in ("", "x", format_manifest(hashes)[:-1], format_manifest(hashes) * 2):
        with pytest.raises(ValueError, match="were expected"):
            parse_manifest(text)
    (tmp_path / MANIFEST).write_bytes(b"\xff")
    with pytest.raises(LevyError, match="is damaged"):
        check_manifest(tmp_path)
    assert sha256_of_files(tmp_path) == {}
