"""Pictures of the decoder: right size, right colours, upright, and independent of the decoder's memory."""

import struct
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from av.error import FFmpegError
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

from orchestrator.capture.picture import AvPicture
from orchestrator.capture.scaler import Scaler, Whole, plane_rows
from tests.capture.viewing import numbers, view
from tests.servers.synthetic import draw, make_clip, number_of

# libswscale rounds, and chroma has half the resolution.
TOLERANCE = 4
RED, GREEN, BLUE = (200, 40, 40), (30, 180, 60), (50, 70, 210)


def quadrants(width: int, height: int) -> NDArray[np.uint8]:
    """Red, green; blue, grey."""
    picture = np.full((height, width, 3), 128, np.uint8)
    picture[: height // 2, : width // 2] = RED
    picture[: height // 2, width // 2 :] = GREEN
    picture[height // 2 :, : width // 2] = BLUE
    return picture


def decoded(
    rgb: NDArray[np.uint8],
    pixel_format: str = "yuv420p",
    space: Colorspace = Colorspace.ITU601,
    full_range: bool = False,
) -> AvPicture:
    """A picture as a decoder would leave it, with its colours described in the frame."""
    range_ = ColorRange.JPEG if full_range else ColorRange.MPEG
    frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(
        format=pixel_format, dst_colorspace=space, dst_color_range=range_
    )
    frame.colorspace = 1 if space is Colorspace.ITU709 else 5
    frame.color_range = range_
    return AvPicture(frame, Scaler())


@pytest.mark.parametrize("space", [Colorspace.ITU601, Colorspace.ITU709])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize(
    "pixel_format", ["yuv420p", "yuv422p", "nv12", "yuv444p", "yuyv422", "yuv420p10le"]
)
def test_colours_are_those_that_were_filmed(
    pixel_format: str, full_range: bool, space: Colorspace
) -> None:
    picture = decoded(quadrants(64, 48), pixel_format, space, full_range)

    for rgb in (picture.region(0, 0, 64, 48), picture.rgb(64, 48)):
        assert rgb.shape == (48, 64, 3)
        for (y, x), colour in {(12, 16): RED, (12, 48): GREEN, (36, 16): BLUE}.items():
            np.testing.assert_allclose(rgb[y, x].astype(int), colour, atol=TOLERANCE)


def test_a_region_is_cut_at_the_very_pixel() -> None:
    """Odd corners too, although chroma covers two pixels."""
    grey = np.arange(40 * 60, dtype=np.uint32).reshape(40, 60) * 37 % 200 + 20
    picture = decoded(np.repeat(grey[..., None], 3, 2).astype(np.uint8))

    region = picture.region(7, 5, 24, 30)

    assert region.shape == (25, 17, 3)
    np.testing.assert_allclose(region[..., 1].astype(int), grey[5:30, 7:24], atol=TOLERANCE)


@pytest.mark.parametrize("corner", [(8, 4), (7, 5)], ids=["even", "odd"])
def test_a_region_can_be_scaled_as_it_is_cut(corner: tuple[int, int]) -> None:
    picture = decoded(quadrants(64, 48))
    x1, y1 = corner

    scaled = picture.region(x1, y1, 56, 44, size=(20, 16))

    assert scaled.shape == (16, 20, 3)
    for (row, column), colour in {(2, 2): RED, (2, 17): GREEN, (14, 2): BLUE}.items():
        np.testing.assert_allclose(scaled[row, column].astype(int), colour, atol=TOLERANCE)


def test_a_region_is_clipped_to_the_picture() -> None:
    picture = decoded(quadrants(64, 48))
    assert picture.region(-10, -10, 20, 20).shape == (20, 20, 3)
    assert picture.region(50, 40, 999, 999).shape == (8, 14, 3)
    assert picture.region(70, 10, 90, 20).size == 0
    assert picture.region(20, 20, 20, 30).size == 0


def test_a_region_of_a_picture_with_odd_edges_reaches_its_last_pixel() -> None:
    frame = av.VideoFrame(33, 17, "yuv420p")
    for plane, value in zip(frame.planes, (180, 128, 128), strict=True):
        plane_rows(plane)[:] = value
    region = AvPicture(frame, Scaler()).region(30, 15, 33, 17)
    assert region.shape == (2, 3, 3)
    assert int(region.min()) > 150


def test_the_region_and_the_scaled_picture_agree() -> None:
    picture = decoded(draw(5, 320, 240))
    np.testing.assert_allclose(
        picture.region(0, 0, 320, 240).astype(int), picture.rgb(320, 240), atol=TOLERANCE
    )


def test_scaling_down_a_lot_averages_instead_of_skipping_pixels() -> None:
    stripes = np.zeros((240, 320, 3), np.uint8)
    stripes[:, ::2] = 255
    small = decoded(stripes).rgb(40, 30)
    assert small.shape == (30, 40, 3)
    assert 110 < small.mean() < 145
    assert small.std() < 10


def test_luma_takes_every_nth_pixel_and_rounds_the_size_up() -> None:
    picture = decoded(draw(1, 330, 250))
    assert picture.luma(8).shape == (32, 42)
    np.testing.assert_array_equal(picture.luma(8), picture.luma(1)[::8, ::8])


def test_arrays_stay_as_they_are_when_the_decoder_goes_on(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", pictures=30)
    held: list[tuple[NDArray[np.uint8], ...]] = []
    copies: list[tuple[NDArray[np.uint8], ...]] = []
    with av.open(str(clip)) as container:
        scaler = Scaler()
        for frame in container.decode(video=0):
            picture = AvPicture(frame, scaler)
            held.append((picture.luma(1), picture.rgb(64, 48), picture.region(0, 0, 64, 48)))
            copies.append(tuple(array.copy() for array in held[-1]))
    for now, then in zip(held, copies, strict=True):
        for array, copy in zip(now, then, strict=True):
            np.testing.assert_array_equal(array, copy)


async def test_pictures_can_be_held_while_the_camera_goes_on(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", pictures=40)
    frames = await view(clip, fps=25).collect(lossless=True)
    assert numbers(frames) == list(range(40))


@pytest.mark.parametrize(
    ("degrees", "size"), [(90, (240, 320)), (180, (320, 240)), (270, (240, 320))]
)
async def test_a_turned_camera_gives_upright_pictures(
    tmp_path: Path, degrees: int, size: tuple[int, int]
) -> None:
    """The file says by how much its pictures are to be turned clockwise."""
    clip = turned(make_clip(tmp_path / "clip.mp4", pictures=3), degrees)

    picture = (await view(clip, fps=25).collect(1, lossless=True))[0].picture

    assert (picture.width, picture.height) == size
    expected = np.rot90(draw(0, 320, 240), -degrees // 90)
    whole = picture.region(0, 0, picture.width, picture.height)
    assert abs(whole.astype(int) - expected).mean() < 12
    part = picture.region(33, 20, 80, 91)
    assert abs(whole[20:91, 33:80].astype(int) - part).mean() < 2
    assert picture.luma(4).shape == (size[1] // 4, size[0] // 4)
    assert abs(picture.rgb(*size).astype(int) - expected).mean() < 12
    assert number_of(np.rot90(picture.luma(1), degrees // 90)) == 0


@pytest.mark.parametrize(
    ("matrix", "shown"),
    [
        ((-1, 0, 0, 1), np.fliplr),
        ((0, 1, 1, 0), lambda rgb: np.swapaxes(rgb, 0, 1)),
    ],
    ids=["left to right", "upright phone, front camera"],
)
async def test_a_mirrored_picture_is_shown_as_players_show_it(
    tmp_path: Path,
    matrix: tuple[int, int, int, int],
    shown: Callable[[NDArray[np.uint8]], NDArray[np.uint8]],
) -> None:
    clip = displayed(make_clip(tmp_path / "clip.mp4", pictures=3), *matrix)

    picture = (await view(clip, fps=25).collect(1, lossless=True))[0].picture

    expected = shown(draw(0, 320, 240))
    assert (picture.height, picture.width) == expected.shape[:2]
    whole = picture.region(0, 0, picture.width, picture.height)
    assert abs(whole.astype(int) - expected).mean() < 12
    part = picture.region(33, 20, 80, 91)
    assert abs(whole[20:91, 33:80].astype(int) - part).mean() < 2
    assert abs(picture.rgb(picture.width, picture.height).astype(int) - expected).mean() < 12
    np.testing.assert_array_equal(picture.luma(1), picture.planes(None).luma)


def turned(clip: Path, degrees: int) -> Path:
    a, b = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    return displayed(clip, a, b, -b, a)


def displayed(clip: Path, a: int, b: int, c: int, d: int) -> Path:
    """Write a display matrix into the track header (ISO/IEC 14496-12, 8.3.2)."""
    one = 1 << 16
    matrix = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    data = bytearray(clip.read_bytes())
    start = data.index(b"tkhd") + 4 + 40
    data[start : start + 36] = matrix
    clip.write_bytes(data)
    return clip


class CountingScaler(Scaler):
    """Knows how often it scaled a whole frame."""

    def __init__(self) -> None:
        super().__init__()
        self.scaled = 0

    def whole(self, frame: av.VideoFrame, wanted: Whole) -> av.VideoFrame:
        self.scaled += 1
        return super().whole(frame, wanted)


def successive(scaler: Scaler) -> AvPicture:
    frame = av.VideoFrame.from_ndarray(quadrants(64, 48), "rgb24").reformat(format="yuv420p")
    return AvPicture(frame, scaler)


def test_a_picture_scaled_ahead_has_the_same_pixels() -> None:
    scaler = CountingScaler()
    as_asked = successive(scaler).rgb(32, 24)

    picture = successive(scaler)
    picture.scale_ahead()
    scaled_ahead = picture.rgb(32, 24)

    np.testing.assert_array_equal(scaled_ahead, as_asked)
    assert scaler.scaled == 2


def test_planes_scaled_ahead_are_the_same() -> None:
    scaler = CountingScaler()
    as_asked = successive(scaler).planes((32, 24))

    picture = successive(scaler)
    picture.scale_ahead()
    scaled_ahead = picture.planes((32, 24))

    np.testing.assert_array_equal(scaled_ahead.luma, as_asked.luma)
    np.testing.assert_array_equal(scaled_ahead.chroma, as_asked.chroma)
    assert scaler.scaled == 2


def test_what_was_scaled_ahead_is_not_shared_by_those_who_ask() -> None:
    scaler = Scaler()
    successive(scaler).rgb(32, 24)
    picture = successive(scaler)
    picture.scale_ahead()

    one, other = picture.rgb(32, 24), picture.rgb(32, 24)

    assert not np.shares_memory(one, other)


class BrokenScaler(Scaler):
    def whole(self, frame: av.VideoFrame, wanted: Whole) -> av.VideoFrame:
        raise FFmpegError(22, "Invalid argument")


def test_what_cannot_be_scaled_ahead_is_told_to_whoever_asks() -> None:
    scaler = BrokenScaler()
    scaler.asked = Whole("rgb", 32, 24)
    picture = successive(scaler)

    picture.scale_ahead()

    with pytest.raises(FFmpegError):
        picture.rgb(32, 24)


def test_nothing_is_scaled_ahead_while_nobody_looks() -> None:
    """The motion gate shuts, or frames come faster than they are taken."""
    scaler = CountingScaler()
    successive(scaler).rgb(32, 24)
    for _ in range(5):
        successive(scaler).scale_ahead()

    assert scaler.scaled == 2  # the one that was asked for, and the one after it


def test_another_size_than_the_last_is_scaled_when_it_is_asked_for() -> None:
    scaler = Scaler()
    successive(scaler).rgb(32, 24)
    picture = successive(scaler)
    picture.scale_ahead()

    assert picture.rgb(16, 12).shape == (12, 16, 3)
