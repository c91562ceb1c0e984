"""`levy reproduce`: makes a registered version again from its lineage alone, and says where the result differs first."""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from flows.pipeline.dvc import Dvc, hold_lock, repair_rwlock
from flows.pipeline.graph import Graph, parse_dot
from flows.pipeline.workspace import FOLDER, Workspace
from flows.reproduce.verdict import explain, first_difference, itemise
from flows.reproduce.versions import Version, check_commit, find
from levy_core.base.errors import LevyError
from levy_core.base.files import replacing
from tasks.params import plain_yaml
from tasks.registry import lineage
from tasks.registry.environment import Environment
from tasks.runtime import paths

BEGUN = Path(".dvc/tmp/levy-reproduce")  # in the workspace: which version its files are of
RECORDED = Path(".dvc/tmp/recorded")  # in the workspace: the lineage
# Nothing comes from the run-cache, and nothing goes into the cache: other results least of all.
OPTIONS = ("--force", "--no-commit", "--quiet")


def reproduce(uri: str, workers: int, say: Callable[[str], None] = print) -> bool:
    """Reruns every stage that made a version, in a workspace of its own; whether all outputs have the recorded hashes.

    No file of the checkout is touched, and no result goes into the DVC cache. Interrupted, the same call goes on.

    Args:
        uri: ``models:/NAME/VERSION`` or ``models:/NAME@ALIAS``. workers: stages at a time. say: takes lines for people.

    Raises:
        LevyError: code, data or lineage are not to be had, or a stage failed.
    """
    version = find(uri)
    name = workspace_of(version)
    with hold_lock(FOLDER / f"{name}.lock", f"`levy reproduce {uri}`", str(FOLDER / name)):
        check_commit(version)
        commit = version.tags["git.commit"]
        say(f"{version.name} version {version.number}: data set {version.dataset}, commit {commit}")
        if lineage.digest(version.lineage.stages) != version.tags["levy.lock"]:
            say("warning: the dvc.lock that it carries is not the one of its tag levy.lock: one of both was changed")
        workspace, fresh = _workspace(name, version)
        say(f"workspace {workspace.root}")
        dvc = Dvc(workspace.root, workspace.environment)
        if fresh:
            _begin(workspace, version, dvc, say)
        graph = _graph(dvc, version)
        _say_environment(version, say)
        done = set(lineage.read_stages(workspace.root / paths.LOCK))
        if done:
            say(f"{len(done & set(graph.needs))} of {len(graph.needs)} stages were rerun before: going on")
        _rerun(dvc, graph, done, workers, say)
        found = lineage.read_stages(workspace.root / paths.LOCK)
        difference = first_difference(version.lineage.stages, found, graph.order)
        if difference is None:
            say(f"\nreproduced: {len(graph.needs)} stages, all hashes equal")
        else:
            say("\n" + "\n".join(explain(version, workspace.root, difference, graph.order, found, dvc)))
        (workspace.root / BEGUN).unlink()  # the next call starts over
        say(_describe_size(workspace.root))
        return difference is None


def workspace_of(version: Version) -> str:
    """The name of the folder in ``FOLDER`` in which a version is made again."""
    return f"reproduce-{version.name}-{version.number}"


def _workspace(name: str, version: Version) -> tuple[Workspace, bool]:
    """The workspace of an interrupted call, else a new one without any earlier file; and whether it is new."""
    known = Workspace(Path.cwd() / FOLDER / name, Path.cwd())
    begun = known.root / BEGUN
    if begun.exists() and begun.read_text() == version.identity:
        repair_rwlock(known.root)
        return known, False
    if known.root.exists():
        shutil.rmtree(known.root)
    return Workspace.at(name, version.tags["git.commit"]), True


def _begin(workspace: Workspace, version: Version, dvc: Dvc, say: Callable[[str], None]) -> None:
    """Params and data as recorded, and no dvc.lock, so that DVC knows no earlier result."""
    root, recorded = workspace.root, version.lineage
    (root / "params.yaml").write_text(recorded.params)
    (root / paths.DATA_VERSION).write_text(recorded.data)
    _get_data(version, dvc)
    recorded.write(root / RECORDED)
    shutil.copy(root / RECORDED / paths.LOCK, root / paths.LOCK)
    _check_inputs(version, dvc, say)
    (root / paths.LOCK).unlink()
    with replacing(root / BEGUN) as temporary:
        temporary.write_text(version.identity)


def _get_data(version: Version, dvc: Dvc) -> None:
    """This data set's part of data/, from DVC's cache or else from a remote."""
    (out,) = plain_yaml.read(version.lineage.data)["outs"]
    if out.get("path") != str(paths.DATA):
        raise LevyError(f"the recorded data.dvc is of {out.get('path')!r}, but data/ was expected")
    folder = str(paths.raw(version.dataset))
    try:
        dvc.output("checkout", folder)
        return
    except LevyError:
        pass
    try:
        dvc.output("pull", folder)
    except LevyError as error:
        place = f"the remote {out['remote']!r}" if "remote" in out else "the default remote"
        raise LevyError(
            f"{folder} of the recorded version ({out['md5']}) is neither in DVC's cache nor in {place}: "
            f"run `dvc push` where it was recorded. DVC says: {error}"
        ) from error


def _check_inputs(version: Version, dvc: Dvc, say: Callable[[str], None]) -> None:
    """Warns of code and parameters that are not as recorded, as DVC sees it with the recorded dvc.lock in place.

    Raises:
        LevyError: the data are not.
    """
    changed = set()
    status = json.loads(dvc.output("status", "--json"))
    for stage in version.lineage.stages:
        for entry in status.get(stage, []):
            if entry == "changed command":
                changed.add(f"the command of {stage}")
            elif isinstance(entry, dict):
                changed |= _names(entry.get("changed deps", {}))
    data = str(paths.raw(version.dataset))
    if data in changed:
        raise LevyError(f"{data} differs from what the recorded run read: its hash is none of the recorded dvc.lock")
    changed = {name for name in changed if not name.startswith(f"{paths.OUTPUTS}/")}
    if changed:
        dirty = "it was recorded with uncommitted changes" if version.tags.get("git.dirty") == "true" else "unexpected"
        say(itemise(f"warning: the commit differs from what ran ({dirty}), so results may too", sorted(changed)))


def _names(changes: dict[str, Any]) -> set[str]:
    """Paths, and keys of params files."""
    return {
        name
        for path, what in changes.items()
        for name in ([f"{path}: {key}" for key in what] if isinstance(what, dict) else [path])
    }


def _graph(dvc: Dvc, version: Version) -> Graph:
    recorded = set(version.lineage.stages)
    graph = parse_dot(dvc.output("dag", "--dot"))
    missing = sorted(recorded - set(graph.needs))
    if missing:
        raise LevyError(
            f"dvc.yaml at commit {version.tags['git.commit'][:12]} has no stage {missing[0]}: it was recorded with another "
            "dvc.yaml that was not committed"
        )
    return Graph({stage: needs & recorded for stage, needs in graph.needs.items() if stage in recorded})


def _say_environment(version: Version, say: Callable[[str], None]) -> None:
    then = version.lineage.environment
    changes = then.changes(Environment.here(int(then.machine["threads"])))
    if changes:
        title = f"warning: the environment is not as recorded (in {RECORDED} of the workspace), so last bits may differ"
        say(itemise(title, changes))
    else:
        say(f"environment as recorded: {then}")


def _rerun(dvc: Dvc, graph: Graph, done: set[str], workers: int, say: Callable[[str], None]) -> None:
    """Every stage that is not done, each when those before it are; nothing stays running if one fails."""
    sorter = TopologicalSorter(graph.needs)
    sorter.prepare()
    running: dict[Future[str], str] = {}
    with ThreadPoolExecutor(workers) as pool:
        try:
            while sorter.is_active():
                for stage in sorter.get_ready():
                    if stage in done:
                        sorter.done(stage)
                    else:
                        log = lambda line, stage=stage: say(f"{stage}: {line}")
                        running[pool.submit(dvc.reproduce, stage, log, *OPTIONS)] = stage
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    future.result()
                    sorter.done(running.pop(future))
        finally:
            dvc.stop_all()


def _describe_size(root: Path) -> str:
    size = sum(path.lstat().st_size for path in root.rglob("*") if not path.is_dir())
    return f"{root} keeps {size / 2**20:.1f} MiB: `git worktree remove --force {root}` removes it"
