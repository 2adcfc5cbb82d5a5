"""The codec: what lies in Redis comes back exactly, and whatever else lies there is refused, never executed."""

import pickle
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from orchestrator.recognition.codec import (
    MAX_BYTES,
    VERSION,
    DetectedValue,
    DetectionValue,
    EnrolledValue,
    FaceValue,
    RejectedValue,
    Rejection,
    SubjectValue,
    decode_embedding,
    detections_of,
    encode_embedding,
    pack,
    unpack,
)
from tests.recognition.vectors import unit

moments = st.datetimes(
    datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC) | st.just(timezone(timedelta(hours=2)))
)  # fmt: skip
texts = st.text(max_size=40)
face_values = st.builds(
    FaceValue,
    key=texts,
    v=st.just(VERSION),
    model=texts,
    dim=st.integers(1, 4096),
    encoding=st.binary(max_size=64),
    metadata=st.dictionaries(
        texts,
        texts
        | st.integers(-(2**53), 2**53)
        | st.booleans()
        | st.none()
        | st.floats(allow_nan=False),
        max_size=5,
    ),
    cached_at=moments,
)
unit_floats = st.floats(0.0, 1.0)
detection_values = st.builds(
    DetectionValue,
    key=texts,
    v=st.just(VERSION),
    detections=st.lists(
        st.builds(
            DetectedValue,
            class_id=st.integers(0, 79),
            object_class=texts,
            confidence=unit_floats,
            bbox=st.lists(st.floats(-1e6, 1e6, width=32, allow_nan=False), min_size=4, max_size=4),
        ),
        max_size=5,
    ),
    timestamp=moments,
)
subject_values = st.builds(
    SubjectValue,
    key=texts,
    v=st.just(VERSION),
    face_id=texts,
    person_name=texts,
    is_authorized=st.booleans(),
    model_name=texts,
    model_version=texts,
    model=texts,
    dim=st.integers(1, 4096),
    faces=st.lists(
        st.builds(
            EnrolledValue,
            encoding=st.binary(max_size=64),
            quality=unit_floats,
            enrolled_at=moments,
        ),
        max_size=3,
    ),
)

FACE = {
    "key": "face:ada",
    "v": 1,
    "model": "e" * 64,
    "dim": 8,
    "encoding": b"\0" * 32,
    "metadata": {"person_name": "Ada"},
    "cached_at": "2026-01-01T00:00:00Z",
}


def packed(**changes: object) -> bytes:
    value: bytes = msgpack.packb({**FACE, **changes})
    return value


def reason_for(payload: bytes, key: str = "face:ada") -> Rejection:
    with pytest.raises(RejectedValue) as caught:
        unpack(FaceValue, key, payload)
    return caught.value.reason


@given(face_values | detection_values | subject_values)
def test_every_value_comes_back_as_it_was(
    value: FaceValue | DetectionValue | SubjectValue,
) -> None:
    assert unpack(type(value), value.key, pack(value)) == value


@given(st.sampled_from([8, 128, 512]), st.integers(0, 2**32 - 1))
def test_an_embedding_comes_back_bit_for_bit(dimension: int, seed: int) -> None:
    embedding = unit(np.random.default_rng(seed).normal(size=dimension))
    encoding = encode_embedding(embedding)
    assert len(encoding) == 4 * dimension
    assert encoding == embedding.astype("<f4").tobytes()
    assert np.array_equal(decode_embedding(encoding, dimension), embedding)


@given(arrays(np.float32, 8, elements=st.floats(width=32)))
def test_an_embedding_that_is_decoded_is_finite_and_of_length_1(
    numbers: np.ndarray[tuple[int], np.dtype[np.float32]],
) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        length = float(np.linalg.norm(numbers.astype(np.float64)))
    if abs(length - 1.0) < 0.009:
        assert np.array_equal(decode_embedding(numbers.tobytes(), 8), numbers)
    elif not abs(length - 1.0) < 0.011:
        with pytest.raises(RejectedValue) as caught:
            decode_embedding(numbers.tobytes(), 8)
        assert caught.value.reason is Rejection.WRONG_NUMBERS


@given(st.binary(max_size=64), st.integers(1, 16))
def test_bytes_that_do_not_fit_the_dimension_are_refused(encoding: bytes, dimension: int) -> None:
    if len(encoding) == 4 * dimension:
        return
    with pytest.raises(RejectedValue) as caught:
        decode_embedding(encoding, dimension)
    assert caught.value.reason is Rejection.WRONG_DIMENSION


@given(st.binary(max_size=300))
def test_no_bytes_whatever_raise_anything_but_a_rejection(payload: bytes) -> None:
    assert reason_for(payload) in set(Rejection)


junk_values = st.recursive(
    st.none() | st.integers(-9, 9) | st.text(max_size=3) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=9,
)


@given(junk_values, st.sampled_from(sorted(FACE)))
def test_no_field_of_a_wrong_kind_raises_anything_but_a_rejection(junk: object, field: str) -> None:
    try:
        value = unpack(FaceValue, "face:ada", packed(**{field: junk}))
    except RejectedValue:
        return
    assert value.key == "face:ada"


@given(st.integers(0, len(packed()) - 1))
def test_a_truncated_value_is_refused(length: int) -> None:
    assert reason_for(packed()[:length]) is Rejection.GARBAGE


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (packed(key="face:ben"), Rejection.WRONG_KEY),
        (packed(v=2), Rejection.WRONG_VERSION),
        (packed(dim="8"), Rejection.GARBAGE),
        (packed(dim=0), Rejection.GARBAGE),
        (packed(encoding="text"), Rejection.GARBAGE),
        (packed(cached_at="yesterday"), Rejection.GARBAGE),
        (packed(metadata={"nested": {"a": 1}}), Rejection.GARBAGE),
        (b"\xdc\xff\xff" * 1000, Rejection.GARBAGE),
        (b"\x91" * 100_000 + b"\xc0", Rejection.GARBAGE),
        (b"\0" * MAX_BYTES, Rejection.GARBAGE),
        (b'{"key": "face:ada"}', Rejection.GARBAGE),
    ],
)
def test_a_value_that_is_not_what_its_key_says_is_refused_with_its_reason(
    payload: bytes, reason: Rejection
) -> None:
    assert reason_for(payload) is reason


def test_fields_of_a_later_program_are_let_pass() -> None:
    assert unpack(FaceValue, "face:ada", packed(mood="glad")).dim == 8


def test_a_pickle_is_refused_and_never_run(tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    class Attack:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (canary,))

    assert reason_for(pickle.dumps(Attack())) in (Rejection.GARBAGE, Rejection.WRONG_VERSION)
    assert reason_for(packed(encoding=msgpack.ExtType(5, pickle.dumps(Attack()))))
    assert not canary.exists()


def test_a_rejection_never_tells_the_values() -> None:
    with pytest.raises(RejectedValue) as caught:
        unpack(FaceValue, "face:ada", packed(model=12345678, metadata={"person_name": ["Ada"]}))
    assert "12345678" not in str(caught.value)
    assert "Ada" not in str(caught.value)


def test_detections_come_back_in_columns() -> None:
    rows = [DetectedValue(class_id=2, object_class="car", confidence=0.5, bbox=[1, 2, 3, 4])]
    value = DetectionValue(
        key="k", v=1, detections=rows, timestamp=datetime(2026, 1, 1, tzinfo=UTC)
    )
    found = detections_of(value)
    assert found.xyxy.tolist() == [[1.0, 2.0, 3.0, 4.0]]
    assert found.class_id.tolist() == [2]
    assert len(detections_of(value.model_copy(update={"detections": []}))) == 0
