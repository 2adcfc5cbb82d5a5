"""A model is swapped under load: every request is answered, and by the version that the answer says it is of."""

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner, Result

from export import versions
from orchestrator.app import make_triton_client
from orchestrator.cli.models import app as models_command
from orchestrator.detection import Detections
from orchestrator.embedded.triton import EmbeddedTriton, TritonKind, shared_memory_prefix
from orchestrator.errors import InferenceError, InferenceInvalid, ModelRefused
from orchestrator.inference.models import Models, load_models
from orchestrator.ledger import Skip
from orchestrator.metrics import Metrics
from orchestrator.models import check_served
from orchestrator.picture import ArrayPicture
from orchestrator.settings import (
    CaptureSettings,
    DetectorSettings,
    FacesSettings,
    Settings,
    TritonSettings,
)
from tests.faults.watching import RECOVERY_S, numbered_cameras, triton_settings, watching
from tests.servers.reading_model import (
    FIRST,
    SECOND,
    Reader,
    box_of,
    config_of,
    graph_of,
    numbers_in,
    write_reading_model,
)
from tests.servers.synthetic import draw
from tests.servers.triton import StartTriton
from tests.servers.vouching import note_for

pytestmark = pytest.mark.xdist_group("triton")

SWAPS = 20
ASKERS = 12
SLOT = "object_detector"
READERS = {str(reader.version): reader for reader in (FIRST, SECOND)}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Serves FIRST, with SECOND beside it."""
    repository = write_reading_model(tmp_path / "repository")
    folder = repository / SLOT
    assert land(folder, SECOND) == SECOND.version
    versions.roll_back(folder)
    return repository


def land(folder: Path, reader: Reader, content: bytes | None = None) -> int:
    model = content or graph_of(reader)
    number = versions.land(folder, {"model.onnx": model, "provenance.json": note_for(model)})
    versions.serve(folder, number, config_of(reader))
    return number


def settings_of(server: EmbeddedTriton, repository: Path, **detector: object) -> Settings:
    return Settings(
        triton=TritonSettings(url=server.grpc_url, timeout=60.0, model_repository=repository),
        faces=FacesSettings(enabled=False),
        detector=DetectorSettings.model_validate(detector),
    )


@asynccontextmanager
async def loaded(settings: Settings, *, follow: bool = True) -> AsyncIterator[Models]:
    client = make_triton_client(settings, Metrics(CollectorRegistry()), patient=True)
    try:
        yield await load_models(client, settings, follow=follow)
    finally:
        await client.close()


@dataclass
class Load:
    """Askers who never pause, each with a picture of another number. Whatever does not fit is kept in `wrong`."""

    models: Models
    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    async def ask(self, seed: int) -> None:
        numbers = random.Random(seed)
        while True:
            number = numbers.randrange(1, 1000)
            picture = ArrayPicture(draw(number, 320, 240))
            deadline_s = time.monotonic() + RECOVERY_S
            try:
                found = await self.models.detector.detect(picture, deadline_s=deadline_s)
            except InferenceError as error:
                self.wrong.append(f"no answer for {number}: {error}")
                return
            self.heed(number, found)

    def heed(self, number: int, found: Detections) -> None:
        assert found.model is not None
        reader = READERS[found.model.version.version]
        self.answers[found.model.version.version] += 1
        said = (found.model.version.sha256, found.model.labels, found.class_id.tolist())
        if said != (reader.sha256, reader.labels, [reader.class_id]):
            self.wrong.append(f"version {reader.version} said {said}")
        if [round(x) for x in found.xyxy[0].tolist()] != [round(x) for x in box_of(number)]:
            self.wrong.append(f"version {reader.version} saw {found.xyxy.tolist()} in {number}")

    async def until_answered(self, version: int, more: int = 5) -> None:
        """Wait until this version gave some more answers than now."""
        want = self.answers[str(version)] + more
        async with asyncio.timeout(RECOVERY_S):
            while self.answers[str(version)] < want and not self.wrong:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert self.wrong == []


@asynccontextmanager
async def under_load(models: Models) -> AsyncIterator[Load]:
    load = Load(models)
    async with asyncio.TaskGroup() as tasks:
        asking = [tasks.create_task(load.ask(seed)) for seed in range(ASKERS)]
        yield load
        for task in asking:
            task.cancel()
    assert load.wrong == []


def fess_models(settings: Settings, *words: str) -> Result:
    """The command as an operator types it, in an environment that names this Triton."""
    environment = {
        "TRITON_URL": settings.triton.url,
        "TRITON_MODEL_REPOSITORY": str(settings.triton.model_repository),
        "COLUMNS": "300",
    }
    return CliRunner().invoke(models_command, list(words), env=environment)


async def swapped(settings: Settings, to: int) -> Result:
    return await asyncio.to_thread(fess_models, settings, "rollback", "--to", str(to))


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(RECOVERY_S):
        while not holds():  # noqa: ASYNC110 - a server's processes tell nobody
            await asyncio.sleep(0.1)


async def until_it_fails(attempt: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(RECOVERY_S):
        while True:
            await attempt()
            await asyncio.sleep(0.1)


async def test_twenty_swaps_lose_no_request_mix_no_answer_and_leave_nothing_behind(
    start_triton: StartTriton, repository: Path, tmp_path: Path
) -> None:
    restarts: list[str] = []
    server = start_triton(repository, watch=True, on_restart=restarts.append)
    settings, process = settings_of(server, repository), psutil.Process(server.pid)
    backends, memory = len(process.children()), shared_memory(tmp_path)
    async with loaded(settings) as models, under_load(models) as load:
        await load.until_answered(FIRST.version)
        for swap in range(SWAPS):
            to = (SECOND, FIRST)[swap % 2].version
            result = await swapped(settings, to)
            assert "The running Triton serves it." in result.stderr, result.output
            await load.until_answered(to)
    assert min(load.answers.values()) > 5 * SWAPS / 2
    await eventually(lambda: len(process.children()) == backends)
    await eventually(lambda: shared_memory(tmp_path) == memory)
    assert restarts == []


def shared_memory(tmp_path: Path) -> int:
    prefix = shared_memory_prefix(tmp_path / "state")
    return sum(name.startswith(prefix) for name in os.listdir("/dev/shm"))


async def test_cameras_go_on_through_swaps_and_every_event_names_who_saw_it(
    start_triton: StartTriton, repository: Path, tmp_path: Path
) -> None:
    server = start_triton(repository, watch=True)
    settings = settings_of(server, repository)
    # Where nothing is too late, nothing may be lost, however slow the machine is.
    patient = triton_settings(server.grpc_url, timeout=RECOVERY_S).model_copy(
        update={"capture": CaptureSettings(max_frame_age=RECOVERY_S)}
    )
    async with watching(patient, numbered_cameras(tmp_path, 4)) as seen:
        await seen.until_all_see()
        for to in (2, 1, 2, 1):
            await swapped(settings, to)
            await seen.until_all_see()
        assert (seen.skipped(Skip.ERROR), seen.skipped(Skip.STALE)) == (0, 0)
        assert [seen.failures(cause) for cause in ("invalid", "unavailable")] == [0, 0]
        assert not seen.lost
    assert seen.misplaced() == []
    answered = Counter[str]()
    for event in seen.motion:
        assert event.evidence is not None
        (model,) = event.evidence.models
        reader = READERS[model.version]
        answered[model.version] += 1
        assert model.sha256 == reader.sha256
        assert {thing.object_class for thing in event.detected_objects} == {reader.label}
        assert len(numbers_in(event)) == 1
    assert len(answered) == 2


# What passes the gate, and Triton cannot serve as the configuration says.
BROKEN, REASON = graph_of(FIRST), "input images: config.pbtxt says"


async def test_a_broken_version_is_refused_with_its_reason_and_the_old_one_goes_on(
    start_triton: StartTriton, repository: Path, tmp_path: Path
) -> None:
    server = start_triton(repository, watch=True)
    settings = settings_of(server, repository)
    async with loaded(settings) as models, under_load(models) as load:
        await load.until_answered(FIRST.version)
        broken = land(repository / SLOT, SECOND, BROKEN)
        versions.roll_back(repository / SLOT, to=FIRST.version)
        result = await swapped(settings, broken)
        assert isinstance(result.exception, ModelRefused)
        told = str(result.exception)
        assert REASON in told
        assert f"refused version {broken}" in told
        assert versions.served(repository / SLOT) == FIRST.version
        await load.until_answered(FIRST.version, more=50)
        listed = await asyncio.to_thread(fess_models, settings, "list")
        assert f"version {broken} was refused" in listed.stdout
        # What was refused once does not stand in the way of others.
        assert await check_served(settings, models) == 0.0
        async with EmbeddedTriton(repository, tmp_path / "state") as second:
            assert second.attached
        result = await swapped(settings, SECOND.version)
        assert "The running Triton serves it." in result.stderr
        await load.until_answered(SECOND.version)


async def test_a_version_that_is_named_by_hand_and_refused_is_told_by_the_health_check(
    start_triton: StartTriton, repository: Path
) -> None:
    server = start_triton(repository)
    settings = settings_of(server, repository)
    async with loaded(settings) as models:
        broken = land(repository / SLOT, SECOND, b"not a model")
        told = rf"refused version {broken}: .*version 1 goes on"
        with pytest.raises(InferenceInvalid, match=told):
            await until_it_fails(lambda: check_served(settings, models))


async def test_triton_killed_during_a_swap_comes_back_with_the_version_that_is_named(
    start_triton: StartTriton, repository: Path
) -> None:
    server = start_triton(repository, watch=True)
    settings = settings_of(server, repository)
    async with loaded(settings) as models:
        load, killed = Load(models), server.pid
        versions.roll_back(repository / SLOT, to=SECOND.version)
        await eventually(lambda: len(psutil.Process(killed).children()) > 2)
        os.kill(killed, signal.SIGKILL)
        await eventually(lambda: server.pid != killed)
        picture = ArrayPicture(draw(321, 320, 240))
        async with asyncio.timeout(RECOVERY_S):
            while not load.answers[str(SECOND.version)]:
                with contextlib.suppress(InferenceError):
                    deadline_s = time.monotonic() + 5.0
                    load.heed(321, await models.detector.detect(picture, deadline_s=deadline_s))
                await asyncio.sleep(0.1)
        assert load.wrong == []


async def test_a_backend_process_lost_after_a_swap_is_still_noticed(
    start_triton: StartTriton, repository: Path
) -> None:
    causes: list[str] = []
    server = start_triton(repository, watch=True, on_restart=causes.append)
    settings = settings_of(server, repository)
    assert "serves it" in (await swapped(settings, SECOND.version)).stderr
    crippled = psutil.Process(server.pid)
    # The processes of the version before end by themselves.
    await eventually(lambda: len(crippled.children()) == 2)
    assert causes == []
    crippled.children()[0].kill()
    await eventually(lambda: server.pid != crippled.pid)
    assert causes == ["lost the backend process of a model"]


async def test_where_all_answers_must_be_of_one_version_a_swap_is_an_error(
    start_triton: StartTriton, repository: Path
) -> None:
    server = start_triton(repository)
    settings = settings_of(server, repository)
    picture = ArrayPicture(draw(7, 320, 240))
    async with loaded(settings, follow=False) as models:
        await swapped(settings, SECOND.version)
        with pytest.raises(InferenceError, match="run this again"):
            await until_it_fails(
                lambda: models.detector.detect(picture, deadline_s=time.monotonic() + 10.0)
            )


MODES = {
    "none": "has not taken it up: if it reads its models only when it starts, restart it",
    "explicit": "The running Triton serves it",
    "poll": "The running Triton serves it",
}
EXTRA = {"explicit": ("--load-model=*",), "poll": ("--repository-poll-secs=1",)}


def in_mode(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same server as somebody else would start it."""
    flags = TritonKind._options

    def other(kind: TritonKind, ports: tuple[int, ...]) -> list[str]:
        words = [word for word in flags(kind, ports) if "poll" not in word]
        return [*words, f"--model-control-mode={mode}", *EXTRA.get(mode, ())]

    monkeypatch.setattr(TritonKind, "_options", other)


@pytest.mark.parametrize(("mode", "told"), MODES.items(), ids=MODES.keys())
async def test_each_mode_of_a_triton_elsewhere_is_told_what_it_means(
    start_triton: StartTriton,
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    told: str,
) -> None:
    in_mode(mode, monkeypatch)
    server = start_triton(repository)
    result = await swapped(settings_of(server, repository), SECOND.version)
    assert told in result.stderr, result.output


async def test_a_triton_elsewhere_that_refuses_a_version_keeps_the_old_one_named(
    start_triton: StartTriton, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_mode("explicit", monkeypatch)
    server = start_triton(repository)
    broken = land(repository / SLOT, SECOND, BROKEN)
    versions.roll_back(repository / SLOT, to=FIRST.version)
    result = await swapped(settings_of(server, repository), broken)
    assert isinstance(result.exception, ModelRefused)
    assert REASON in str(result.exception)
    assert versions.served(repository / SLOT) == FIRST.version


def test_without_a_triton_the_next_one_to_start_serves_it(
    repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    words = {"TRITON_MODEL_REPOSITORY": str(repository)}
    result = CliRunner().invoke(models_command, ["rollback", "--to", "2"], env=words)
    assert "No Triton runs on this repository" in result.stderr


async def test_the_embedded_triton_of_the_state_folder_is_found_and_its_version_listed(
    start_triton: StartTriton, repository: Path, tmp_path: Path
) -> None:
    start_triton(repository)
    words = {
        "TRITON_MODEL_REPOSITORY": str(repository),
        "STATE_DIR": str(tmp_path / "state"),
        "COLUMNS": "300",
    }

    def run(*command: str) -> Result:
        return CliRunner().invoke(models_command, list(command), env=words)

    assert "1 (5e)" in (await asyncio.to_thread(run, "list")).stdout
    result = await asyncio.to_thread(run, "rollback", "--to", "2")
    assert "The running Triton serves it." in result.stderr, result.output
    assert "2 (a2)" in (await asyncio.to_thread(run, "list")).stdout
