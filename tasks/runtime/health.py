"""Whether a server answers, and what. Light: it is asked before anything heavy is imported."""

import base64
import json
import urllib.request
from typing import Any


def status(server: str, timeout: float) -> int:
    """The HTTP status of ``GET server/health``.

    Args:
        server: an http or https address. timeout: in seconds.

    Raises:
        OSError: no answer in time, or an HTTP error.
        ValueError: no address.
    """
    with urllib.request.urlopen(f"{server.rstrip('/')}/health", timeout=timeout) as reply:  # noqa: S310  (servers are named by the person who runs this)
        return reply.status


def ask(
    url: str, timeout: float, body: dict[str, Any] | None = None, login: str | None = None
) -> tuple[Any, dict[str, str]]:
    """The reply to GET, or with a body to POST: its JSON (else its text), and its headers by names in lower case.

    Args:
        url: an http or https address. timeout: in seconds. login: NAME:PASSWORD.

    Raises:
        urllib.error.HTTPError: an answer other than success.
        OSError: no answer in time.
    """
    headers = {"Content-Type": "application/json"}
    if login:
        headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=timeout) as reply:  # noqa: S310
        text = reply.read().decode()
        kind = reply.headers.get_content_type()
        return (json.loads(text) if kind == "application/json" else text), {
            k.lower(): v for k, v in reply.headers.items()
        }
