"""A local web server in the place of people's mail and chat: what Apprise sends arrives here."""

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def inbox() -> Iterator[tuple[str, list[dict]]]:
    """Its Apprise address, and the messages that came, with ``title`` and ``message``."""
    told: list[dict] = []

    class Inbox(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Inbox)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"json://127.0.0.1:{server.server_port}", told
    finally:
        server.shutdown()
