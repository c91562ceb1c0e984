"""What a check of `levy doctor` says, and a limit on the time that it may take."""

import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from levy_core.base.errors import LevyError

State = Literal["ok", "warning", "wrong"]
_PASSWORD = re.compile(r"(://[^/\s:@]*):[^@/\s]+@")


@dataclass(frozen=True)
class Finding:
    """What was found, and what to do where something is wrong."""

    state: State
    found: str
    advice: str = ""


Check = Callable[[], Iterable[Finding]]


def ok(found: str) -> Finding:
    """A check that found everything in order."""
    return Finding("ok", found)


def warning(found: str, advice: str) -> Finding:
    """Work goes on, and somebody should know."""
    return Finding("warning", found, advice)


def wrong(found: str, advice: str = "") -> Finding:
    """Work stops or results are lost until it is mended; without advice, ``found`` says what to do."""
    return Finding("wrong", found, advice)


def mask_passwords(text: str) -> str:
    """One line, with the passwords of addresses left out."""
    return _PASSWORD.sub(r"\1:***@", " ".join(text.split()))


def run_check(check: Check, seconds: float) -> list[Finding]:
    """What a check finds; whatever it raises, or a check that takes longer than ``seconds``, is something wrong.

    A check that hangs is left behind in a thread that ends with the process.
    """
    found: list[Finding] = []

    def examine() -> None:
        try:
            found.extend(check())
        except LevyError as error:
            found.append(wrong(str(error)))
        except Exception as error:  # a doctor looks at broken things: the other checks go on
            found.append(
                wrong(f"{type(error).__name__}: {error}", "this check itself failed: mend what it names first")
            )

    thread = threading.Thread(target=examine, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        found = [wrong(f"no answer within {seconds:.0f} s", "see whether the server, remote or disk behind it hangs")]
    return [Finding(f.state, mask_passwords(f.found), mask_passwords(f.advice)) for f in found]
