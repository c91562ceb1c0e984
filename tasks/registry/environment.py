"""What a result is computed with, beside code, data and parameters: packages, interpreter, processor. Last bits depend on it."""

import os
import platform
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from pydantic import RootModel

from levy_core.base.artifacts import STRICT, parse
from levy_core.base.files import hash_json, write_json

MACHINE = "environment.json"
PACKAGES = "requirements.txt"
KERNEL_VARIABLES = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_CBWR")  # variables that choose other kernels


class Machine(RootModel[dict[str, str]]):
    """What ``environment.json`` holds."""

    model_config = STRICT


@dataclass(frozen=True)
class Environment:
    """Interpreter, libraries and processor as texts, and the installed packages with their versions."""

    machine: dict[str, str]
    packages: dict[str, str]

    @classmethod
    def here(cls, threads: int) -> "Environment":
        """This process's; ``threads`` are those of a stage (``compute.threads``)."""
        import torch

        gpus = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
        machine = {
            "python": f"{platform.python_implementation()} {platform.python_version()}",
            "system": f"{platform.system()} {platform.machine()}",
            "libc": " ".join(platform.libc_ver()).strip(),
            "processor": _processor(),
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "gpus": ", ".join(gpus),
            "torch": torch.__version__,
            "threads": str(threads),
            **{name: os.environ.get(name, "") for name in KERNEL_VARIABLES},
        }
        packages = {d.metadata["Name"].lower().replace("_", "-"): d.version for d in distributions()}
        packages.pop("levy", None)  # its version is the commit
        return cls({name: value for name, value in machine.items() if value}, dict(sorted(packages.items())))

    @classmethod
    def read(cls, folder: Path) -> "Environment":
        """What ``write`` left in a folder.

        Raises:
            OSError: a file is missing. ValueError: one is damaged.
        """
        machine = parse((folder / MACHINE).read_bytes(), Machine).root
        if missing := sorted({"torch", "instructions", "threads"} - set(machine)):
            raise ValueError(f"{MACHINE} does not say {', '.join(missing)}")
        packages = {}
        for line in (folder / PACKAGES).read_text().splitlines():
            name, equals, version = line.partition("==")
            if not (name and equals and version):
                raise ValueError(f"{PACKAGES} has the line {line[:60]!r}, but NAME==VERSION was expected")
            packages[name] = version
        return cls(machine, packages)

    def write(self, folder: Path) -> None:
        """``environment.json`` and ``requirements.txt``, which pip can install."""
        write_json(folder / MACHINE, self.machine)
        (folder / PACKAGES).write_text("".join(f"{name}=={version}\n" for name, version in self.packages.items()))

    @property
    def hash(self) -> str:
        """Equal hashes, equal environments."""
        return hash_json([self.machine, self.packages])[:16]

    def __str__(self) -> str:
        parts = ", ".join(self.machine[key] for key in ("python", "system", "processor", "gpus") if key in self.machine)
        return f"{parts}, torch {self.machine['torch']} ({self.machine['instructions']}, threads {self.machine['threads']})"

    def changes(self, now: "Environment") -> list[str]:
        """What is no longer as it was, one line each: ``torch: 2.13.0 then, 2.13.1 now``."""
        lines = []
        for before, after in ((self.machine, now.machine), (self.packages, now.packages)):
            for name in sorted({*before, *after}):
                if before.get(name) != after.get(name):
                    lines.append(f"{name}: {before.get(name, 'none')} then, {after.get(name, 'none')} now")
        return lines


def _processor() -> str:
    """Its name, which `platform` does not know on Linux."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
