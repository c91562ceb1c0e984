"""Nothing that comes from a store, an archive or params.yaml runs: no unpickling, no way out of a folder, no shell."""

import ast
import gzip
import io
import json
import os
import pickle
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
import zarr

from levy_core.base.errors import LevyError
from levy_core.datasets.images.archives import files_of_tar
from levy_core.datasets.images.pictures import FORMATS, IMAGE_SUFFIXES
from levy_core.datasets.images.sources import open_source
from levy_core.datasets.images.store import read_group
from levy_core.metrics.images.fidelity import Features
from levy_core.nets.unet import UNetConfig
from levy_core.training.checkpoint import load_model
from tasks.cells.store import read_cells
from tasks.params import loading
from tasks.registry.download import fetch
from tests.conftest import ROOT, Checkout, merged, save_untrained
from tests.support.databases import put_database

# What unpickles, evaluates or hands text to a shell, by the last parts of its dotted name.
DANGEROUS = {
    "eval", "exec", "compile", "__import__", "pickle.load", "pickle.loads", "pickle.Unpickler", "torch.load", "torch.jit.load", "joblib.load",
    "cloudpickle.load", "cloudpickle.loads", "dill.load", "dill.loads", "marshal.load", "marshal.loads", "shelve.open", "np.load", "pd.read_pickle",
    "yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "os.system", "os.popen", "subprocess.getoutput",
    "extractall", "extract", "unpack_archive", "tempfile.mktemp",
}  # fmt: skip
BUILT_IN = {"eval", "exec", "compile", "__import__"}  # a method of that name, as `net.eval()`, is another thing
# Each stands with its reason; a new one needs one too.
EXCEPTIONS = {
    (
        "levy_core/datasets/images/cifar.py",
        "pickle.Unpickler",
    ): "resolves no name of the archive: see the test of the planted batch",
    (
        "levy_core/metrics/images/fidelity.py",
        "torch.load",
    ): "weights_only=True: plain tensors, and refuses everything else",
    ("flows/reproduce/differences.py", "np.load"): "allow_pickle=False",
    ("tasks/cells/store.py", "np.load"): "allow_pickle=False",
}
SAFE_ARGUMENTS = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}
CODE = [path for package in ("levy_core", "tasks", "flows") for path in sorted((ROOT / package).rglob("*.py"))]


def dotted(node: ast.AST) -> str:
    """``a.b.c`` of a name or attribute."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value) or '?'}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def dangers(path: Path) -> list[tuple[str, ast.AST]]:
    """What a module mentions of ``DANGEROUS``, and keyword arguments that ask for a shell or for pickles."""
    found: list[tuple[str, ast.AST]] = []
    tree = ast.parse(path.read_text())
    called = {id(call.func): call for call in ast.walk(tree) if isinstance(call, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(
            node.ctx, ast.Load
        ):  # a field `compile: bool` uses nothing
            name = dotted(node)
            for danger in {name, ".".join(name.split(".")[-2:]), name.split(".")[-1]} & DANGEROUS:
                if danger in BUILT_IN and name != danger:
                    continue
                found.append((danger, called.get(id(node), node)))
        if isinstance(node, ast.ImportFrom) and node.module:
            found += [(f"{node.module}.{a.name}", node) for a in node.names if f"{node.module}.{a.name}" in DANGEROUS]
        if isinstance(node, ast.keyword) and node.arg in ("shell", "allow_pickle", "weights_only"):
            safe = node.arg == "weights_only"
            if not (isinstance(node.value, ast.Constant) and node.value.value is safe):
                found.append((f"{node.arg}={ast.unparse(node.value)}", node))
    return found


def test_no_code_unpickles_evaluates_or_asks_for_a_shell():
    found = {(str(path.relative_to(ROOT)), name) for path in CODE for name, _ in dangers(path)}
    assert found == set(EXCEPTIONS)


def test_what_could_unpickle_is_told_not_to():
    for path, name in EXCEPTIONS:
        if name in SAFE_ARGUMENTS:
            keyword, value = SAFE_ARGUMENTS[name]
            for found, call in dangers(ROOT / path):
                assert found != name or {
                    k.arg: ast.literal_eval(k.value) for k in call.keywords if k.arg == keyword
                } == {keyword: value}


@pytest.mark.parametrize(
    "code",
    [
        "import torch\ntorch.load('x')",
        "import pickle as p\nfrom pickle import loads",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "import subprocess\nsubprocess.run('ls', shell=True)",
        "eval('1')",
        "import yaml\nyaml.load('x', yaml.Loader)",
        "import tarfile\ntarfile.open('x').extractall()",
        "read = __import__('pickle').loads",
        "import pandas as pd\npd.read_pickle('x')",
    ],
)  # fmt: skip
def test_the_audit_sees_what_it_is_there_to_see(tmp_path, code):
    (tmp_path / "bad.py").write_text(code)
    assert dangers(tmp_path / "bad.py")


class Planted:
    """Unpickled, it makes a file: the proof that something ran."""

    def __init__(self, proof: Path):
        self.proof = proof

    def __reduce__(self):
        return (os.mkdir, (str(self.proof),))


@pytest.fixture
def planted(tmp_path):
    """A pickle that makes a folder when it is read, and the folder."""
    proof = tmp_path / "it-ran"
    text = pickle.dumps(Planted(proof))
    yield text, proof
    assert not proof.exists()
    pickle.loads(text)
    assert proof.exists()  # it would have


NET = UNetConfig(shape=(1, 8, 8), classes=2, channels=(8,))


def test_a_registered_model_of_another_maker_is_refused_before_anything_of_it_runs(tmp_path, monkeypatch, planted):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", put_database(tmp_path))
    text, proof = planted
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "model.pkl").write_bytes(text)
    flavor = {"loader_module": "mlflow.sklearn", "data": "model.pkl", "python_version": "3.11.7"}
    (foreign / "MLmodel").write_text(yaml.safe_dump({"flavors": {"python_function": flavor}}))
    with pytest.raises(LevyError, match=r"foreign is no model of levy \(its loader is 'mlflow.sklearn'\)"):
        fetch(foreign.as_uri(), tmp_path / "copy")
    assert not proof.exists()
    with pytest.raises(LevyError, match="models:/none@champion cannot be read from sqlite"):
        fetch("models:/none@champion", tmp_path / "other")


def test_a_pickle_in_place_of_weights_does_not_run(tmp_path, planted):
    text, _ = planted
    folder = save_untrained(tmp_path / "model", NET, ("a", "b"))
    (folder / "model.safetensors").write_bytes(text)
    with pytest.raises(LevyError, match="cannot be read as safetensors"):
        load_model(folder)


def test_a_pickle_in_place_of_samples_does_not_run(tmp_path, planted):
    text, proof = planted
    solver = {"family": "ode", "discretisation": "ei-noise", "grid": "karras", "steps": 2}
    (tmp_path / "cells.json").write_text(json.dumps({"key": {"settings": solver, "label": "ODE", "seed": 0, "nfe": 2}}))
    for content in (text, npy_of_objects(proof)):
        (tmp_path / "key.npy").write_bytes(content)
        with pytest.raises(LevyError, match="holds no complete grid"):
            read_cells(tmp_path)


def npy_of_objects(proof: Path) -> bytes:
    """A numpy file of objects, which numpy would unpickle."""
    path = proof.with_name("objects.npy")
    np.save(path, np.array([Planted(proof)], dtype=object), allow_pickle=True)
    return path.read_bytes()


def test_a_pickle_in_place_of_inception_weights_does_not_run(tmp_path, planted):
    text, _ = planted
    path = tmp_path / "weights.pth"
    for write in (lambda: path.write_bytes(text), lambda: torch.save(Planted(tmp_path / "it-ran"), path)):
        write()
        with pytest.raises(LevyError, match="cannot be loaded"):
            Features(tmp_path / "classifier", path)


@pytest.mark.parametrize("codec", ["pickle", "numpy.pickle"])
def test_a_zarr_store_that_asks_for_pickled_objects_does_not_run(tmp_path, planted, codec):
    text, _ = planted
    group = tmp_path / "images.zarr" / "train"
    zarr.open_group(group, mode="w", zarr_format=2)
    described = {"zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "compressor": None, "fill_value": None,
                 "order": "C", "filters": [{"id": codec, "protocol": 5}]}  # fmt: skip
    for name in ("image", "label"):
        (group / name).mkdir()
        (group / name / ".zarray").write_text(json.dumps(described))
        (group / name / ".zattrs").write_text('{"_ARRAY_DIMENSIONS": ["sample"]}')
        (group / name / "0").write_bytes(text)
    with pytest.raises(LevyError, match="no readable group"):
        read_group(tmp_path / "images.zarr", "train")


def test_a_gzipped_idx_file_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("levy_core.datasets.images.archives.MAX_MEMBER_BYTES", 1000)
    for kind in ("images-idx3", "labels-idx1"):
        (tmp_path / f"train-{kind}-ubyte.gz").write_bytes(gzip.compress(bytes(10**6)))
    with pytest.raises(LevyError, match=r"train-images-idx3-ubyte.gz unpacks to more than the limit of 1,000"):
        open_source(tmp_path)


def test_a_tar_of_many_members_that_are_too_much_together_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("levy_core.datasets.images.archives.MAX_MEMBER_BYTES", 1000)
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
        for number in range(3):
            info = tarfile.TarInfo(f"cifar-10-batches-py/data_batch_{number}")
            info.size = 400
            archive.addfile(info, io.BytesIO(bytes(400)))
    with pytest.raises(LevyError, match=r"all that it holds unpacks to 1,200 bytes"):
        open_source(tmp_path)


READ_AND_MEASURE = """
import sys
from pathlib import Path
from docs.benchmarks.memory import peak
from levy_core.datasets.images.sources import open_source
from levy_core.base.errors import LevyError

before = peak()
try:
    open_source(Path(sys.argv[1]))
except LevyError as error:
    print(error)
print(peak() - before)
"""


def header(kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def tar_bomb(kind: str) -> Iterator[bytes]:
    """Tar files of 200 MiB and more, nearly all of it headers."""
    long = {"long name": b"L", "long link": b"K", "attributes": b"x", "attributes of all": b"g"}
    if kind in long:
        yield header(long[kind], 200 * 2**20)
        yield from (b"a" * 2**20 for _ in range(200))
    elif kind == "many files":
        one = tarfile.TarInfo("cifar-10-batches-py/data_batch_1").tobuf()
        yield from (one * 2048 for _ in range(200))
    elif kind == "long name after a file":
        member = tarfile.TarInfo("cifar-10-batches-py/data_batch_1")
        member.size = 2**20
        yield member.tobuf() + bytes(2**20)
        yield from tar_bomb("long name")


@pytest.mark.parametrize(
    "kind", ["long name", "long link", "attributes", "attributes of all", "many files", "long name after a file"]
)
def test_headers_of_a_tar_that_unpack_to_too_much_are_refused_before_they_are_in_memory(tmp_path, kind):
    with gzip.open(tmp_path / "cifar-10-python.tar.gz", "wb", compresslevel=1) as archive:
        for part in tar_bomb(kind):
            archive.write(part)
    assert (tmp_path / "cifar-10-python.tar.gz").stat().st_size < 3 * 2**20
    done = subprocess.run(
        [sys.executable, "-c", READ_AND_MEASURE, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    *said, grown = done.stdout.strip().split("\n")
    assert int(grown) < 30  # MiB, of which the allocator and the 2,048 members that are allowed take some
    assert "cifar-10-python.tar.gz has more than 1,048,576 bytes of headers" in "".join(said)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_sound_tars_of_every_form_are_read_with_their_long_names(tmp_path, mode, form):
    written = {f"{'long/' * 30}{number}": bytes([number]) * 700 for number in range(3)}
    with tarfile.open(tmp_path / "x.tar", mode, format=form) as archive:
        for name, data in written.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    assert {"/".join(parts): data for parts, data in files_of_tar(tmp_path / "x.tar")} == written


def test_a_zip_whose_header_lies_about_a_size_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("a/0.png", "b/0.png"):
            archive.writestr(name, bytes(10**6))
    announced, lie = (10**6).to_bytes(4, "little"), (100).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(announced, lie))
    source = open_source(tmp_path)
    with pytest.raises(LevyError, match=r"a/0.png (cannot be unpacked|is not a readable image)"):
        source.read(0)


def test_a_picture_that_unpacks_to_too_many_pixels_is_refused(tmp_path, monkeypatch):
    from PIL import Image

    for name in "ab":
        (tmp_path / name).mkdir()
        Image.new("1", (8000, 8000)).save(tmp_path / name / "0.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10**7)  # as a picture of ten times its size would find it
    with pytest.raises(LevyError, match=r"0.png is not a readable image .*decompression bomb"):
        open_source(tmp_path).read(0)


EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 8 8
%%EndComments
0 0 8 8 rectfill
showpage
%%EOF
"""
READ_AND_WATCH = """
import sys
from pathlib import Path
from levy_core.datasets.images.pictures import FORMATS, IMAGE_SUFFIXES
from levy_core.datasets.images.sources import open_source
from levy_core.base.errors import LevyError

source, started = open_source(Path(sys.argv[1])), []
PROGRAMS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.startfile")
sys.addaudithook(lambda event, args: started.append(event) if event in PROGRAMS else None)
try:
    source.read(0)
except LevyError as error:
    print(error)
print("started", started)
"""


@pytest.mark.parametrize("packed", [False, True])
def test_an_eps_that_is_called_png_is_refused_and_starts_no_program(tmp_path, packed):
    gs, proof = tmp_path / "bin" / "gs", tmp_path / "proof"
    gs.parent.mkdir()
    gs.write_text(f"#!/bin/sh\ntouch {proof}\n")  # as Ghostscript would be found where it is installed
    gs.chmod(0o755)
    folder = tmp_path / "data"
    for name in "ab":
        (folder / name).mkdir(parents=True)
        (folder / name / "0.png").write_bytes(EPS)
    if packed:
        shutil.make_archive(str(folder / "x"), "zip", folder, "a")
        shutil.rmtree(folder / "a")
        shutil.rmtree(folder / "b")
    environment = {**os.environ, "PATH": f"{gs.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", READ_AND_WATCH, str(folder)], capture_output=True, text=True, env=environment, check=True
    )
    said, started = done.stdout.strip().split("\n")
    assert started == "started []"
    assert "a/0.png is not a readable image" in said
    assert "replace it by one of PNG, JPEG, BMP, GIF, TIFF, WEBP, PPM, or remove it" in said
    assert not proof.exists()


def test_only_the_formats_that_are_read_count_as_images():
    from PIL import Image

    assert {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"} <= IMAGE_SUFFIXES
    assert {Image.registered_extensions()[suffix] for suffix in IMAGE_SUFFIXES} == set(FORMATS)


HOSTILE = [
    "a;touch x",
    "$(touch x)",
    "`touch x`",
    "-rf",
    "..",
    "../x",
    "/tmp",
    "a b",
    "a'b",
    'a"b',
    "a\nb",
    "a|b",
    "a>b",
    "",
    "é",
    "a@b",
    ".git",
]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize(("names", "section"), [("datasets", "data"), ("designs", "models")])
def test_names_that_could_mean_something_elsewhere_are_refused(tmp_path, name, names, section):
    shipped = yaml.safe_load((ROOT / "params.yaml").read_text())
    entry = next(iter(shipped[section].values()))
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(merged(shipped, {names: [name], section: {name: entry}})))
    with pytest.raises(LevyError, match=f"{names}|{section}"):
        loading.load(path)


def test_dvc_quotes_what_it_puts_into_commands():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for name, stage in stages.items():
        assert stage["cmd"] == f"exec python -m tasks {name} ${{item}}"  # a mapping is quoted, a string is not


@pytest.mark.parametrize("name", ["$(touch x)", "a' ; touch x ; '"])
def test_hostile_names_in_params_do_not_run_in_dvcs_shell(bare_checkout, tmp_path, name):
    checkout = Checkout(tmp_path / "copy")
    subprocess.run(["cp", "-a", str(bare_checkout.root), str(checkout.root)], check=True)
    before = sorted(p.name for p in checkout.root.iterdir())
    kept = yaml.safe_load((checkout.root / "params.yaml").read_text())
    checkout.set_params({"datasets": [name], "data": {name: kept["data"]["digits"]}})
    (checkout.root / "data" / "a").mkdir(exist_ok=True)
    done = checkout.run(
        sys.executable, "-m", "dvc", "repro", "--force", "--single-item", f"prepare@{name}", check=False
    )
    shown = done.stdout + done.stderr
    assert done.returncode != 0
    assert not list(checkout.root.rglob("x"))
    assert sorted(p.name for p in checkout.root.iterdir()) == before
    if "> exec" in shown:  # it came to the stage, which refuses the name in one piece
        assert f"> exec python -m tasks prepare --dataset {shlex.quote(name)}" in shown


def secrets_hook() -> tuple[list[str], str]:
    """The command of the hook that looks for secrets before a commit, and the regular expression of files that it is not given."""
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    (hook,) = [hook for hook in hooks if hook["id"] == "secrets"]
    command, *options = shlex.split(hook["entry"])
    return [str(Path(sys.executable).parent / Path(command).name), *options], hook["exclude"]


def test_no_file_that_git_keeps_holds_a_secret():
    command, excluded = secrets_hook()
    kept = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    looked_at = [name for name in kept if not re.search(excluded, name) and (ROOT / name).is_file()]
    done = subprocess.run([*command, *looked_at], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (".dvc/config", "['remote \"storage\"']\n    url = ssh://host/path\n    password = pa55wordX9\n"),
        ("server.env.example", "PGPASSWORD=0f8a63c1d2\n"),
        ("notes.md", "https://ann:s3cretX9@host/path\n"),
    ],
)
def test_a_secret_does_not_get_into_a_commit(name, text, tmp_path):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    done = subprocess.run([*secrets_hook()[0], name], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert name in done.stdout
