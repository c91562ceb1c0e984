"""What a server answers, and that everything which is no answer is one kind of error, in time."""

import base64
import http.server
import json
import socket
import subprocess
import sys
import threading
import time

import pytest

from tasks.registry import tracking
from tasks.runtime import health


class Replies(http.server.BaseHTTPRequestHandler):
    """What it was asked, and with which account: JSON, text, a refusal, or a way to another path."""

    def do_GET(self):
        size = int(self.headers.get("Content-Length", 0))
        asked = {"body": self.rfile.read(size).decode(), "login": self.headers.get("Authorization", "")}
        kind, status = "application/json", 200
        if self.path == "/version":
            kind = "text/plain; charset=utf-8"
        elif self.path == "/closed/health":
            status = 401
        elif self.path == "/moved":
            status = 302
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Location", "/found")
        self.end_headers()
        self.wfile.write(b"3.17" if self.path == "/version" else json.dumps({**asked, "path": self.path}).encode())

    def do_POST(self):
        self.do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Replies)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_json_text_bodies_and_accounts_pass(address):
    assert health.status(address, 5) == 200
    assert health.ask(f"{address}/version", 5) == "3.17"
    told = health.ask(f"{address}/filter", 5, {"n": 1}, "ann:pass:word")
    assert json.loads(told["body"]) == {"n": 1}
    assert told["login"] == f"Basic {base64.b64encode(b'ann:pass:word').decode()}"
    assert health.ask(f"{address}/moved", 5)["path"] == "/found"


def test_a_refusal_has_its_status_and_a_moved_server_is_followed(address):
    with pytest.raises(health.StatusError, match="HTTP Error 401: Unauthorized") as refused:
        health.status(f"{address}/closed", 5)
    assert refused.value.code == 401


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:9", "http://none.invalid", "127.0.0.1:5000", "ftp://127.0.0.1", "http://", "http://a:b", "http://a:99999", "http://a b"],
)  # fmt: skip
def test_what_is_no_server_or_no_address_is_an_oserror(url):
    with pytest.raises(OSError, match=r"."):  # in words
        health.status(url, 5)


@pytest.mark.parametrize("proxy", ["socks9://x", "socks5://x"])  # an unknown kind, and one that needs a package more
def test_a_proxy_that_cannot_be_used_is_an_oserror(proxy, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with pytest.raises(OSError, match=r"."):  # in words
        health.status("http://server.invalid", 5)


@pytest.mark.parametrize("said", [b"", b"SSH-2.0-OpenSSH_9.2\r\n"])
def test_what_does_not_speak_http_or_says_nothing_is_given_up_in_time(said):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def speak():
            connection, _ = server.accept()
            connection.sendall(said)
            threading.Event().wait(3)
            connection.close()

        threading.Thread(target=speak, daemon=True).start()
        begun = time.monotonic()
        with pytest.raises(OSError, match=r"."):  # in words
            health.status(f"http://127.0.0.1:{server.getsockname()[1]}", 1)
    assert time.monotonic() - begun < 3


def test_nothing_is_imported_for_it_where_no_server_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    code = "import sys; from tasks.registry import tracking; tracking.check_server(tracking.address()); print('httpx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    assert tracking.address().startswith("sqlite:")
