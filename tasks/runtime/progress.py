"""Progress bars."""

import sys
from typing import Any

from tqdm import tqdm


def bar(items: Any, what: str, **options: Any) -> Any:
    """A progress bar; in a log file one line every ten seconds."""
    return tqdm(items, desc=what, mininterval=0.2 if sys.stderr.isatty() else 10, dynamic_ncols=True, **options)
