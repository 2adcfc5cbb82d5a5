"""What lies in Redis, byte for byte: msgpack maps with raw little-endian float32, and nothing that executes.

Every value names the key it belongs under, its version and the model behind it, so that a reply that went astray, a
value of another program or a tampered one is told from a good one. docs/faces.md has the schema.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, TypeVar

import msgpack
import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from orchestrator.detection import Detections
from orchestrator.ports import ModelVersion

VERSION: Literal[1] = 1
MAX_DIMENSION = 4096
MAX_BYTES = 1 << 20  # a value larger than this is not ours
UNIT_TOLERANCE = 1e-2

Text = Annotated[str, Field(max_length=256)]
Digest = Annotated[str, Field(max_length=128)]
Dimension = Annotated[int, Field(ge=1, le=MAX_DIMENSION)]
# In JSON mode pydantic's strictness lets a date be text, which is how it travels.
Moment = Annotated[AwareDatetime, Field(strict=False)]


class Rejection(StrEnum):
    """Why a value is not taken: the label of fess_face_cache_rejected_total."""

    GARBAGE = "garbage"  # not msgpack, or not of the published form
    WRONG_KEY = "wrong_key"  # the value of another key
    WRONG_VERSION = "wrong_version"
    WRONG_MODEL = "wrong_model"  # embeddings of another model
    WRONG_DIMENSION = "wrong_dimension"  # bytes that do not match the dimension
    WRONG_NUMBERS = "wrong_numbers"  # NaN, infinite, or not of length 1


class RejectedValue(ValueError):
    """A value in Redis is not what its key says. It is dropped and counted, never used."""

    def __init__(self, reason: Rejection, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


class _Value(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    key: str
    v: int


class FaceValue(_Value):
    """`face:{face_id}`."""

    model: Digest
    dim: Dimension
    encoding: bytes
    metadata: Annotated[dict[Text, Text | int | float | bool | None], Field(max_length=64)]
    cached_at: Moment


class DetectedValue(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    class_id: Annotated[int, Field(ge=0, le=2**31 - 1)]
    object_class: Text
    confidence: Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
    bbox: Annotated[
        list[Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=4, max_length=4)
    ]


class DetectionValue(_Value):
    """`detection:{camera_id}:{frame_number}`."""

    detections: Annotated[list[DetectedValue], Field(max_length=10_000)]
    timestamp: Moment


class EnrolledValue(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    encoding: bytes
    quality: Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
    enrolled_at: Moment


class SubjectValue(_Value):
    """One field of the hash `gallery:subjects`."""

    face_id: Text
    person_name: Text
    is_authorized: bool
    model_name: Text
    model_version: Text
    model: Digest
    dim: Dimension
    faces: Annotated[list[EnrolledValue], Field(max_length=1000)]

    @property
    def made_by(self) -> ModelVersion:
        return ModelVersion(self.model_name, self.model_version, self.model)


V = TypeVar("V", bound=_Value)


def pack(value: BaseModel) -> bytes:
    """Encode; dates as RFC 3339 text."""
    packed: bytes = msgpack.packb(value.model_dump(), default=_plain, use_bin_type=True)
    return packed


def unpack(form: type[V], key: str, payload: bytes) -> V:
    """Decode what was read under `key`. Raises RejectedValue for anything but a sound value of this form."""
    if len(payload) >= MAX_BYTES:
        raise RejectedValue(Rejection.GARBAGE, f"more than {MAX_BYTES} bytes")
    try:
        fields = msgpack.unpackb(payload, raw=False, strict_map_key=True)
    except (ValueError, msgpack.UnpackException, OverflowError) as error:
        raise RejectedValue(Rejection.GARBAGE, type(error).__name__) from error
    if not isinstance(fields, dict):
        raise RejectedValue(Rejection.GARBAGE, "not a map")
    if fields.get("v") != VERSION:
        raise RejectedValue(Rejection.WRONG_VERSION, f"not version {VERSION}")
    try:
        value = form.model_validate(fields)
    except ValidationError as error:
        # The values themselves are biometric data: only the names of the fields may reach a log.
        where = ", ".join(".".join(map(str, e["loc"])) for e in error.errors(include_url=False))
        raise RejectedValue(Rejection.GARBAGE, f"bad fields: {where[:200]}") from None
    if value.key != key:
        raise RejectedValue(Rejection.WRONG_KEY, "the value names another key")
    return value


def encode_embedding(embedding: NDArray[np.float32]) -> bytes:
    """float32 (d,) as 4 d bytes, little-endian."""
    return embedding.astype("<f4").tobytes()


def decode_embedding(encoding: bytes, dimension: int) -> NDArray[np.float32]:
    """float32 (d,), finite and of length 1. Raises RejectedValue."""
    if len(encoding) != 4 * dimension:
        raise RejectedValue(
            Rejection.WRONG_DIMENSION, f"{len(encoding)} bytes for {dimension} numbers"
        )
    embedding = np.frombuffer(encoding, "<f4").astype(np.float32)
    length = float(np.linalg.norm(embedding.astype(np.float64)))
    if not abs(length - 1.0) <= UNIT_TOLERANCE:  # also catches NaN
        raise RejectedValue(Rejection.WRONG_NUMBERS, f"a vector of length {length:.3g}")
    return embedding


def detections_of(value: DetectionValue) -> Detections:
    rows = value.detections
    return Detections(
        np.array([row.bbox for row in rows], np.float32).reshape(-1, 4),
        np.array([row.confidence for row in rows], np.float32),
        np.array([row.class_id for row in rows], np.int32),
    )


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no place in Redis")
