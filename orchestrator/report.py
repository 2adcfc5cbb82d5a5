"""Turns what the pipeline found into events: pure functions, so that a replay says the same bytes."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from eventbus.events import (
    BoundingBox,
    CandidateEvidence,
    DetectedObject,
    Evidence,
    FaceRecognitionEvent,
    ModelEvidence,
    MotionDetectionEvent,
    StageLatencies,
    SystemStatusEvent,
    event_id,
)
from orchestrator.camera import CameraState
from orchestrator.detection import Detections
from orchestrator.face import Sighting
from orchestrator.frame import Frame
from orchestrator.identity import Identity
from orchestrator.iou import iou
from orchestrator.model_version import DetectionModel, ModelVersion
from orchestrator.ports import Recognition
from orchestrator.track import Track

# A track's box is the tracker's estimate; the detection it was matched with overlaps it at least so much.
SAME_OBJECT_IOU = 0.5


def camera_status(
    camera_id: str, state: CameraState, detail: str, moment: datetime
) -> SystemStatusEvent:
    return SystemStatusEvent(
        event_id=event_id("system.status", camera_id, moment, state),
        timestamp=moment,
        camera_id=camera_id,
        component="camera",
        status=state,
        detail=detail,
    )


@dataclass(frozen=True, slots=True)
class Reporter:
    """What is the same in every event of one camera while one version of the detector looks, and with which limits."""

    camera_id: str
    model: DetectionModel
    thresholds: dict[str, float]

    @property
    def labels(self) -> tuple[str, ...]:
        return self.model.labels

    def motion(
        self,
        frame: Frame,
        detections: Detections,
        tracks: tuple[Track, ...],
        latencies: StageLatencies | None,
    ) -> MotionDetectionEvent:
        track_ids = _matched(detections, tracks)
        objects = tuple(
            DetectedObject(
                object_class=self.label(int(class_id)),
                confidence=_rounded(confidence),
                bbox=_box(xyxy),
                track_id=track_id,
            )
            for xyxy, confidence, class_id, track_id in zip(
                detections.xyxy, detections.confidence, detections.class_id, track_ids, strict=True
            )
        )
        return MotionDetectionEvent(
            event_id=event_id(
                "motion.detected", self.camera_id, frame.captured_at, str(frame.frame_number)
            ),
            timestamp=frame.captured_at,
            camera_id=self.camera_id,
            frame_number=frame.frame_number,
            detected_objects=objects,
            total_objects=len(objects),
            confidence_scores=tuple(found.confidence for found in objects),
            evidence=Evidence(
                models=(_model(self.model.version),),
                thresholds=self.thresholds,
                frame_width=frame.picture.width,
                frame_height=frame.picture.height,
                latencies=latencies,
            ),
        )

    def face(
        self, recognition: Recognition, latencies: StageLatencies | None
    ) -> FaceRecognitionEvent:
        identity, seen = recognition.identity, recognition.seen
        return FaceRecognitionEvent(
            event_id=event_id(
                "face.recognized",
                self.camera_id,
                seen.captured_at,
                f"{recognition.track_id}:{identity.face_id}",
            ),
            timestamp=seen.captured_at,
            camera_id=self.camera_id,
            frame_number=seen.frame_number,
            face_id=identity.face_id,
            person_name=identity.person_name,
            confidence=_rounded(identity.confidence),
            bbox=_box(seen.face_xyxy),
            is_authorized=identity.is_authorized,
            track_id=recognition.track_id,
            evidence=self._face_evidence(seen, identity, latencies),
        )

    def label(self, class_id: int) -> str:
        """A class's name; `class_7` where the model's labels do not reach."""
        known = 0 <= class_id < len(self.labels)
        return self.labels[class_id] if known else f"class_{class_id}"

    def _face_evidence(
        self, seen: Sighting, identity: Identity, latencies: StageLatencies | None
    ) -> Evidence:
        return Evidence(
            models=tuple(_model(model) for model in seen.models),
            thresholds={
                **self.thresholds,
                "match": identity.threshold,
                "margin": identity.margin,
                "agreement": identity.agreement,
            },
            gallery_version=identity.gallery_version,
            candidates=tuple(
                CandidateEvidence(
                    face_id=found.face_id,
                    person_name=found.person_name,
                    similarity=_rounded(found.similarity),
                )
                for found in identity.candidates
            ),
            faces=identity.faces,
            frame_width=seen.width,
            frame_height=seen.height,
            latencies=latencies,
        )


def _matched(detections: Detections, tracks: tuple[Track, ...]) -> list[int | None]:
    """For each detection the track that follows it, if one does already."""
    if not len(detections) or not tracks:
        return [None] * len(detections)
    overlaps = iou(detections.xyxy, np.stack([track.xyxy for track in tracks]))
    classes = np.array([track.class_id for track in tracks])
    overlaps[detections.class_id[:, np.newaxis] != classes] = 0.0
    nearest_track, nearest_detection = overlaps.argmax(axis=1), overlaps.argmax(axis=0)
    return [
        tracks[column].track_id
        if overlaps[row, column] >= SAME_OBJECT_IOU and nearest_detection[column] == row
        else None
        for row, column in enumerate(nearest_track)
    ]


def _box(xyxy: np.ndarray[tuple[int], np.dtype[np.float32]]) -> BoundingBox:
    x1, y1, x2, y2 = (round(float(value), 1) for value in xyxy)
    return BoundingBox(x1=x1, y1=y1, x2=x2, y2=y2)


def _model(version: ModelVersion) -> ModelEvidence:
    return ModelEvidence(name=version.name, version=version.version, sha256=version.sha256)


def _rounded(value: float) -> float:
    return round(float(value), 4)
