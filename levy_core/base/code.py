"""Which code decides a result: the closure of a module's imports, and its hash.

A cached result (a resumed training, a cell, a row of a table, a score of the search) is used again only by the code that
made it. What that code is follows from the imports, so that nobody keeps a list of it.
"""

import ast
import hashlib
from collections.abc import Collection, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

PROJECT = ("levy_core", "tasks")  # packages whose code decides results


def closure(*modules: str, leaves: Collection[str] = ()) -> list[str]:
    """The modules and every module of the project that they import, at any depth, sorted.

    Imports within functions count, because they run; those for type checkers (``if TYPE_CHECKING``) do not. A package counts
    with its ``__init__`` where it is imported itself, not where one of its modules is.

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
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no source of the module {module} was found")
    return Path(spec.origin)


@cache
def _imports(module: str) -> tuple[str, ...]:
    """Modules of the project that the source of a module names."""
    found: dict[str, None] = {}
    for name in _names(ast.parse(source_of(module).read_bytes())):
        if name.split(".")[0] in PROJECT:
            found[name if _is_module(name) else name.rpartition(".")[0]] = None
    return tuple(found)


@cache
def _is_module(name: str) -> bool:
    """False of a function or class of a module, which an import names in the same way."""
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # its parent is no package
        return False


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
        for statement in node.orelse:
            yield from _names(statement)
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    for child in ast.iter_child_nodes(node):
        yield from _names(child)
