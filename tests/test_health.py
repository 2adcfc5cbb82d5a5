"""Health: the document of the contract, and what makes it degraded or unhealthy."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from eventbus.bus import BusUnavailable
from orchestrator.board import Board
from orchestrator.camera import CameraState
from orchestrator.errors import CacheError, InferenceUnavailable
from orchestrator.health import Check, Health, HealthDocument
from orchestrator.ledger import CameraLedger, Skip
from tests.http.footage import camera


async def quick() -> float:
    return 0.0123


def failing(error: Exception) -> Check:
    async def check() -> float:
        raise error

    return check


def board_with(*states: CameraState) -> Board:
    board = Board()
    for number, state in enumerate(states):
        board.add_camera(camera(f"cam{number}"), CameraLedger())
        board.set_state(f"cam{number}", state, "")
    return board


async def report(board: Board, folder: Path, **checks: Check) -> HealthDocument:
    return await Health(board, {"triton": quick, "redis": quick} | checks, disk=folder).report()


async def test_the_document_has_every_name_of_the_contract(tmp_path: Path) -> None:
    document = (await report(board_with(CameraState.ONLINE), tmp_path)).model_dump(mode="json")
    assert document["status"] == "healthy"
    assert datetime.fromisoformat(document["timestamp"]).tzinfo == UTC
    components = document["components"]
    assert set(components) >= {"redis", "kafka", "triton", "cameras", "system"}
    assert components["redis"]["healthy"] is True
    assert components["redis"]["latency_ms"] == 12.3
    assert set(components["system"]) == {
        "healthy",
        "cpu_percent",
        "memory_percent",
        "memory_available_mb",
        "disk_percent",
        "disk_free_gb",
    }
    assert components["cameras"]["online"] == components["cameras"]["total"] == 1


async def test_a_bus_that_is_not_kafka_is_shown_as_not_enabled_and_is_never_ill(
    tmp_path: Path,
) -> None:
    document = await report(Board(), tmp_path)
    kafka = document.components.kafka.model_dump(exclude_none=True)
    assert kafka == {"healthy": True, "enabled": False}


async def test_the_numbers_of_the_machine_are_measured(tmp_path: Path) -> None:
    system = (await report(Board(), tmp_path)).components.system
    assert 0.0 <= system.cpu_percent <= 100.0
    assert 0.0 < system.memory_percent <= 100.0
    assert system.memory_available_mb > 1.0
    assert system.disk_free_gb > 0.0


async def test_without_triton_it_is_unhealthy_and_not_ready(tmp_path: Path) -> None:
    down = failing(InferenceUnavailable("localhost:8001: refused"))
    document = await report(board_with(CameraState.ONLINE), tmp_path, triton=down)
    assert (document.status, document.ready) == ("unhealthy", False)
    assert document.components.triton.error == "localhost:8001: refused"


async def test_without_any_camera_online_it_is_unhealthy_but_ready(tmp_path: Path) -> None:
    board = board_with(CameraState.OFFLINE, CameraState.CONNECTING)
    document = await report(board, tmp_path)
    assert (document.status, document.ready) == ("unhealthy", True)


async def test_with_some_cameras_offline_it_is_degraded(tmp_path: Path) -> None:
    board = board_with(CameraState.ONLINE, CameraState.OFFLINE)
    assert (await report(board, tmp_path)).status == "degraded"


async def test_a_camera_whose_file_has_ended_is_not_missed(tmp_path: Path) -> None:
    board = board_with(CameraState.ENDED, CameraState.ENDED)
    assert (await report(board, tmp_path)).status == "healthy"


async def test_with_no_camera_configured_it_is_healthy(tmp_path: Path) -> None:
    assert (await report(Board(), tmp_path)).status == "healthy"


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("redis", CacheError("no answer")),
        ("kafka", BusUnavailable("no broker")),
        ("outbox", OSError(28, "No space left on device")),
    ],
)
async def test_without_a_part_that_inspection_can_do_without_it_is_degraded(
    tmp_path: Path, name: str, error: Exception
) -> None:
    document = await report(board_with(CameraState.ONLINE), tmp_path, **{name: failing(error)})
    assert document.status == "degraded"
    assert document.model_dump()["components"][name]["healthy"] is False


async def test_a_component_that_says_nothing_is_given_up_and_does_not_hold_up_the_others(
    tmp_path: Path,
) -> None:
    async def silent() -> float:
        await asyncio.sleep(3600)
        return 0.0

    health = Health(Board(), {"triton": quick, "redis": silent}, disk=tmp_path, timeout_s=0.05)
    document = await asyncio.wait_for(health.report(), 10)
    assert document.components.triton.healthy
    assert document.components.redis.error == "no answer within 0.05 s"


async def test_a_part_that_is_looked_at_without_asking_anybody_has_no_latency(
    tmp_path: Path,
) -> None:
    async def here() -> float:
        return 0.0

    document = await report(Board(), tmp_path, outbox=here)
    assert document.model_dump(exclude_none=True)["components"]["outbox"] == {
        "healthy": True,
        "enabled": True,
    }


async def test_a_bug_in_a_check_is_not_taken_for_an_ill_component(tmp_path: Path) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await report(Board(), tmp_path, redis=failing(ZeroDivisionError()))
    assert caught.group_contains(ZeroDivisionError)


async def test_no_credential_is_repeated_from_an_error(tmp_path: Path) -> None:
    error = CacheError("redis://:hunter2hunter2@cache:6379 refused")
    document = await report(Board(), tmp_path, redis=failing(error))
    assert "hunter2" not in document.model_dump_json()


async def test_many_scrapes_at_once_ask_each_component_once(tmp_path: Path) -> None:
    asked, now_s = 0, 0.0

    async def counting() -> float:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return 0.001

    health = Health(Board(), {"triton": counting}, disk=tmp_path, clock=lambda: now_s)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(50):
            tasks.create_task(health.report())
    assert asked == 1
    now_s = 1.5
    await health.report()
    assert asked == 2


async def test_the_ledger_of_every_camera_is_in_it_and_balances(tmp_path: Path) -> None:
    board, ledger = Board(), CameraLedger()
    board.add_camera(camera(), ledger)
    for _ in range(10):
        ledger.decoded()
    for _ in range(4):
        ledger.inspected()
    for _ in range(5):
        ledger.skipped(Skip.SAMPLING)
    account = (await report(board, tmp_path)).components.cameras.cameras["door"].ledger
    assert account.decoded == account.inspected + sum(account.skipped.values()) + account.pending
    assert account.pending == 1


async def test_a_state_folder_that_is_not_made_yet_is_measured_at_its_parent(
    tmp_path: Path,
) -> None:
    document = await report(Board(), tmp_path / "not" / "yet")
    assert document.components.system.disk_free_gb > 0
