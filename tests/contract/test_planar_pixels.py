"""People are found in planes as they are found in RGB: scaled here or by the graph, alone, in batches, through Triton.

The network itself is the limit: another good way of scaling RGB (bicubic instead of area) moves as many boxes as far.
Of detections that are reported (0.5 or more) none may be missing, none may overlap by less than 0.93 or
differ by more than 0.05 in score, and 97 of 100 must overlap by more than 0.98.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from export.manifest import Pixels
from orchestrator.app import make_triton_client
from orchestrator.camera import Camera
from orchestrator.capture.picture import AvPicture
from orchestrator.embedded.triton import EmbeddedTriton
from orchestrator.embedded.triton_files import TritonFiles
from orchestrator.inference.live_models import LiveObjectDetector
from orchestrator.inference.models import load_models
from orchestrator.metrics import Metrics
from orchestrator.replay import replay
from orchestrator.settings import DetectorSettings, FacesSettings, Settings, TritonSettings
from tests.export.agreement import Agreement, filmed, found_in
from tests.export.footage import FACE_CLIPS, PEOPLE_CLIP
from tests.recognition.networks import session
from tests.servers.held import held
from tests.servers.layouts import LAYOUTS, name_of, write_layouts

pytestmark = pytest.mark.xdist_group("triton")

PATIENCE_S = 60.0
PLANES: tuple[Pixels, ...] = ("planar", "decoded")


@pytest.fixture(scope="module")
def layouts(models_mirror: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_layouts(models_mirror, tmp_path_factory.mktemp("layouts"))


@pytest.fixture(scope="module")
def networks(layouts: Path) -> dict[Pixels, onnxruntime.InferenceSession]:
    return {pixels: session(layouts / name_of(pixels) / "1" / "model.onnx") for pixels in LAYOUTS}


@pytest.fixture(scope="module")
def server(
    layouts: Path, triton_files: TritonFiles, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmbeddedTriton]:
    with held(EmbeddedTriton(layouts, tmp_path_factory.mktemp("triton"))) as started:
        yield started


@pytest.fixture(scope="module", params=["people", "people in 1080p", "faces"])
def footage(request: pytest.FixtureRequest, clips: Path) -> list[list[AvPicture]]:
    """Pictures of one size each: limited and full range, with and without people."""
    match request.param:
        case "people":
            return [filmed(clips / PEOPLE_CLIP, 10)]
        case "people in 1080p":
            return [filmed(clips / PEOPLE_CLIP, 35, (1920, 1080))]
        case _:
            return [filmed(clips / clip, 10) for clip in FACE_CLIPS]


@pytest.mark.parametrize("batch", [1, 3, 8])
@pytest.mark.parametrize("pixels", PLANES)
def test_detections_agree_with_those_in_rgb(
    pixels: Pixels,
    batch: int,
    footage: list[list[AvPicture]],
    networks: dict[Pixels, onnxruntime.InferenceSession],
) -> None:
    reference, found = [], []
    for pictures in footage:
        reference += found_in(networks["rgb"], "rgb", pictures, 1)
        found += found_in(networks[pixels], pixels, pictures, batch)
    agreement = Agreement.of(reference, found)
    assert len(agreement.overlaps) > 20
    assert agreement.overlaps.min() > 0.93
    assert (agreement.overlaps > 0.98).mean() > 0.97
    assert agreement.differences.max() < 0.05


@pytest.fixture
async def detectors(
    server: EmbeddedTriton, tmp_path: Path
) -> AsyncIterator[dict[Pixels, LiveObjectDetector]]:
    settings = [settings_of(server, tmp_path, pixels) for pixels in LAYOUTS]
    client = make_triton_client(settings[0], Metrics(CollectorRegistry()), patient=True)
    models = [await load_models(client, each) for each in settings]
    yield {pixels: each.detector for pixels, each in zip(LAYOUTS, models, strict=True)}
    await client.check_sharing()
    await client.close()


def settings_of(server: EmbeddedTriton, state_dir: Path, pixels: Pixels) -> Settings:
    return Settings(
        state_dir=state_dir,
        triton=TritonSettings(url=server.grpc_url, timeout=PATIENCE_S, shared_memory="on"),
        detector=DetectorSettings(model=name_of(pixels)),
        faces=FacesSettings(enabled=False),
    )


@pytest.mark.parametrize("pixels", PLANES)
async def test_each_of_many_requests_at_once_gets_the_answer_to_its_own_picture_whatever_its_size(
    pixels: Pixels,
    clips: Path,
    detectors: dict[Pixels, LiveObjectDetector],
    networks: dict[Pixels, onnxruntime.InferenceSession],
) -> None:
    cameras = [
        filmed(clips / PEOPLE_CLIP, 40, most=6),
        filmed(clips / PEOPLE_CLIP, 50, (641, 361), most=4),
        filmed(clips / FACE_CLIPS[0], 20, most=4),
    ]
    pictures = [picture for camera in cameras for picture in camera]
    alone = [each for camera in cameras for each in found_in(networks[pixels], pixels, camera, 1)]
    async with asyncio.TaskGroup() as tasks:
        asked = [
            (number, tasks.create_task(detectors[pixels].detect(picture, deadline_s=soon())))
            for _ in range(3)
            for number, picture in enumerate(pictures)
        ]
    for number, task in asked:
        wanted, got = alone[number], task.result()
        assert len(got) == len(wanted)
        np.testing.assert_allclose(got.xyxy, wanted.xyxy, atol=0.5)
        np.testing.assert_allclose(got.confidence, wanted.confidence, atol=1e-3)
    assert sum(map(len, alone)) > 5


def soon() -> float:
    return time.monotonic() + PATIENCE_S


@pytest.mark.parametrize("pixels", PLANES)
def test_two_replays_give_the_same_bytes(
    pixels: Pixels, server: EmbeddedTriton, clips: Path, tmp_path: Path
) -> None:
    camera = Camera(
        camera_id="door", url=SecretStr(str(clips / "face_brother.mkv")), fps=5.0, loop=False
    )
    runs: list[list[bytes]] = [[], []]
    for lines in runs:
        asyncio.run(replay(settings_of(server, tmp_path, pixels), camera, lines.append))
    assert runs[0] == runs[1]
    assert len(runs[0]) > 5
