"""params.yaml: every fault is named with its key, its value and what is allowed; the graph is DVC's own."""

import ast
import re

import pytest
import yaml

from flows.graph import Graph, parse_dot
from levy_core.errors import LevyError
from tasks import params
from tests.conftest import ROOT, merged

SHIPPED = yaml.safe_load((ROOT / "params.yaml").read_text())


def load(tmp_path, changes):
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(merged(SHIPPED, changes), sort_keys=False))
    return params.load(path)


def test_the_shipped_params_are_valid_and_give_the_grid_of_the_paper():
    shipped = params.load(ROOT / "params.yaml")
    cells = shipped.sample.cells()
    # SDE-A and ODE once, SDE-E at three etas; three discretisations; two numbers of steps.
    assert len(cells) == (1 + 1 + 3) * 3 * 2
    assert len(set(cells)) == len(cells)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": {"lim": {"alpha": 2.5}}}, r"models.lim is .*alpha is 2.5, but must lie in \(1, 2\]"),
        ({"models": {"lim": {"alpha": 1.0}}}, r"alpha is 1.0, but must lie in \(1, 2\]"),
        (
            {"models": {"lim": {"preset": "gan"}}},
            r"unknown design preset 'gan': choose one of ddpm, dlim, dlpm, edm, flow, lim, tedm, tflow",
        ),
        ({"designs": ["lim", "edm9"]}, r"designs names 'edm9', but `models` has no such section: it has lim, ddpm"),
        ({"datasets": ["faces"]}, r"datasets names 'faces', but `data` has no such section"),
        ({"datasets": ["a/b"]}, r"datasets\[0\] is 'a/b': string should match pattern"),
        (
            {"sample": {"solvers": ["ode", "rk9"]}},
            r"sample.solvers\[1\] is 'rk9': unknown solver 'rk9': choose one of ode, posterior, sde-a, sde-e, split-ddim, split-dlim",
        ),
        ({"sample": {"discretisations": ["x"]}}, r"sample.discretisations\[0\] is 'x': unknown discretisation"),
        (
            {"sample": {"grids": ["log"]}},
            r"sample.grids\[0\] is 'log': unknown grid 'log': choose one of karras, uniform-log-rho, uniform-t",
        ),
        (
            {"sample": {"solvers": ["posterior"], "discretisations": ["2m-data"]}},
            r"sample.solvers has posterior, but sample.discretisations has none of its forms: ei-noise",
        ),
        (
            {"sample": {"solvers": ["split-ddim"], "etas": [1.5]}},
            r"eta is 1.5, but for split-ddim must be between 0 and 1",
        ),
        ({"sample": {"limit": "cut"}}, r"sample.limit is 'cut': unknown limit 'cut'"),
        ({"sample": {"etas": [0.1, -0.5]}}, r"sample.etas\[1\] is -0.5: input should be greater than or equal to 0"),
        ({"sample": {"steps": [10, -1]}}, r"sample.steps\[1\] is -1: input should be greater than or equal to 1"),
        ({"sample": {"etas": [float("nan")]}}, r"sample.etas\[0\] is nan: input should be a finite number"),
        ({"train": {"steps": "many"}}, r"train.steps is 'many': input should be a valid integer"),
        ({"train": {"setps": 5}}, r"unknown key train.setps \(value 5\): check its spelling"),
        (
            {"data": {"digits": {"imbalance": 0.5}}},
            r"data.digits.imbalance is 0.5: input should be greater than or equal to 1",
        ),
        ({"compute": {"device": "tpu"}}, r"compute.device is 'tpu': input should be 'auto', 'cpu' or 'cuda'"),
    ],
)
def test_faults_are_named(tmp_path, changes, message):
    with pytest.raises(LevyError, match=message):
        load(tmp_path, changes)


def test_files_that_are_missing_or_no_yaml_are_named(tmp_path):
    with pytest.raises(LevyError, match="cannot be read"):
        params.load(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("a: [1")
    with pytest.raises(LevyError, match="not valid YAML"):
        params.load(tmp_path / "params.yaml")


def test_the_dot_graph_is_read_with_its_edges():
    graph = parse_dot(
        'strict digraph {\n"data.dvc";\n"a@x";\n"b@x-1";\n"c";\n"data.dvc" -> "a@x";\n"a@x" -> "b@x-1";\n"a@x" -> "c";\n}'
    )
    assert graph == Graph({"a@x": frozenset(), "b@x-1": frozenset({"a@x"}), "c": frozenset({"a@x"})})
    assert graph.order == ["a@x", "b@x-1", "c"]
    assert graph.affected_by({"a@x"}) == {"a@x", "b@x-1", "c"}
    assert graph.affected_by({"c"}) == {"c"}


def imports_of(path):
    """Modules of the project that a file imports, as paths."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    files = {ROOT / (name.replace(".", "/") + ".py") for name in found if re.match(r"(levy_core|tasks)\b", name)}
    return {file for file in files if file.exists()}


# What every stage uses to start and to find its files, and what cannot change a result.
PLUMBING = {
    "tasks/paths.py",
    "tasks/params.py",
    "tasks/stage.py",
    "tasks/leash.py",
    "tasks/processes.py",
    "levy_core/errors.py",
    "levy_core/files.py",
    "levy_core/torchvision_ops.py",
}


@pytest.mark.parametrize("stage", yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
def test_stages_depend_on_the_code_that_they_import(stage):
    entry = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"][stage]
    declared = [ROOT / dep for dep in entry["deps"] if not dep.startswith(("outputs", "data"))]
    reached, todo = set(), [ROOT / f"tasks/{stage}.py"]
    while todo:
        path = todo.pop()
        if path not in reached and str(path.relative_to(ROOT)) not in PLUMBING:
            reached.add(path)
            todo += imports_of(path)
    missing = [
        str(p.relative_to(ROOT)) for p in sorted(reached) if not any(p == d or p.is_relative_to(d) for d in declared)
    ]
    assert missing == []
    assert all(d.exists() for d in declared)
