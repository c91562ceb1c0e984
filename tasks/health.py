"""Whether a server answers. Light: it is asked before anything heavy is imported."""

import urllib.request


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
