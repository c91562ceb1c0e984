"""The branch on which unattended runs leave their commits, written without ever touching anybody's working tree."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.pipeline.workspace import Workspace, git
from levy_core.base.errors import LevyError
from tasks.runtime.paths import DATA_VERSION, LOCK

FILES = (str(DATA_VERSION), str(LOCK))  # what a run changes
BASE = "Levy-Base"  # trailer of a commit: the commit of the checkout that the run was based on
NOBODY = ("-c", "user.name=levy", "-c", "user.email=levy@localhost")


@dataclass(frozen=True)
class Branch:
    """Its name, the commit of the checkout that a run is based on, and the branch's last commit (None: there is none yet)."""

    name: str
    home: Path
    base: str
    tip: str | None

    @classmethod
    def of(cls, name: str, home: Path) -> "Branch":
        """As it is now.

        Raises:
            LevyError: there is no commit, or somebody has the branch checked out.
        """
        base = git("rev-parse", "--verify", "HEAD", at=home)
        listed = git("worktree", "list", "--porcelain", at=home).split("\n\n")
        entries = [entry.splitlines() for entry in listed]  # the first line is `worktree PATH`
        checkouts = [lines[0].split(" ", 1)[1] for lines in entries if f"branch refs/heads/{name}" in lines]
        if checkouts:
            raise LevyError(
                f"the branch {name} is checked out in {checkouts[0]}, and a retraining moves it: run `git checkout --detach` there"
            )
        tip = git("for-each-ref", "--format=%(objectname)", f"refs/heads/{name}", at=home)
        return cls(name, home, base, tip or None)

    def restore(self, workspace: Workspace) -> None:
        """Goes on from the last commit's files, but for those that the checkout has changed since."""
        if self.tip is None:
            return
        before = git("log", "-1", f"--format=%(trailers:key={BASE},valueonly)", self.tip, at=self.home).strip()
        for file in FILES:
            if self._blob(self.tip, file) and self._blob(before, file) == self._blob(self.base, file):
                workspace.git("checkout", "--quiet", self.tip, "--", file)

    def holds(self, workspace: Workspace) -> bool:
        """Whether the last commit has all files as they are in the workspace."""
        return self.tip is not None and self._tree(workspace) == git("rev-parse", f"{self.tip}^{{tree}}", at=self.home)

    def commit(self, workspace: Workspace, message: str) -> str:
        """Puts the workspace's files on the branch, if they are not there yet, and checks the commit out in the workspace.

        Raises:
            LevyError: the branch has moved meanwhile.
        """
        if self.tip and self.holds(workspace):
            commit = self.tip
        else:
            commit = git(*self._identity(), "commit-tree", self._tree(workspace), *self._parents(), "-m", message,
                       "-m", f"{BASE}: {self.base}", at=self.home)  # fmt: skip
            git("update-ref", "-m", message, f"refs/heads/{self.name}", commit, self.tip or "0" * 40, at=self.home)
        workspace.git("checkout", "--quiet", "--detach", commit)
        return commit

    def _parents(self) -> list[str]:
        if self.tip is None:
            return ["-p", self.base]
        has_base = git("merge-base", self.tip, self.base, at=self.home) == self.base
        return ["-p", self.tip] if has_base else ["-p", self.tip, "-p", self.base]

    def _tree(self, workspace: Workspace) -> str:
        workspace.git("add", *FILES)
        return workspace.git("write-tree")

    def _blob(self, commit: str, file: str) -> str:
        return git("ls-tree", commit, "--", file, at=self.home)

    def _identity(self) -> Sequence[str]:
        try:
            git("var", "GIT_COMMITTER_IDENT", at=self.home)
        except LevyError:
            return NOBODY
        return ()
