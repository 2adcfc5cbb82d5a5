"""The terminal table: every camera's state, its account and what happened last."""

import asyncio
import io
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from alerting.rules import AlertConfig, AlertRules
from orchestrator.board import Board
from orchestrator.camera import CameraState
from orchestrator.cli.table import live_table, table
from orchestrator.health import Health
from orchestrator.ledger import CameraLedger, Skip
from tests.eventbus.until import until
from tests.http.conftest import quick
from tests.http.footage import camera, mark, view
from tests.test_board import face, status


def filled() -> Board:
    board, ledger = Board(), CameraLedger()
    board.add_camera(camera("door"), ledger)
    board.set_state("door", CameraState.ONLINE, "")
    for _ in range(1500):
        ledger.decoded()
    for _ in range(300):
        ledger.inspected()
    for _ in range(1200):
        ledger.skipped(Skip.SAMPLING)
    board.show("door", view(mark("Anna", "known"), mark(), mark("car", "object")))
    board.record_latency("door", 0.085)
    board.add_camera(camera("yard"), CameraLedger())
    board.set_state("yard", CameraState.OFFLINE, "rtsp://a:geheim@h: no answer")
    board.record_event(status("offline", "no answer"))
    board.record_event(face("Anna"))
    return board


def printed(shown: RenderableType, width: int = 160) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width).print(shown)
    return stream.getvalue()


@pytest.mark.parametrize("width", [80, 160])
def test_everything_is_there_on_a_narrow_and_on_a_wide_terminal(width: int) -> None:
    board = filled()
    text = printed(table(board.cameras(), board.events(motion=False)), width)
    for words in ("online", "85 / 85 ms", "1,500", "300", "1,200", "Anna, 1 other", "no answer"):
        assert words in text
    for words in ("no motion", "busy", "stale", "Recognised Anna (0.71)", "Camera offline"):
        assert words in text
    assert "geheim" not in text
    assert max(len(line) for line in text.splitlines()) <= width


async def test_health_stands_above_it_with_measured_latencies(tmp_path: Path) -> None:
    board = filled()
    report = await Health(board, {"triton": quick, "redis": quick}, disk=tmp_path).report()
    first_line = printed(table(board.cameras(), (), report)).splitlines()[0]
    assert "degraded" in first_line
    assert "triton 2.0 ms" in first_line
    assert "kafka" not in first_line


def test_a_lost_camera_is_listed_once_and_has_no_rate() -> None:
    lost = status("offline", "no answer")
    (alert,) = AlertRules(AlertConfig()).consider(lost)
    board = filled()
    for event in (lost, alert):
        board.record_event(event)
    text = printed(table([board.cameras()[1]], board.events()))
    assert text.count("no answer") == 2  # in the row of the camera, and in the list
    assert "Camera door is lost: no answer" in text
    assert "0.0" not in text


def test_without_a_camera_it_says_so() -> None:
    assert "no camera yet" in printed(table((), ()))


def test_a_name_can_neither_style_nor_steer_the_terminal() -> None:
    board = Board()
    board.record_event(face("[red]Bo[/red]\x1b[2J"))
    text = printed(table((), board.events()))
    assert "[red]Bo[/red]" in text
    assert "\x1b" not in text


async def test_the_live_table_follows_the_board_and_leaves_what_was_seen_last() -> None:
    board, stream, stop = filled(), io.StringIO(), asyncio.Event()
    console = Console(file=stream, width=160, force_terminal=True)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(live_table(board, console, stop, interval_s=0.01))
        await until(lambda: "offline" in stream.getvalue())
        board.set_state("yard", CameraState.ENDED, "")
        await until(lambda: "ended" in stream.getvalue())
        stop.set()
        board.remove_camera("yard")
        board.remove_camera("door")
    assert "no camera yet" not in stream.getvalue()
