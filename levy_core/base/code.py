"""Which code decides a result: the closure of a module's imports, and its hash.

A cached result (a resumed training, a cell, a row of a table, a score of the search) is used again only by the code that
made it. What that code is follows from the imports, so that nobody keeps a list of it.
"""

import ast
import hashlib
from collections.abc import Collection, Iterator
from functools import cache
from importlib.util import find_spec, resolve_name
from pathlib import Path

PROJECT = ("levy_core", "tasks")  # packages whose code decides results


def closure(*modules: str, leaves: Collection[str] = ()) -> list[str]:
    """The modules and every module of the project that they import, at any depth, sorted.

    Imports within functions count, because they run; those for type checkers (``if TYPE_CHECKING``) do not. A package counts
    with its ``__init__`` where it is imported itself, not where one of its modules is. Files are read, nothing is imported.

    Args:
        leaves: modules that belong to the closure, but whose own imports do not.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    reached: set[str] = set()
    todo = list(modules)
    while todo:
        module = todo.pop()
        if module not in reached:
            reached.add(module)
            todo += [] if module in leaves else _imports(module)
    return sorted(reached)


def hash_code(*modules: str, leaves: Collection[str] = ()) -> str:
    """SHA-256 of the sources of a ``closure``."""
    digest = hashlib.sha256()
    for module in closure(*modules, leaves=leaves):
        digest.update(module.encode() + b"\0" + hashlib.sha256(source_of(module).read_bytes()).digest())
    return digest.hexdigest()


def source_of(module: str) -> Path:
    """The file of a module.

    Raises:
        ModuleNotFoundError: there is no such module, or it has no source.
    """
    path = _find(module)
    if path is None:
        raise ModuleNotFoundError(f"no source of the module {module} was found")
    return path


def _find(module: str) -> Path | None:
    top, *rest = module.split(".")
    spec = find_spec(top)
    for folder in (spec and spec.submodule_search_locations) or ():
        for path in (Path(folder, *rest, "__init__.py"), Path(folder, *rest[:-1], f"{rest[-1]}.py" if rest else "")):
            if path.is_file():
                return path
    return None


@cache
def _imports(module: str) -> tuple[str, ...]:
    """Modules of the project that the source of a module names."""
    source = source_of(module)
    package = module if source.name == "__init__.py" else module.rpartition(".")[0]
    named = _names(ast.parse(source.read_bytes()), package)
    own = [name for name in named if name.split(".")[0] in PROJECT]
    # An import names functions and classes of a module in the same way as modules of a package.
    return tuple(dict.fromkeys(name if _find(name) else name.rpartition(".")[0] for name in own))


def _names(node: ast.AST, package: str) -> Iterator[str]:
    if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
        for statement in node.orelse:
            yield from _names(statement, package)
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        source = resolve_name("." * node.level + (node.module or ""), package)
        yield from (f"{source}.{alias.name}" for alias in node.names)
    for child in ast.iter_child_nodes(node):
        yield from _names(child, package)
