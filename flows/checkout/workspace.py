"""Workspaces: git worktrees of their own, so that unattended runs and a person's work never meet.

A workspace shares the DVC cache, the MLflow record and the local DVC settings of the checkout it belongs to, and nothing else:
it holds committed files only, and stages run with its own code.
"""

import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from flows.checkout.dvc import Dvc, last_lines
from levy_core.base.errors import LevyError
from tasks.registry import tracking
from tasks.runtime import leash

GRACE_SECONDS = 20  # for a run to stop its stages
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

    def _share(self) -> None:
        """Cache, remotes and credentials of this machine, which git does not keep."""
        own, local = self.root / ".dvc" / "config.local", self.home / ".dvc" / "config.local"
        theirs = [path.stat().st_mtime for path in (local, self.home / ".dvc" / "config") if path.exists()]
        if own.exists() and own.stat().st_mtime > max(theirs):
            return
        own.write_text(local.read_text() if local.exists() else "")
        cache = self.home / Dvc(self.home).output("cache", "dir").strip()
        self.dvc("cache", "dir", "--local", str(cache.resolve()))

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
        return {**os.environ, **own}

    def run(self, *command: str) -> str:
        """Standard output of a short command of this interpreter in the workspace.

        Raises:
            LevyError: it failed, with its words.
        """
        return _run([sys.executable, *command], self.root, self.environment)

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
        with subprocess.Popen(  # noqa: S603
            leashed, cwd=self.root, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
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


def git(*arguments: str, at: Path) -> str:
    """Standard output of git in a folder.

    Raises:
        LevyError: it failed, with its words.
    """
    return _run(["git", *arguments], at, None)


def _run(command: list[str], folder: Path, environment: dict[str, str] | None) -> str:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise LevyError(f"`{' '.join(command)}` in {folder} failed: {' '.join(said[-3:]) or 'no output'}")
    return done.stdout.strip()
