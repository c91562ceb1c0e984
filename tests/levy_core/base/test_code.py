"""The closure of a module's imports: exactly the code that runs when the module does, and a hash that follows it."""

import subprocess
import sys
from pathlib import Path

import pytest

from levy_core.base import code
from levy_core.base.code import closure, hash_code, source_of
from tests.conftest import ROOT

TOY = {
    "__init__": "",
    "start": """
from typing import TYPE_CHECKING

import json
import toy.plain
from toy import named
from toy.functions import double, triple
if TYPE_CHECKING:
    from toy import for_checkers
else:
    from toy import for_running


def work():
    from toy import late

    return late
""",
    "plain": "from . import beside",
    "beside": "",
    "named": "class Thing:\n    import toy.within_a_class",
    "within_a_class": "",
    "functions": "double = triple = len",
    "for_checkers": "",
    "for_running": "",
    "late": "import toy.deep",
    "deep": "import toy.start  # a circle",
    "alone": "",
    "package/__init__": "from toy.package.inner import f\nfrom toy.package import outer",
    "package/inner": "f = 1",
    "package/outer": "",
    "by_package": "from toy.package import f",
    "by_module": "from toy.package.inner import f",
    "broken": "def work():\n    from toy.gone import f",
}
FROM_START = ["beside", "deep", "for_running", "functions", "late", "named", "plain", "start", "within_a_class"]


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A package ``toy`` in a folder, whose modules are changed by writing them."""

    def write(name: str, text: str) -> None:
        path = tmp_path / "toy" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        code._imports.cache_clear()  # a process reads the imports of a module once

    for name, text in TOY.items():
        write(name, text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(code, "PROJECT", ("toy",))
    yield write
    code._imports.cache_clear()


def in_toy(*names):
    return [f"toy.{name}" for name in names]


def test_late_imports_count_and_those_for_type_checkers_and_of_other_packages_do_not(toy):
    assert closure("toy.start") == in_toy(*FROM_START)
    assert closure("toy.alone") == in_toy("alone")
    assert closure("toy.alone", "toy.plain") == in_toy("alone", "beside", "plain")


def test_an_import_of_a_function_counts_as_its_module_and_a_package_only_where_it_is_imported_itself(toy):
    assert closure("toy.by_package") == in_toy("by_package", "package", "package.inner", "package.outer")
    assert closure("toy.by_module") == in_toy("by_module", "package.inner")


def test_leaves_belong_to_the_closure_but_their_imports_do_not(toy):
    assert closure("toy.start", leaves=["toy.late", "toy.plain"]) == in_toy(
        "for_running", "functions", "late", "named", "plain", "start", "within_a_class"
    )
    assert closure("toy.late", leaves=["toy.late"]) == in_toy("late")


def test_a_module_that_is_missing_is_named(toy):
    with pytest.raises(ModuleNotFoundError, match=r"no source of the module toy\.gone was found"):
        closure("toy.broken")
    with pytest.raises(ModuleNotFoundError, match=r"no source of the module nowhere\.at\.all was found"):
        source_of("nowhere.at.all")


def test_a_changed_line_changes_the_hash_of_exactly_the_closures_that_reach_it(toy):
    starts = in_toy("start", "plain", "named", "alone", "by_package", "by_module")
    before = {start: hash_code(start) for start in starts}
    assert before == {start: hash_code(start) for start in starts}
    for name in (*FROM_START, "package/__init__", "package/inner", "package/outer", "alone", "for_checkers"):
        toy(name, TOY[name] + "\n# a remark\n")
        module = f"toy.{name}".replace("/", ".").removesuffix(".__init__")
        changed = {start for start in starts if hash_code(start) != before[start]}
        assert changed == {start for start in starts if module in closure(start)}, name
        toy(name, TOY[name])
    assert before == {start: hash_code(start) for start in starts}
    assert hash_code("toy.start", leaves=["toy.late"]) != before["toy.start"]


def test_the_hash_tells_modules_of_equal_sources_apart_and_sees_a_new_import(toy):
    assert hash_code("toy.beside") != hash_code("toy.alone")
    before = hash_code("toy.plain")
    toy("plain", "from toy import beside, alone")
    assert closure("toy.plain") == in_toy("alone", "beside", "plain")
    assert hash_code("toy.plain") != before


def test_what_decides_a_result_of_the_project_is_found_and_nothing_else():
    images = closure("tasks.kinds.images.metrics")
    assert {"levy_core.metrics.images.fidelity", "levy_core.datasets.images.store"} <= set(images)
    assert not {"tasks.kinds.images.page", "tasks.params.schema", "tasks.params.resolution"} & set(images)
    assert not any(module.startswith(("tasks.kinds.fields", "levy_core.datasets.fields")) for module in images)
    fields = closure("tasks.kinds.fields.metrics")
    assert not any("images" in module or module.startswith("tasks.params") for module in fields)
    drawn = closure("levy_core.serving.draw")
    assert {"levy_core.process.noise", "levy_core.sampling.steps", "levy_core.sampling.limits"} <= set(drawn)
    assert not any(module.startswith(("levy_core.metrics", "levy_core.training", "tasks")) for module in drawn)
    assert "levy_core.process.loss" not in drawn
    trained = closure("levy_core.training.trainer")
    assert "levy_core.process.loss" in trained
    assert not any(module.startswith(("levy_core.sampling", "levy_core.metrics", "tasks")) for module in trained)


def test_every_module_of_the_project_has_a_closure():
    packages = [ROOT / name for name in code.PROJECT]
    files = [path.relative_to(ROOT) for package in packages for path in package.rglob("*.py")]
    modules = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in files]
    assert len(modules) > 150
    for module, file in zip(modules, files, strict=True):
        assert source_of(module) == ROOT / file
        assert module in closure(module)


def test_a_closure_is_found_without_importing_what_is_in_it():
    script = "import sys; from levy_core.base.code import closure; closure('tasks.report'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not {"torch", "pandas", "tasks", "levy_core.sampling"} & set(loaded.split())


def test_no_module_hides_an_import_from_the_closure():
    """Modules that are looked up by name: each of them is named where it decides something."""
    looked_up = {
        str(path.relative_to(ROOT))
        for name in code.PROJECT
        for path in Path(ROOT, name).rglob("*.py")
        if "import_module(" in path.read_text()
    }
    assert looked_up == {"tasks/__main__.py", "tasks/kinds/kind.py", "levy_core/serving/exporters.py"}
