"""Telemetry: log lines that hold no credential, and gauges that are measured."""

import io
import json
import logging
import string
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from rich.console import Console

from eventbus.kafka_config import KafkaConfig
from orchestrator.board import Board
from orchestrator.ledger import CameraLedger, Skip
from orchestrator.metrics import Metrics
from orchestrator.telemetry import (
    HIDDEN,
    configure_logging,
    export_ledgers,
    sample_cameras,
    sample_process,
    scrub,
)
from tests.http.footage import camera

# A password as people choose them: anything printable that is not white space. Upper case, so that it
# cannot be part of the lower-case words around it.
PASSWORDS = st.text(
    st.sampled_from(string.ascii_uppercase + string.digits + "@:/?#[]!$&'()*+,;=%-._~\\\"{}<>|^`"),
    min_size=4,
).filter(lambda text: any(c.isalnum() for c in text))
PLAIN_PASSWORDS = st.text(st.sampled_from(string.ascii_uppercase + string.digits), min_size=4)
SCHEMES = st.sampled_from(["rtsp", "rtsps", "http", "https", "redis", "kafka+ssl"])
SECRETS = (
    "password",
    "Password",
    "REDIS_PASSWORD",
    "sasl_password",
    "passwd",
    "password_file",
    "pwd",
)
TOKENS = ("token", "HTTP_TOKEN", "api_key", "apikey", "secret", "client_secret", "access-key")
NAMES = st.sampled_from([*SECRETS, *TOKENS])


@pytest.fixture(autouse=True)
def root_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


@settings(deadline=None)
@given(SCHEMES, PASSWORDS)
def test_the_password_of_an_address_is_never_shown_whatever_it_is(scheme: str, secret: str) -> None:
    shown = scrub(f"could not open {scheme}://viewer:{secret}@host/live in time")
    assert secret not in shown
    assert shown.endswith("@host/live in time")


@settings(deadline=None)
@given(NAMES, st.sampled_from(["=", ": ", " = ", "':'", '": "']), PLAIN_PASSWORDS)
def test_what_is_called_a_secret_is_never_shown(name: str, between: str, secret: str) -> None:
    assert secret not in scrub(f"refused with {name}{between}{secret} by the server")


@settings(deadline=None)
@given(NAMES, PASSWORDS, st.sampled_from([json.dumps, repr]))
def test_nor_when_it_is_quoted(name: str, secret: str, quote: object) -> None:
    quoted = quote(secret) if callable(quote) else secret
    assert quoted[1:-1] not in scrub(f"{{'{name}': {quoted}}} refused")


@settings(deadline=None)
@given(st.sampled_from(["Bearer", "bearer", "Basic", "Digest"]), PLAIN_PASSWORDS)
def test_an_authorization_header_is_never_shown(scheme: str, secret: str) -> None:
    assert secret not in scrub(f"sent Authorization: {scheme} {secret} and was refused")


@settings(deadline=None)
@given(st.text(st.sampled_from(string.ascii_letters + string.digits + " .,;()-_/\n"), max_size=200))
def test_words_without_a_secret_are_left_as_they_are(text: str) -> None:
    if not any(name in text.lower() for name in ("bearer", "authorization")):
        assert scrub(text) == text


@settings(deadline=None)
@given(st.text(max_size=300))
def test_any_text_can_be_scrubbed(text: str) -> None:
    scrub(text)


def test_a_long_line_is_scrubbed_in_reasonable_time() -> None:
    for piece in ("a" * 200_000, "://" * 5_000, "password" * 20_000, "token=" * 20_000):
        assert scrub(piece) is not None


def test_in_production_every_line_is_a_json_object_with_its_extras() -> None:
    stream = io.StringIO()
    configure_logging("production", "INFO", stream=stream)
    log = logging.getLogger("orchestrator.capture")
    log.info("camera %s: watching %s", "door", "rtsp://a:geheim@b/c", extra={"camera_id": "door"})
    log.warning("told", extra={"password": "geheim", "attempt": 3})
    log.debug("not at this level")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert first["message"] == "camera door: watching rtsp://***@b/c"
    assert (first["level"], first["logger"]) == ("INFO", "orchestrator.capture")
    assert first["camera_id"] == "door"
    assert first["timestamp"].endswith("Z")
    assert (second["password"], second["attempt"]) == (HIDDEN, 3)


@pytest.mark.parametrize("environment", ["production", "development"])
def test_an_exception_is_told_without_its_credentials(environment: str) -> None:
    stream = io.StringIO()
    configure_logging(environment, "INFO", stream=stream)  # type: ignore[arg-type]  # one of both
    try:
        raise OSError("rtsp://viewer:geheim@host/live: refused")
    except OSError:
        logging.getLogger("x").exception("lost")
    assert "geheim" not in stream.getvalue()
    assert "OSError" in stream.getvalue()


def test_a_line_break_in_a_message_stays_one_line_in_production() -> None:
    stream = io.StringIO()
    configure_logging("production", "INFO", stream=stream)
    logging.getLogger("x").info("camera %s", "a\nb")
    assert len(stream.getvalue().splitlines()) == 1


def test_on_a_terminal_lines_go_to_the_console_that_shows_the_table() -> None:
    stream = io.StringIO()
    configure_logging(
        "development", "INFO", console=Console(file=stream, force_terminal=True, width=100)
    )
    logging.getLogger("x").info("redis://:geheim@cache [bold]refused[/bold]")
    assert "geheim" not in stream.getvalue()
    assert "[bold]" in stream.getvalue()


def test_what_came_from_elsewhere_cannot_steer_the_terminal() -> None:
    stream = io.StringIO()
    configure_logging("development", "INFO", stream=stream)
    logging.getLogger("x").info("server said %s", "\x1b]0;taken\x07\x1b[2J\rfine")
    assert not set("\x1b\x07\r") & set(stream.getvalue())


def test_configuring_again_leaves_one_handler() -> None:
    for _ in range(3):
        configure_logging("production", "INFO", stream=io.StringIO())
    assert len(logging.getLogger().handlers) == 1


def test_a_broker_that_is_away_is_told_by_us_and_not_by_its_client_as_well() -> None:
    client = logging.getLogger("aiokafka")
    client.setLevel(logging.NOTSET)
    configure_logging("production", "INFO", stream=io.StringIO())
    KafkaConfig("localhost:9092").connection()
    assert client.getEffectiveLevel() == logging.CRITICAL


def test_the_ledgers_are_exported_as_they_are_at_the_scrape() -> None:
    registry, board, ledger = CollectorRegistry(), Board(), CameraLedger()
    export_ledgers(registry, board)
    board.add_camera(camera(), ledger)
    for _ in range(3):
        ledger.decoded()
    ledger.inspected()
    ledger.skipped(Skip.BUSY)
    found = {
        name: registry.get_sample_value(f"fess_frames_{name}", {"camera_id": "door"})
        for name in ("decoded_total", "inspected_total", "pending")
    }
    busy = {"camera_id": "door", "cause": "busy"}
    assert found == {"decoded_total": 3, "inspected_total": 1, "pending": 1}
    assert registry.get_sample_value("fess_frames_skipped_total", busy) == 1


def test_gauges_of_a_camera_that_is_gone_are_gone_too() -> None:
    registry, board = CollectorRegistry(), Board()
    metrics = Metrics(registry)
    for name in ("door", "yard"):
        board.add_camera(camera(name), CameraLedger())
        metrics.camera_online.labels(name).set(0)
    shown = sample_cameras(metrics, board, set())
    assert registry.get_sample_value("fess_fps", {"camera_id": "yard"}) == 0
    board.remove_camera("yard")
    sample_cameras(metrics, board, shown)
    for gauge in ("fess_fps", "fess_camera_online"):
        assert registry.get_sample_value(gauge, {"camera_id": "yard"}) is None
        assert registry.get_sample_value(gauge, {"camera_id": "door"}) == 0


async def test_memory_and_cpu_of_the_process_are_measured() -> None:
    registry = CollectorRegistry()

    class Enough(Exception):
        pass

    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        sum(range(200_000))
        if len(slept) == 3:
            raise Enough

    with pytest.raises(Enough):
        await sample_process(Metrics(registry), Board(), 7.0, sleep=sleep)
    assert slept == [7.0, 7.0, 7.0]
    memory = registry.get_sample_value("fess_memory_usage_bytes")
    assert memory is not None
    assert memory > 1e6
    cpu = registry.get_sample_value("fess_cpu_usage_percent")
    assert cpu is not None
    assert cpu >= 0.0
