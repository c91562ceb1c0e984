"""Workspaces: git worktrees of their own, so that unattended runs and a person's work never meet.

A workspace shares the DVC cache, the MLflow record and the local DVC settings of the checkout it belongs to, and nothing else:
it holds the files of a commit, or those of the working tree at one moment, and stages run with its own code.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from flows.pipeline.dvc import Dvc, last_lines
from levy_core.base.errors import LevyError
from levy_core.base.files import replacing
from tasks.registry import tracking
from tasks.runtime import leash, paths
from tasks.runtime.paths import LOCK

GRACE_SECONDS = 20  # for a run to stop its stages
PACKAGES = ("flows", "levy_core", "tasks")  # whose new files are code, though git does not know them yet
SHARED = Path(
    ".dvc/tmp/levy.shared"
)  # in a workspace, made when it has all that it shares: what was cut off is done again
FOLDER = Path(".levy")  # in the root of the checkout; neither git nor DVC looks into it


@dataclass(frozen=True)
class Workspace:
    """A worktree and the checkout that it belongs to, both absolute paths."""

    root: Path
    home: Path

    @classmethod
    def at(cls, name: str, commit: str) -> "Workspace":
        """The workspace ``name`` with the files of a commit; outputs of earlier runs in it stay, as DVC knows what is stale.

        Args:
            name: a folder's name, made if missing. commit: anything that git calls a commit.

        Raises:
            LevyError: git or DVC refuses, with its words.
        """
        home = Path.cwd()
        root = home / FOLDER / name
        if (root / ".git").exists():
            git("checkout", "--quiet", "--detach", "--force", commit, at=root)
        else:
            git("worktree", "prune", at=home)  # of a folder that somebody removed
            git("worktree", "add", "--quiet", "--force", "--detach", str(root), commit, at=home)
        workspace = cls(root, home)
        workspace._share()
        return workspace

    @classmethod
    def of_working_tree(cls, name: str, replaced: Mapping[str, str]) -> "Workspace":
        """The workspace ``name`` with the files of the checkout as they are now, committed or not; the checkout is not touched.

        New files come too where they belong to the packages. HEAD is the checkout's, so that results name its commit and say
        that more was changed. Outputs of earlier runs in the workspace stay, with the dvc.lock that knows them.

        Args:
            name: a folder's name, made if missing. replaced: texts of tracked files that are to be others than the checkout's.

        Raises:
            LevyError: git or DVC refuses, with its words.
        """
        home = Path.cwd()
        root = home / FOLDER / name
        commit = git("rev-parse", "--verify", "HEAD", at=home)
        tree = _tree_of(home, replaced)
        if not (root / ".git").exists():
            git("worktree", "prune", at=home)  # of a folder that somebody removed
            git("worktree", "add", "--quiet", "--force", "--no-checkout", "--detach", str(root), commit, at=home)
        git("update-ref", "--no-deref", "HEAD", commit, at=root)
        git("read-tree", "--reset", "-u", tree, at=root)
        if not (root / LOCK).exists() and (home / LOCK).exists():
            with replacing(root / LOCK) as temporary:
                shutil.copy(home / LOCK, temporary)
        workspace = cls(root, home)
        workspace._share()
        return workspace

    def bring_outputs(self, dataset: str) -> None:
        """What the cache has of the outputs in dvc.lock; DVC has no run-cache for outputs that stages keep, and would make them again."""
        if not (self.root / paths.OUTPUTS / dataset).exists():
            with contextlib.suppress(LevyError):  # nothing ran before
                self.dvc("checkout", "--quiet", "--allow-missing", "--with-deps", f"report@{dataset}")

    def _share(self) -> None:
        """Cache, remotes and credentials of this machine, which git does not keep."""
        workspace_config, home_config = self.root / ".dvc" / "config.local", self.home / ".dvc" / "config.local"
        times = [path.stat().st_mtime for path in (home_config, self.home / ".dvc" / "config") if path.exists()]
        done = self.root / SHARED
        if workspace_config.exists() and done.exists() and done.stat().st_mtime > max(times):
            return
        workspace_config.write_text(home_config.read_text() if home_config.exists() else "")
        cache = self.home / Dvc(self.home).output("cache", "dir").strip()
        self.dvc("cache", "dir", "--local", str(cache.resolve()))
        done.parent.mkdir(exist_ok=True)
        done.touch()

    def remote(self) -> str:
        """The name of the default DVC remote; empty where there is none."""
        try:
            return self.dvc("config", "core.remote").strip()
        except LevyError:  # DVC's way to say that it is not set
            return ""

    @property
    def environment(self) -> dict[str, str]:
        """For processes in the workspace: this interpreter, the workspace's code, the checkout's MLflow record."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        own = {"PYTHONPATH": str(self.root), "MLFLOW_TRACKING_URI": tracking.address(), "PATH": path}
        if "PREFECT_API_URL" not in os.environ and os.environ.get("PREFECT_HOME") == str(self.home / ".prefect"):
            own["PREFECT_HOME"] = str(
                self.root / ".prefect"
            )  # its runs start servers of their own, of which each has a database
        return {**os.environ, **own}

    def run(self, *command: str, given: str | None = None) -> str:
        """Standard output of a short command of this interpreter in the workspace, with ``given`` on its standard input.

        Raises:
            LevyError: it failed, with its words.
        """
        return _run([sys.executable, *command], self.root, self.environment, given)

    def dvc(self, *arguments: str) -> str:
        """Standard output of a short DVC command in the workspace; raises as ``Dvc.output``."""
        return Dvc(self.root, self.environment).output(*arguments)

    def watch(self, *command: str) -> list[str]:
        """Runs a long command of this interpreter in the workspace; its lines are printed as they come, and returned.

        It ends with this process, and is interrupted when this call is.

        Raises:
            LevyError: it failed, with its words.
        """
        leashed = [sys.executable, leash.__file__, str(os.getpid()), sys.executable, *command]
        lines = []
        # In a session of its own: a terminal's Ctrl-C would reach it too, and a second one cuts off what the first began.
        with subprocess.Popen(  # noqa: S603
            leashed, cwd=self.root, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        ) as process:  # fmt: skip
            try:
                for line in process.stdout or ():
                    print(line, end="", flush=True)
                    lines.append(line.rstrip())
            except BaseException:
                process.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(GRACE_SECONDS)
                process.kill()
                raise
        if process.returncode:
            raise LevyError(f"`{' '.join(command)}` in {self.root} failed: {last_lines(lines)}")
        return lines

    def git(self, *arguments: str) -> str:
        """Standard output of git in the workspace."""
        return git(*arguments, at=self.root)


def _tree_of(home: Path, replaced: Mapping[str, str]) -> str:
    """git's name of a tree with the files of a checkout, without its dvc.lock. Made by an index of its own: git's stays as it is."""
    (home / FOLDER).mkdir(exist_ok=True)
    with TemporaryDirectory(dir=home / FOLDER, prefix="index.") as scratch:
        index, text = Path(scratch) / "index", Path(scratch) / "text"
        known = home / git("rev-parse", "--git-path", "index", at=home)
        if known.exists():
            shutil.copy2(known, index)  # with its times, so that git reads only what has changed

        def change(*arguments: str) -> str:
            return _run(["git", *arguments], home, {**os.environ, "GIT_INDEX_FILE": str(index)})

        change("add", "--update", ".")
        change("add", "--all", "--", *PACKAGES)
        change("update-index", "--force-remove", str(LOCK))
        for name, content in replaced.items():
            text.write_text(content)
            change("update-index", "--add", "--cacheinfo", f"100644,{change('hash-object', '-w', str(text))},{name}")
        return change("write-tree")


def git(*arguments: str, at: Path) -> str:
    """Standard output of git in a folder.

    Raises:
        LevyError: it failed, with its words.
    """
    return _run(["git", *arguments], at, None)


def _run(command: list[str], folder: Path, environment: dict[str, str] | None, given: str | None = None) -> str:
    done = subprocess.run(  # noqa: S603
        command, cwd=folder, env=environment, input=given, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise LevyError(f"`{' '.join(command)}` in {folder} failed: {' '.join(said[-3:]) or 'no output'}")
    return done.stdout.strip()
