"""What it costs to get a picture to Triton and its detections back: layouts of the pixels, and ways they go."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import av
import numpy as np
from prometheus_client import CollectorRegistry

from export import manifest
from orchestrator.app import make_triton_client
from orchestrator.capture.picture import AvPicture
from orchestrator.capture.scaler import Scaler
from orchestrator.embedded.triton import EmbeddedTriton
from orchestrator.inference.live_models import LiveObjectDetector
from orchestrator.inference.models import load_models
from orchestrator.metrics import Metrics
from orchestrator.settings import DetectorSettings, FacesSettings, Settings, TritonSettings
from tests.export.agreement import CONTINUED, REPORTED
from tests.performance.agreement import agreement
from tests.performance.bench import Bench, folder_of_one_run
from tests.performance.clips import FULL_HD, stream_of
from tests.performance.machine import ROOT
from tests.performance.outcome import Breakdown, Figure, Lacking, Outcome
from tests.performance.usage import cpu_s, family
from tests.servers.layouts import NETWORK, name_of, write_layouts

PICTURES = 24  # kept decoded, 3 MB each
PATIENCE_S = 30.0
INSPECTED_A_SECOND = 5


@dataclass(frozen=True)
class Way:
    """One layout of the pixels, one way that they go."""

    pixels: manifest.Pixels
    shared_memory: Literal["on", "off"]

    @property
    def words(self) -> str:
        layout = {"rgb": "RGB", "planar": "YUV, scaled", "decoded": "YUV, as decoded"}[self.pixels]
        return f"{layout}, {'shared memory' if self.shared_memory == 'on' else 'gRPC'}"


WAYS = (
    Way("rgb", "off"),
    Way("rgb", "on"),
    Way("planar", "off"),
    Way("planar", "on"),
    Way("decoded", "off"),
    Way("decoded", "on"),
)


@dataclass
class Cost:
    """CPU milliseconds of a picture, a value a round."""

    ours: list[float] = field(default_factory=list)
    triton: list[float] = field(default_factory=list)

    def row(self, way: Way) -> tuple[str, ...]:
        both = [one + other for one, other in zip(self.ours, self.triton, strict=True)]
        share = float(np.median(self.ours)) * INSPECTED_A_SECOND / 10
        return (way.words, *map(_spread, (self.ours, self.triton, both)), f"{share:.2f} %")


async def measure(bench: Bench) -> Outcome:
    with folder_of_one_run() as folder:
        clip = await asyncio.to_thread(full_hd_clip, bench, folder)
        repository = await asyncio.to_thread(write_layouts, public_models(), folder / "models")
        pictures = await asyncio.to_thread(decoded, clip)
        bench.say("agreement of what is found")
        agreed = await asyncio.to_thread(agreement, clip, repository, bench.choose(4, 25))
        async with EmbeddedTriton(repository, folder / "state") as triton:
            costs = await _compare(bench, triton, pictures, folder)
    figures = tuple(
        Figure(
            f"orchestrator's CPU a picture: {way.words}",
            float(np.median(cost.ours)),
            "ms",
            f"median of {len(cost.ours)} rounds, {min(cost.ours):.2f} to {max(cost.ours):.2f}",
        )
        for way, cost in costs.items()
    )
    return Outcome(
        "The way of a picture to Triton and back",
        figures,
        _notes(len(costs[WAYS[0]].ours)),
        (Breakdown("CPU milliseconds of a picture", HEADER, _rows(costs)), agreed),
    )


HEADER = (
    "way",
    "orchestrator, median (range)",
    "Triton, median (range)",
    "both",
    "of a core for a camera",
)


def _rows(costs: dict[Way, Cost]) -> tuple[tuple[str, ...], ...]:
    return tuple(cost.row(way) for way, cost in costs.items())


def _spread(values: Sequence[float]) -> str:
    return f"{np.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _notes(rounds: int) -> tuple[str, ...]:
    return (
        f"{PICTURES} pictures of people in 1080p, decoded beforehand, one after the other through "
        f"`LiveObjectDetector` and RTMDet-nano at 320; {rounds} rounds in which every way has its turn, in "
        "alternating order. CPU time of this process (scaling, sending, all of gRPC's threads, boxes) and of the "
        "Triton family, as the kernel accounts it.",
        f"Of a core for a camera: with {INSPECTED_A_SECOND} inspected pictures a second; decoding is not in it.",
        f"Agreement: of each detection of at least {REPORTED:g}, of either, the best overlap with one of at least "
        f"{CONTINUED:g} of the other, and how far their scores are apart; the clip is enlarged to 1080p.",
    )


async def _compare(
    bench: Bench, triton: EmbeddedTriton, pictures: Sequence[AvPicture], folder: Path
) -> dict[Way, Cost]:
    costs = {way: Cost() for way in WAYS}
    async with contextlib.AsyncExitStack() as clients:
        detectors = {
            way: await clients.enter_async_context(_detector(way, triton, folder)) for way in WAYS
        }
        for detector in detectors.values():
            await _run(detector, pictures)
        for number in range(bench.choose(12, 2)):
            for way in WAYS if number % 2 == 0 else reversed(WAYS):
                bench.say(f"round {number + 1}: {way.words}")
                repeats = 1 if way.pixels == "decoded" else 8
                before_s = time.process_time(), cpu_s(family(triton.pid))
                for _ in range(repeats):
                    await _run(detectors[way], pictures)
                after_s = time.process_time(), cpu_s(family(triton.pid))
                each_ms = 1000 / (repeats * len(pictures))
                costs[way].ours.append((after_s[0] - before_s[0]) * each_ms)
                costs[way].triton.append((after_s[1] - before_s[1]) * each_ms)
    return costs


async def _run(detector: LiveObjectDetector, pictures: Sequence[AvPicture]) -> None:
    for picture in pictures:
        await detector.detect(picture, deadline_s=time.monotonic() + PATIENCE_S)


@asynccontextmanager
async def _detector(
    way: Way, triton: EmbeddedTriton, folder: Path
) -> AsyncIterator[LiveObjectDetector]:
    settings = Settings(
        state_dir=folder / "state",
        triton=TritonSettings(
            url=triton.grpc_url, timeout=PATIENCE_S, shared_memory=way.shared_memory
        ),
        detector=DetectorSettings(model=name_of(way.pixels)),
        faces=FacesSettings(enabled=False),
    )
    client = make_triton_client(settings, Metrics(CollectorRegistry()), patient=True)
    try:
        yield (await load_models(client, settings)).detector
        await client.check_sharing()
    finally:
        await client.close()


def full_hd_clip(bench: Bench, folder: Path) -> Path:
    source = bench.sample("one-by-one-person-detection.mp4")
    return stream_of(source, folder / "people.mp4", PICTURES, FULL_HD, begin_s=8.0)


def decoded(clip: Path) -> list[AvPicture]:
    """A picture a second."""
    scaler = Scaler()
    with av.open(str(clip)) as container:
        frames = [
            frame for number, frame in enumerate(container.decode(video=0)) if number % 25 == 0
        ]
    return [AvPicture(frame, scaler) for frame in frames[:PICTURES]]


def public_models() -> Path:
    """The folder of the public files. Raises Lacking."""
    name = manifest.load().model(NETWORK).file
    named = os.environ.get("FESS_MODELS_MIRROR")
    folders = [Path(named)] if named else []
    for folder in (*folders, ROOT.parent / "shared" / "models", ROOT / ".fess" / "models"):
        if (folder / name).is_file():
            return folder
    raise Lacking(f"{name}: run `make models`")
