"""What the pipeline sends to Triton for some frames of a clip, byte for byte, so that every load can send the same."""

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from orchestrator.capture.picture import AvPicture
from orchestrator.capture.scaler import Scaler
from orchestrator.errors import InferenceStale
from orchestrator.inference.breaker import Breaker
from orchestrator.inference.object_detector import DetectionLimits, TritonObjectDetector
from orchestrator.inference.triton import ServedModel, TritonClient
from orchestrator.metrics import Metrics

Tensors = dict[str, NDArray[Any]]  # by input; the first axis counts the frames


class Recording(TritonClient):
    """Keeps what it is asked to send, and sends nothing."""

    def __init__(self, url: str) -> None:
        super().__init__(
            url,
            timeout_s=10.0,
            max_in_flight=1,
            breaker=Breaker(1, 1.0, on_change=lambda _: None),
            metrics=Metrics(CollectorRegistry()),
        )
        self.sent: list[Tensors] = []

    async def infer(
        self, model: ServedModel, tensor: Any, outputs: tuple[str, ...], *, deadline_s: float
    ) -> tuple[NDArray[Any], ...]:
        given = tensor if isinstance(tensor, dict) else {model.inputs[0].name: tensor}
        self.sent.append({name: np.array(array) for name, array in given.items()})
        raise InferenceStale("it was only to be recorded")


async def recorded(url: str, model: str, clip: Path, count: int, target: Path) -> Path:
    """Write a .npz with the tensors of `count` frames, evenly over the clip."""
    client = Recording(url)
    try:
        served = await client.describe(model)
        detector = TritonObjectDetector(client, served, DetectionLimits(0.5, 0.5, ()))
        for picture in _pictures(clip, count):
            with suppress(InferenceStale):
                await detector.detect(picture, deadline_s=time.monotonic() + 60)
    finally:
        await client.close()
    names = list(client.sent[0])
    columns = {name: np.concatenate([each[name] for each in client.sent]) for name in names}
    np.savez(target, **columns)  # type: ignore[arg-type]  # its stub takes any name for allow_pickle
    return target


def read(path: Path) -> Tensors:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _pictures(clip: Path, count: int) -> Iterator[AvPicture]:
    scaler = Scaler()
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        every = max(stream.frames // count, 1)
        for number, frame in enumerate(container.decode(stream)):
            if number % every == 0 and number < every * count:
                yield AvPicture(frame, scaler)
