"""Picture files from anybody: each that is not fit is refused with its reason, before it can do harm."""

import io
import resource
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from orchestrator.errors import EnrolmentRefused
from orchestrator.recognition.still import open_still


def refusal(path: Path) -> str:
    with pytest.raises(EnrolmentRefused) as caught:
        open_still(path)
    message = str(caught.value)
    assert message.startswith(f"{path.name}: ")
    return message.removeprefix(f"{path.name}: ")


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 99))
        + chunk(b"IEND", b"")
    )


def picture() -> Image.Image:
    """Red to the left, blue to the right."""
    pixels = np.zeros((60, 100, 3), np.uint8)
    pixels[:, :50, 0] = 255
    pixels[:, 50:, 2] = 255
    return Image.fromarray(pixels)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF"])
def test_common_formats_are_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"picture.{kind.lower()}"
    picture().save(path, kind)
    read = open_still(path)
    assert (read.width, read.height) == (100, 60)
    assert read.region(10, 30, 11, 31)[0, 0, 0] > 200


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1", "LA"])
def test_every_8_bit_colour_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("picture.jpg" if mode == "CMYK" else "picture.png")
    picture().convert(mode).save(path)
    assert open_still(path).rgb(100, 60).shape == (60, 100, 3)


def test_a_picture_taken_sideways_is_set_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise
    path = tmp_path / "phone.jpg"
    picture().save(path, exif=exif)
    read = open_still(path)
    assert (read.width, read.height) == (60, 100)
    assert read.region(30, 10, 31, 11)[0, 0, 0] > 200


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.jpg"
    path.touch()
    assert "0 bytes" in refusal(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "nowhere.jpg")
    assert "not a file" in refusal(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"just text", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7\n", b"\0" * 99],
)
def test_what_is_not_a_picture_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(content)
    assert "not a picture" in refusal(path)


@pytest.mark.parametrize(("width", "height"), [(50_000, 50_000), (8_000, 7_000), (100_000, 999)])
def test_a_huge_picture_is_refused_before_it_is_decoded(
    tmp_path: Path, width: int, height: int
) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(width, height))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "million pixels" in refusal(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"moving.{kind.lower()}"
    frames = [picture(), picture().rotate(90), picture().rotate(180)]
    frames[0].save(path, kind, save_all=True, append_images=frames[1:], duration=100)
    assert "animated" in refusal(path)


def test_16_bit_pixels_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    Image.fromarray(np.zeros((9, 9), np.uint16)).save(path)
    assert "8 bits" in refusal(path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_truncated_picture_is_refused(tmp_path: Path, kind: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (99, 99, 3), np.uint8))
    buffer = io.BytesIO()
    noise.save(buffer, kind)
    path = tmp_path / "cut.img"
    path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    assert refusal(path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF"])
def test_flipped_bytes_never_raise_anything_but_a_refusal(
    tmp_path_factory: pytest.TempPathFactory, kind: str
) -> None:
    folder = tmp_path_factory.mktemp("flipped")
    buffer = io.BytesIO()
    picture().save(buffer, kind)
    sound = buffer.getvalue()

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(
            st.tuples(st.integers(0, len(sound) - 1), st.integers(0, 255)), min_size=1, max_size=9
        )
    )
    def flip(changes: list[tuple[int, int]]) -> None:
        damaged = bytearray(sound)
        for place, value in changes:
            damaged[place] = value
        path = folder / "flipped.img"
        path.write_bytes(damaged)
        try:
            read = open_still(path)
        except EnrolmentRefused:
            return
        assert read.width * read.height <= 50_000_000

    flip()
