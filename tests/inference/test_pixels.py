"""A detector is sent the pixels that its inputs ask for, and its boxes find their way back to the source."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import SettingsError
from orchestrator.inference.pixels import decoded, pixels_for, planar
from orchestrator.inference.wire import ServedModel, TensorSpec
from orchestrator.picture import ArrayPicture
from orchestrator.planes import Planes
from orchestrator.ports import ModelVersion
from tests.test_planes import shown


def picture(width: int, height: int) -> ArrayPicture:
    return ArrayPicture(np.full((height, width, 3), (10, 200, 60), np.uint8))


def served(**shapes: tuple[int, ...]) -> ServedModel:
    inputs = tuple(TensorSpec(name, shape, "UINT8") for name, shape in shapes.items())
    return ServedModel(ModelVersion("object_detector", "1", ""), inputs, (), {})


PLANAR = {"luma": (-1, 320, 320), "chroma": (-1, 2, 160, 160), "colour": (-1, 3, 4)}
DECODED = {"luma": (-1, -1, -1), "chroma": (-1, 2, -1, -1), "colour": (-1, 3, 4)}


@pytest.mark.parametrize(
    ("model", "shapes"),
    [
        (served(images=(-1, 320, 320, 3)), {"images": (1, 320, 320, 3)}),
        (
            served(**PLANAR),
            {"luma": (1, 320, 320), "chroma": (1, 2, 160, 160), "colour": (1, 3, 4)},
        ),
        (
            served(**DECODED),
            {"luma": (1, 481, 641), "chroma": (1, 2, 241, 321), "colour": (1, 3, 4)},
        ),
    ],
    ids=["rgb", "planar", "decoded"],
)
def test_a_model_gets_what_it_describes(
    model: ServedModel, shapes: dict[str, tuple[int, ...]]
) -> None:
    tensors, _ = pixels_for(model)(picture(641, 481))
    assert {name: tensor.shape for name, tensor in tensors.items()} == shapes
    kinds = {name: tensor.dtype for name, tensor in tensors.items()}
    assert kinds.pop("colour", np.dtype(np.float32)) == np.float32
    assert set(kinds.values()) == {np.dtype(np.uint8)}


def test_a_model_that_takes_something_else_is_refused_with_the_mend() -> None:
    with pytest.raises(SettingsError, match=r"takes sound.*fess models prepare"):
        pixels_for(served(sound=(-1, 16000)))


def test_what_the_picture_does_not_fill_is_the_grey_of_the_training() -> None:
    tensors, _ = planar(picture(1920, 1080), 320)
    rgb = shown(Planes(tensors["luma"][0], tensors["chroma"][0], tensors["colour"][0]))
    assert np.abs(rgb[:180] - (10, 200, 60)).max() < 3
    assert np.abs(rgb[180:] - 114).max() < 0.6


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(2, 2000),
    height=st.integers(2, 2000),
    x=st.floats(0, 1),
    y=st.floats(0, 1),
)
def test_a_point_mapped_to_the_network_and_back_is_the_same_point(
    width: int, height: int, x: float, y: float
) -> None:
    for tensors, place in (planar(picture(width, height), 320), decoded(picture(width, height))):
        source = np.array([[x * width, y * height]], np.float32)
        network = source * np.asarray(place.scale, np.float32)
        high, wide = tensors["luma"].shape[1:]
        assert (network <= (wide + 0.001, high + 0.001)).all()
        assert place.to_source(network) == pytest.approx(source, abs=0.01)
