"""Waits for Triton to serve the models, and makes the adapters that ask them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from orchestrator.errors import InferenceUnavailable, SettingsError
from orchestrator.inference.faces import TritonFaceDetector, TritonFaceEmbedder
from orchestrator.inference.object_detector import (
    DetectionLimits,
    TritonObjectDetector,
    class_ids,
)
from orchestrator.inference.triton import TritonClient
from orchestrator.settings import Settings

log = logging.getLogger(__name__)

RETRY_EVERY_S = 1.0
# Every so many tries the log says again what is waited for.
TELL_EVERY = 10
# Detections below the reporting threshold still continue a track (ByteTrack's second association).
CONTINUE_FROM = 0.25


@dataclass(frozen=True, slots=True)
class FaceModels:
    detector: TritonFaceDetector
    embedder: TritonFaceEmbedder
    match_threshold: float


@dataclass(frozen=True, slots=True)
class Models:
    """The adapters; `faces` is None where faces are switched off."""

    detector: TritonObjectDetector
    faces: FaceModels | None

    @property
    def labels(self) -> tuple[str, ...]:
        return self.detector.labels


async def load_models(client: TritonClient, settings: Settings) -> Models:
    """Describe every model the settings name. Raises InferenceUnavailable, SettingsError."""
    served = await client.describe(settings.detector.model)
    limits = DetectionLimits(
        score=min(CONTINUE_FROM, settings.detector.score_threshold),
        nms=settings.detector.nms_threshold,
        classes=class_ids(served, settings.detector.classes),
    )
    detector = TritonObjectDetector(client, served, limits)
    return Models(detector, await _faces(client, settings) if settings.faces.enabled else None)


async def _faces(client: TritonClient, settings: Settings) -> FaceModels:
    found = TritonFaceDetector(
        client,
        await client.describe(settings.faces.detector_model),
        settings.faces.detector_threshold,
    )
    embedder = TritonFaceEmbedder(client, await client.describe(settings.faces.embedder_model))
    chosen = settings.faces.match_threshold
    threshold = embedder.match_threshold if chosen is None else chosen
    if threshold is None:
        raise SettingsError(
            f"model {embedder.model.name} recommends no match_threshold; set FACES_MATCH_THRESHOLD"
        )
    return FaceModels(found, embedder, threshold)


async def await_models(
    client: TritonClient,
    settings: Settings,
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Models:
    """Load the models as soon as Triton serves them, however long that takes. Raises SettingsError."""
    tries = 0
    while True:
        try:
            return await load_models(client, settings)
        except InferenceUnavailable as error:
            if tries % TELL_EVERY == 0:
                log.warning("waiting for Triton: %s", error)
            tries += 1
            await sleep(RETRY_EVERY_S)
