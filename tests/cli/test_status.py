"""`fess status`: what a running process sees; and whether there is one at all."""

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from orchestrator.camera import CameraState
from orchestrator.http import camera_documents
from orchestrator.workers.merging import starting
from tests.cli.conftest import Fess
from tests.cli.test_table import filled
from tests.workers.test_merging import document

SECRET = "hunter2secret"

Serve = Callable[[dict[str, str]], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A program that answers these paths, and 404 to all others; returns its address."""
    servers: list[ThreadingHTTPServer] = []

    def start(answers: dict[str, str]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = answers.get(self.path.partition("?")[0], "").encode()
                self.send_response(200 if body else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def running(health: str) -> dict[str, str]:
    """What a process answers whose cameras are those of the table's tests."""
    return {
        "/api/cameras": json.dumps({"cameras": camera_documents(filled().cameras())}),
        "/api/events": json.dumps({"events": []}),
        "/health": health,
    }


def test_it_shows_the_cameras_of_a_running_process(fess: Fess, serve: Serve) -> None:
    said = fess("status", "--url", serve(running(document().model_dump_json())))
    assert said.code == 0, said
    assert "door" in said.out
    assert CameraState.OFFLINE.value in said.out
    assert "healthy" in said.out


def test_an_unhealthy_process_is_told_by_the_exit_code(fess: Fess, serve: Serve) -> None:
    ill = starting(datetime(2026, 3, 4, tzinfo=UTC), {}).model_dump_json()
    said = fess("status", "--url", serve(running(ill)))
    assert said.code == 2
    assert "unhealthy" in said.out


def test_where_nothing_runs_it_says_so_in_one_line(fess: Fess) -> None:
    said = fess("status", "--url", "http://127.0.0.1:9")
    assert said.is_one_plain_error, said
    assert "nothing answers at http://127.0.0.1:9" in said.err
    assert "fess run" in said.err


def test_credentials_in_an_address_are_not_shown(fess: Fess) -> None:
    said = fess("status", "--url", f"http://admin:{SECRET}@127.0.0.1:9")
    assert said.code == 1
    assert SECRET not in said.out + said.err


@pytest.mark.parametrize("answer", ["", "<html>hello</html>", "{}", "[1, 2]"])
def test_another_program_there_is_told_apart(fess: Fess, serve: Serve, answer: str) -> None:
    url = serve(dict.fromkeys(("/api/cameras", "/api/events", "/health"), answer))
    said = fess("status", "--url", url)
    assert said.is_one_plain_error, said
    assert "is another program there?" in said.err


@pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1", "http://"])
def test_what_is_no_address_is_told(fess: Fess, url: str) -> None:
    said = fess("status", "--url", url)
    assert said.is_one_plain_error, said
