"""Whether a server answers, and what. Light: it is asked before anything heavy is imported."""

import ssl
from functools import cache
from typing import Any


class StatusError(OSError):
    """An answer other than success; ``code`` is its HTTP status."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"HTTP Error {code}: {reason}")
        self.code = code


def status(server: str, timeout: float) -> int:
    """The HTTP status of ``GET server/health``; raises as ``ask``.

    Args:
        server: an http or https address. timeout: in seconds.
    """
    return _reply(f"{server.rstrip('/')}/health", timeout, None, None).status_code


def ask(url: str, timeout: float, body: dict[str, Any] | None = None, login: str | None = None) -> Any:
    """The reply to GET, or with a body to POST: its JSON, else its text.

    Args:
        url: an http or https address. timeout: in seconds, for each step of the exchange. login: NAME:PASSWORD.

    Raises:
        StatusError: an answer other than success.
        OSError: no answer in time, none that is HTTP, or no such address.
    """
    reply = _reply(url, timeout, body, login)
    return reply.json() if reply.headers.get("content-type", "").startswith("application/json") else reply.text


def _reply(url: str, timeout: float, body: dict[str, Any] | None, login: str | None) -> Any:
    import httpx  # late: it takes 0.1 s, and most people's commands ask no server

    name, _, password = (login or "").partition(":")
    try:
        reply = httpx.request(
            "GET" if body is None else "POST",
            url,
            json=body,
            auth=(name, password) if login else None,
            timeout=timeout,
            verify=_certificates(),
            follow_redirects=True,
        )
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, ImportError) as error:  # the last two: of proxies
        raise OSError(str(error) or type(error).__name__) from error
    if not reply.is_success:
        raise StatusError(reply.status_code, reply.reason_phrase)
    return reply


@cache
def _certificates() -> ssl.SSLContext:
    """Those that this machine trusts, so that a team's own authority is among them."""
    return ssl.create_default_context()
