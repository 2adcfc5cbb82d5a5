"""`fess check`: what is found without a server, each with what to mend; the servers are in tests/contract."""

import hashlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import SecretStr
from rich.console import Console

from export import versions
from export.manifest import load
from orchestrator.checking import machine
from orchestrator.checking.cameras import cameras
from orchestrator.checking.finding import Finding, Verdict
from orchestrator.checking.models import model_files
from orchestrator.checking.servers import bus, redis, triton
from orchestrator.cli.check import check, show
from orchestrator.settings import (
    CaptureSettings,
    DetectorSettings,
    EventsSettings,
    FacesSettings,
    HttpSettings,
    KafkaSettings,
    RedisSettings,
    Settings,
    TritonSettings,
)

PASSWORD = "hunter2-is-secret"


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that nobody listens on and nobody else gets."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield int(held.getsockname()[1])


CONFIG = 'name: "NAME"\nparameters { key: "labels" value: { string_value: "person,car" } }\n'


def repository(folder: Path, source: str | None = None) -> Path:
    """A model repository whose files are consistent, as far as can be told without loading them."""
    source = source or next(model.sha256 for model in load().models if model.sha256) or ""
    for name in ("object_detector", "face_detector", "face_embedder"):
        version = folder / name / "1"
        version.mkdir(parents=True)
        (folder / name / "config.pbtxt").write_text(CONFIG.replace("NAME", name))
        (version / "model.onnx").write_bytes(name.encode())
        digest = hashlib.sha256(name.encode()).hexdigest()
        note = {"result_sha256": digest, "source_sha256": source}
        (version / "provenance.json").write_text(json.dumps(note))
    return folder


def served_from(folder: Path, *classes: str) -> Settings:
    return Settings(
        triton=TritonSettings(model_repository=folder), detector=DetectorSettings(classes=classes)
    )


def verdicts(findings: list[Finding]) -> dict[str, Verdict]:
    return {finding.part: finding.verdict for finding in findings}


def test_models_that_are_there_and_undamaged_are_fine(tmp_path: Path) -> None:
    findings = model_files(served_from(repository(tmp_path), "person"))
    assert {finding.verdict for finding in findings} == {Verdict.OK}
    assert [finding.part for finding in findings] == [
        "model object_detector",
        "model face_detector",
        "model face_embedder",
        "classes",
    ]


def test_face_models_are_not_asked_for_where_faces_are_off(tmp_path: Path) -> None:
    settings = Settings(
        triton=TritonSettings(model_repository=repository(tmp_path)),
        faces=FacesSettings(enabled=False),
    )
    assert [finding.part for finding in model_files(settings)] == ["model object_detector"]


@pytest.mark.parametrize(
    ("spoilt", "expected"),
    [
        ("config.pbtxt", "has no config.pbtxt"),
        ("1/model.onnx", "holds no model.onnx"),
    ],
)
def test_a_missing_model_file_is_told_with_the_command_that_fetches_it(
    tmp_path: Path, spoilt: str, expected: str
) -> None:
    (repository(tmp_path) / "object_detector" / spoilt).unlink()
    finding = model_files(served_from(tmp_path))[0]
    assert (finding.verdict, finding.mend) == (Verdict.FAILED, "run `fess models fetch`")
    assert expected in finding.what


def test_a_damaged_model_file_is_told(tmp_path: Path) -> None:
    (repository(tmp_path) / "face_embedder" / "1" / "model.onnx").write_bytes(b"damaged")
    assert verdicts(model_files(served_from(tmp_path)))["model face_embedder"] is Verdict.FAILED


def test_weights_of_ones_own_are_no_mistake_but_are_told(tmp_path: Path) -> None:
    finding = model_files(served_from(repository(tmp_path, source="0" * 64)))[0]
    assert finding.verdict is Verdict.WARNING
    assert "not in the manifest" in finding.what


@pytest.mark.parametrize("note", [None, "[]"])
def test_a_model_that_nothing_vouches_for_is_not_served(tmp_path: Path, note: str | None) -> None:
    path = repository(tmp_path) / "object_detector" / "1" / "provenance.json"
    path.unlink()
    if note is not None:
        path.write_text(note)
    finding = model_files(served_from(tmp_path))[0]
    assert finding.verdict is Verdict.FAILED
    if note is None:
        assert f"`fess models add {path.with_name('model.onnx')}`" in finding.mend


def test_a_version_that_was_put_beside_the_served_one_by_hand_is_told(tmp_path: Path) -> None:
    folder = repository(tmp_path) / "object_detector"
    (folder / "2").mkdir()
    (folder / "2" / "model.onnx").write_bytes(b"mine")
    (folder / "config.pbtxt").write_text(versions.pinned(CONFIG.replace("NAME", folder.name), 1))
    finding = model_files(served_from(tmp_path))[0]
    assert finding.verdict is Verdict.WARNING
    assert f"{folder / '2'} is not served" in finding.what
    assert f"`fess models add {folder / '2' / 'model.onnx'}`" in finding.mend


def test_a_class_that_the_detector_does_not_know_is_told_with_those_it_knows(
    tmp_path: Path,
) -> None:
    finding = model_files(served_from(repository(tmp_path), "person", "cat"))[-1]
    assert (finding.verdict, finding.what) == (Verdict.FAILED, "the detector has no class cat")
    assert finding.mend == "set DETECTOR_CLASSES to some of: person, car"


async def test_cameras_deliver_a_picture_or_say_why_not(
    tmp_path: Path, clips: Path, closed_port: int
) -> None:
    file = tmp_path / "cameras.yaml"
    file.write_text(
        f"""\
cameras:
  clip: {{url: {clips / "face_again.mkv"}}}
  gone: {{url: {tmp_path / "gone.mp4"}}}
  dead: {{url: "rtsp://viewer:{PASSWORD}@127.0.0.1:{closed_port}/x?token={PASSWORD}"}}
  text: {{url: {file}}}
  off: {{url: gone.mp4, enabled: false}}
"""
    )
    file.chmod(0o600)
    findings = await cameras(Settings(cameras_file=file))
    assert verdicts(findings) == {
        "camera clip": Verdict.OK,
        "camera gone": Verdict.FAILED,
        "camera dead": Verdict.FAILED,
        "camera text": Verdict.FAILED,
        "camera off": Verdict.OK,
    }
    assert all(finding.mend for finding in findings if finding.verdict is Verdict.FAILED)
    assert PASSWORD not in repr(findings)


async def test_a_camera_that_says_nothing_is_given_up_in_time(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        file = tmp_path / "cameras.yaml"
        file.write_text(f"cameras: {{mute: {{url: rtsp://127.0.0.1:{silent.getsockname()[1]}/x}}}}")
        quick = CaptureSettings(connect_timeout=0.5, read_timeout=0.5)
        (finding,) = await cameras(Settings(cameras_file=file, capture=quick))
    assert finding.verdict is Verdict.FAILED


async def test_passwords_that_others_can_read_are_told(tmp_path: Path, closed_port: int) -> None:
    file = tmp_path / "cameras.yaml"
    file.write_text(f"cameras: {{a: {{url: 'rtsp://u:{PASSWORD}@127.0.0.1:{closed_port}/'}}}}")
    file.chmod(0o644)
    finding = (await cameras(Settings(cameras_file=file)))[0]
    assert (finding.verdict, finding.mend) == (Verdict.WARNING, f"chmod 600 {file}")


async def test_no_cameras_and_a_file_with_mistakes_are_told(tmp_path: Path) -> None:
    file = tmp_path / "cameras.yaml"
    settings = Settings(cameras_file=file)
    assert "fess cameras add" in (await cameras(settings))[0].what
    file.write_text("cameras: {}")
    assert "fess cameras add" in (await cameras(settings))[0].mend
    file.write_text("camera: {}")
    assert "did you mean cameras?" in (await cameras(settings))[0].what


async def test_servers_that_are_away_are_told_in_time_and_without_their_passwords(
    closed_port: int,
) -> None:
    away = Settings(
        redis=RedisSettings(host="127.0.0.1", port=closed_port, password=SecretStr(PASSWORD)),
        triton=TritonSettings(url=f"127.0.0.1:{closed_port}"),
        events=EventsSettings(bus="kafka"),
        kafka=KafkaSettings(bootstrap_servers=f"127.0.0.1:{closed_port}"),
    )
    findings = [*await redis(away), *await triton(away), *await bus(away)]
    assert verdicts(findings) == dict.fromkeys(("redis", "triton", "kafka"), Verdict.FAILED)
    assert all(finding.mend for finding in findings)
    assert PASSWORD not in repr(findings)


async def test_a_bus_that_keeps_nothing_is_worth_a_warning() -> None:
    (finding,) = await bus(Settings(events=EventsSettings(bus="memory")))
    assert finding.verdict is Verdict.WARNING
    assert await bus(Settings(events=EventsSettings(bus="redis"))) == []


async def test_a_port_is_free_taken_or_held_by_a_fess_that_runs() -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        place = HttpSettings(port=stranger.getsockname()[1])
        assert (await machine.port(place)).verdict is Verdict.FAILED
    assert (await machine.port(place)).what.endswith("is free")
    assert (await machine.port(HttpSettings(port=0))).verdict is Verdict.OK

    async def health(_request: web.Request) -> web.Response:
        return web.json_response({"status": "healthy", "components": {}})

    app = web.Application()
    app.router.add_get("/health", health)
    async with TestServer(app) as ours:
        finding = await machine.port(HttpSettings(port=ours.port or 0))
    assert (finding.verdict, "held by a `fess run`" in finding.what) == (Verdict.OK, True)


def test_an_open_page_without_a_token_is_told() -> None:
    assert machine.access(HttpSettings(host="0.0.0.0")).verdict is Verdict.FAILED
    token = SecretStr(PASSWORD)
    assert machine.access(HttpSettings(host="0.0.0.0", token=token)).verdict is Verdict.OK
    assert machine.access(HttpSettings()).verdict is Verdict.OK


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    found = machine.disk(
        Settings(state_dir=blocked / "state", events=EventsSettings(outbox=tmp_path / "outbox"))
    )
    assert [finding.verdict for finding in found] == [Verdict.FAILED, Verdict.OK]


def test_a_disk_that_is_full_is_told_to_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(**_: object) -> BinaryIO:
        return Path("/dev/full").open("wb", buffering=0)

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    (state, _) = machine.disk(Settings(state_dir=tmp_path))
    assert (state.what, state.mend) == (
        f"{tmp_path}: no space left on device",
        "free the disk, or name another folder",
    )


def test_a_variable_that_looks_misspelt_is_told_and_strangers_are_not() -> None:
    findings = machine.environment(
        {
            "REDIS_PASWORD": PASSWORD,
            "HTTP_PROXY": "http://proxy",
            "REDIS_SERVICE_HOST": "10.0.0.1",
            "REDIS_PORT": "6379",
        }
    )
    assert [(each.what, each.mend) for each in findings] == [
        ("REDIS_PASWORD is not a setting", "did you mean REDIS_PASSWORD?")
    ]


async def test_one_run_tells_of_everything_and_of_nothing_twice(
    tmp_path: Path, closed_port: int
) -> None:
    settings = Settings(
        state_dir=tmp_path / "state",
        cameras_file=tmp_path / "cameras.yaml",
        redis=RedisSettings(host="127.0.0.1", port=closed_port),
        triton=TritonSettings(model_repository=tmp_path / "models"),
        http=HttpSettings(port=0),
    )
    findings = await check(settings, {})
    parts = [finding.part for finding in findings]
    assert len(parts) == len(set(parts))
    assert {"disk, STATE_DIR", "port", "access", "redis", "cameras"} <= set(parts)
    assert "triton" not in parts  # its models are missing, which is said of them


def test_the_table_ends_with_what_it_comes_to() -> None:
    console = Console(width=120, record=True, file=None, quiet=False, force_terminal=False)
    with console.capture() as printed:
        show([Finding.ok("a", "well"), Finding.warning("b", "odd", "look")], console)
        show([Finding.failed("[c]", f"rtsp://u:{PASSWORD}@h/x is away", "mend it")], console)
    assert "`fess run` can do its work; 1 to look at." in printed.get()
    assert "1 to mend before `fess run` can do its work." in printed.get()
    assert "[c]" in printed.get()
    assert PASSWORD not in printed.get()
