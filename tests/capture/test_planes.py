"""The decoder's planes, as they are or scaled: the colours that were filmed, upright, and the same picture as RGB."""

from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import Colorspace

from orchestrator.capture.picture import AvPicture
from orchestrator.capture.scaler import Scaler, plane_rows
from tests.capture.test_picture import BLUE, GREEN, RED, TOLERANCE, decoded, quadrants, turned
from tests.capture.viewing import view
from tests.servers.synthetic import draw, make_clip
from tests.test_planes import shown


@pytest.mark.parametrize("space", [Colorspace.ITU601, Colorspace.ITU709])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize(
    "pixel_format", ["yuv420p", "yuv422p", "nv12", "yuv444p", "yuyv422", "yuv420p10le"]
)
@pytest.mark.parametrize("size", [None, (32, 24)], ids=["as decoded", "scaled"])
def test_colours_are_those_that_were_filmed(
    size: tuple[int, int] | None, pixel_format: str, full_range: bool, space: Colorspace
) -> None:
    planes = decoded(quadrants(64, 48), pixel_format, space, full_range).planes(size)
    width, height = size or (64, 48)
    assert planes.luma.shape == (height, width)
    assert planes.chroma.shape == (2, height // 2, width // 2)
    rgb = shown(planes)
    for (down, across), colour in {(1, 1): RED, (1, 3): GREEN, (3, 1): BLUE}.items():
        pixel = rgb[down * height // 4, across * width // 4]
        np.testing.assert_allclose(pixel, colour, atol=TOLERANCE)


@pytest.mark.parametrize("size", [(320, 240), (160, 120), (40, 30), (400, 300)])
def test_they_show_what_the_picture_scaled_as_rgb_shows(size: tuple[int, int]) -> None:
    picture = decoded(draw(5, 320, 240))
    assert np.abs(shown(picture.planes(size)) - picture.rgb(*size)).mean() < 3


def test_planes_of_a_picture_with_odd_edges_reach_its_last_pixel() -> None:
    frame = av.VideoFrame(33, 17, "yuv420p")
    for plane, value in zip(frame.planes, (180, 90, 200), strict=True):
        plane_rows(plane)[:] = value
    planes = AvPicture(frame, Scaler()).planes(None)
    assert planes.luma.shape == (17, 33)
    assert planes.chroma.shape == (2, 9, 17)
    assert (planes.luma == 180).all()
    assert [set(np.unique(plane)) for plane in planes.chroma] == [{90}, {200}]


@pytest.mark.parametrize(
    ("degrees", "size"), [(90, (240, 320)), (180, (320, 240)), (270, (240, 320))]
)
async def test_a_turned_camera_gives_upright_planes(
    tmp_path: Path, degrees: int, size: tuple[int, int]
) -> None:
    clip = turned(make_clip(tmp_path / "clip.mp4", pictures=3), degrees)
    picture = (await view(clip, fps=25).collect(1, lossless=True))[0].picture
    expected = np.rot90(draw(0, 320, 240), -degrees // 90)
    for planes in (picture.planes(None), picture.planes(size)):
        assert np.abs(shown(planes) - expected).mean() < 12


def test_planes_stay_as_they_are_when_the_decoder_goes_on(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", pictures=30)
    held, copies = [], []
    with av.open(str(clip)) as container:
        scaler = Scaler()
        for frame in container.decode(video=0):
            picture = AvPicture(frame, scaler)
            held.append([picture.planes(None), picture.planes((64, 48))])
            copies.append([(one.luma.copy(), one.chroma.copy()) for one in held[-1]])
    for now, then in zip(held, copies, strict=True):
        for planes, (luma, chroma) in zip(now, then, strict=True):
            np.testing.assert_array_equal(planes.luma, luma)
            np.testing.assert_array_equal(planes.chroma, chroma)
