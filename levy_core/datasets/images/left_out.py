"""What lies beside the images of a data set and is not read, in words."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from posixpath import splitext

from levy_core.datasets.images.archives import is_hidden
from levy_core.datasets.images.pictures import FORMATS, IMAGE_SUFFIXES

# Of what people and programs write beside images, and nobody takes for one.
NO_IMAGES = frozenset((
    ".txt", ".md", ".rst", ".pdf", ".html", ".htm", ".json", ".jsonl", ".csv", ".tsv", ".xlsx", ".xls", ".xml", ".yaml", ".yml", ".toml", ".ini",
    ".cfg", ".log", ".py", ".ipynb", ".sh", ".db", ".xmp", ".md5", ".sha1", ".sha256", ".dvc", ".lnk", ".url",
))  # fmt: skip
NO_IMAGE_NAMES = ("readme", "license", "copying", "makefile")
# MNIST's training part, and the test part, which nobody expects here.
MNIST = re.compile(r"(train|t10k)-(images|labels).idx\d-ubyte(\.gz)?")
SHOWN = 4  # endings in a message


def is_readable(name: str) -> bool:
    """Whether a file is called like an image that is read."""
    return splitext(name)[1].lower() in IMAGE_SUFFIXES


def could_be_meant(name: str) -> bool:
    """Whether a person may believe that a file is among the images: neither hidden nor obviously none."""
    path = PurePosixPath(name)
    return not (
        is_hidden(path.parts)
        or path.suffix.lower() in NO_IMAGES
        or path.name.lower().startswith(NO_IMAGE_NAMES)
        or MNIST.fullmatch(path.name)
        or not path.name.isprintable()  # the icon that macOS gives a folder
    )


def find_beside(folder: Path, entries: Iterable[Path], where: Path) -> list[str]:
    """Names within a folder of the files in its entries that could be meant, but for the entry ``where``."""
    rest = [entry for entry in entries if entry != where]
    files = [path for entry in rest for path in ([entry] if entry.is_file() else sorted(entry.rglob("*")))]
    names = [path.relative_to(folder).as_posix() for path in files if path.is_file()]
    return [name for name in names if could_be_meant(name)]


def describe_left_out(names: Iterable[str]) -> list[str]:
    """How many files are left out, of which endings, with an example and what to do: a line for images in no class, and one for all others."""
    loose = [name for name in names if is_readable(name)]
    others = [name for name in names if not is_readable(name)]
    lines = []
    if loose:
        lines.append(
            f"{_count(loose, 'image')} left out, in no class folder, for example {loose[0]}: move it into the folder of its class, or remove it"
        )
    if others:
        endings = Counter(PurePosixPath(name).suffix.lower() or "no ending" for name in others).most_common()
        listed = ", ".join(f"{n:,} {ending}" for ending, n in endings[:SHOWN]) + (
            ", ..." if len(endings) > SHOWN else ""
        )
        lines.append(
            f"{_count(others, 'file')} left out ({listed}), for example {others[0]}: {', '.join(FORMATS)} in class folders are read, so "
            "convert images of other formats, unpack archives into the class folders, and remove what is no image"
        )
    return lines


def _count(names: list[str], what: str) -> str:
    return f"{len(names):,} {what}{'s are' if len(names) > 1 else ' is'}"
