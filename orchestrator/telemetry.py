"""What the process tells its operator: log lines without credentials, and the numbers of the process itself."""

import asyncio
import io
import json
import logging
import re
import sys
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Literal, NoReturn, TextIO

import psutil
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from rich.console import Console
from rich.highlighter import NullHighlighter
from rich.logging import RichHandler

from orchestrator.board import Board
from orchestrator.metrics import Metrics

log = logging.getLogger(__name__)

HIDDEN = "***"
# A password may hold anything but white space, even "@" and "/": all up to the last "@" goes.
# Repeats are bounded, so that no line takes long.
_USERINFO = re.compile(r"(?<=://)\S{0,2048}@")
_SECRET_NAME = r"(?:passw(?:or)?d|passphrase|pwd|token|secret|api[_-]?key|access[_-]?key)"
_SECRET_KEY = re.compile(_SECRET_NAME, re.IGNORECASE)
_ASSIGNMENT = re.compile(
    rf"({_SECRET_NAME}\w{{0,20}}\\?[\"']?\s*[:=]\s*)"
    r"(?:\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|\S+)",
    re.IGNORECASE,
)
_AUTHORIZATION = re.compile(
    r"(authorization[\"']?\s*[:=]\s*[\"']?|\b(?=bearer\s))((?:bearer|basic|digest)\s+)?[^\s,\"']+",
    re.IGNORECASE,
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and line feed
_PLAIN_RECORD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
# Chatty at INFO about things that our own lines already say. aiokafka is quietened where it is used, and more.
_QUIET = ("aiohttp", "asyncio", "PIL", "redis", "urllib3")


def scrub(text: str) -> str:
    """The text without credentials: the last belt, for words that came from elsewhere. Hides too much rather."""
    text = _USERINFO.sub(f"{HIDDEN}@", text)
    text = _AUTHORIZATION.sub(rf"\1\2{HIDDEN}", text)
    return _ASSIGNMENT.sub(rf"\1{HIDDEN}", text)


def printable(text: str) -> str:
    """The text without control characters, which could move a terminal's cursor or change its title."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


class ScrubbingFormatter(logging.Formatter):
    """One line for people, exceptions included."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(scrub(super().format(record)))


class JsonFormatter(logging.Formatter):
    """One JSON object a line: timestamp, level, logger, message, exception, and what was given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, object] = {
            "timestamp": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": scrub(record.getMessage()),
        }
        for name, value in record.__dict__.items():
            if name not in _PLAIN_RECORD:
                line[name] = _extra(name, value)
        if record.exc_info:
            line["exception"] = scrub(self.formatException(record.exc_info))
        if record.stack_info:
            line["stack"] = scrub(record.stack_info)
        return json.dumps(line, ensure_ascii=False)


def _extra(name: str, value: object) -> object:
    if _SECRET_KEY.search(name):
        return HIDDEN
    return value if isinstance(value, bool | int | float | None) else scrub(str(value))


def configure_logging(
    environment: Literal["development", "production"],
    level: str,
    *,
    stream: TextIO | None = None,
    console: Console | None = None,
) -> None:
    """Send every log line to one handler: JSON in production, else words.

    stream   where lines go; standard error unless told
    console  the terminal that also shows the live table, so that lines appear above it
    """
    root = logging.getLogger()
    for former in root.handlers[:]:
        root.removeHandler(former)
    root.addHandler(_handler(environment, stream or sys.stderr, console))
    root.setLevel(level)
    logging.captureWarnings(True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def logs_json() -> bool:
    """Whether a program reads what this process says."""
    return any(isinstance(each.formatter, JsonFormatter) for each in logging.getLogger().handlers)


def operator_console(environment: Literal["development", "production"]) -> Console:
    """Where it is told how the start goes: people read standard error; in production a program reads the log."""
    if environment == "production":
        return Console(file=_LogLines(), soft_wrap=True)
    return Console(stderr=True)


class _LogLines(io.StringIO):
    """Each line that is written is a line of the log."""

    def write(self, text: str) -> int:
        for line in filter(str.strip, text.splitlines()):
            log.info("%s", line.strip())
        return len(text)


def _handler(environment: str, stream: TextIO, console: Console | None) -> logging.Handler:
    handler: logging.Handler
    if environment != "production" and console is not None and console.is_terminal:
        handler = RichHandler(
            console=console,
            show_path=False,
            markup=False,
            highlighter=NullHighlighter(),
            log_time_format="%H:%M:%S",
        )
        handler.setFormatter(ScrubbingFormatter("%(message)s"))
        return handler
    handler = logging.StreamHandler(stream)
    if environment == "production":
        handler.setFormatter(JsonFormatter())
    else:
        words = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
        handler.setFormatter(ScrubbingFormatter(words, "%H:%M:%S"))
    return handler


class LedgerCollector(Collector):
    """Exports the coverage ledgers themselves, so that a scrape balances exactly."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def describe(self) -> Iterator[Metric]:
        return iter(self._families())

    def collect(self) -> Iterator[Metric]:
        decoded, inspected, skipped, pending = families = self._families()
        for camera_id, coverage in self._board.ledgers():
            decoded.add_metric([camera_id], coverage.decoded)
            inspected.add_metric([camera_id], coverage.inspected)
            pending.add_metric([camera_id], coverage.pending)
            for cause, count in coverage.skipped.items():
                skipped.add_metric([camera_id, cause.value], count)
        return iter(families)

    @staticmethod
    def _families() -> tuple[
        CounterMetricFamily, CounterMetricFamily, CounterMetricFamily, GaugeMetricFamily
    ]:
        camera = ["camera_id"]
        return (
            CounterMetricFamily("fess_frames_decoded", "Frames decoded.", labels=camera),
            CounterMetricFamily("fess_frames_inspected", "Frames inspected.", labels=camera),
            CounterMetricFamily(
                "fess_frames_skipped",
                "Frames decoded and not inspected, by cause.",
                labels=["camera_id", "cause"],
            ),
            GaugeMetricFamily(
                "fess_frames_pending", "Frames on their way: decoded less the rest.", labels=camera
            ),
        )


def export_ledgers(registry: CollectorRegistry, board: Board) -> None:
    registry.register(LedgerCollector(board))


async def sample_process(
    metrics: Metrics,
    board: Board,
    interval_s: float = 2.0,
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> NoReturn:
    """Keep the gauges of this process and its cameras up to date until cancelled.

    Memory and CPU are those of this process alone: embedded servers and other workers are not in them.
    """
    process = psutil.Process()
    process.cpu_percent()  # the first call only starts the measurement
    shown: set[str] = set()
    while True:
        await sleep(interval_s)
        metrics.memory_usage.set(process.memory_info().rss)
        metrics.cpu_usage.set(process.cpu_percent())
        shown = sample_cameras(metrics, board, shown)


def sample_cameras(metrics: Metrics, board: Board, shown: set[str]) -> set[str]:
    """Set the cameras' rates; drop the gauges of cameras shown before that are gone. Returns who is shown now.

    Which cameras are online is counted by their supervisors, at the moment it changes.
    """
    statuses = board.cameras()
    for status in statuses:
        metrics.fps.labels(status.camera_id).set(status.fps)
    names = {status.camera_id for status in statuses}
    for gone in shown - names:
        metrics.fps.remove(gone)
        metrics.camera_online.remove(gone)
    return names
