"""A picture file opened with suspicion: anybody may have made it."""

import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from orchestrator.errors import EnrolmentRefused
from orchestrator.picture import ArrayPicture

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_PIXELS = 50_000_000
# What Pillow's decoders raise for damaged files, besides OSError.
_DAMAGED = (OSError, SyntaxError, ValueError, struct.error, EOFError, IndexError, KeyError)


def open_still(path: Path) -> ArrayPicture:
    """Read one still picture, upright as its EXIF data says.

    Size and kind are judged by the header, before a pixel is decoded. Raises EnrolmentRefused with the reason.
    """
    try:
        size_bytes = path.stat().st_size
    except OSError as error:
        raise EnrolmentRefused(f"{path.name}: cannot be opened: {error.strerror}") from error
    if not path.is_file():
        raise EnrolmentRefused(f"{path.name}: is not a file")
    if size_bytes == 0:
        raise EnrolmentRefused(f"{path.name}: the file is empty (0 bytes)")
    if size_bytes > MAX_FILE_BYTES:
        raise EnrolmentRefused(
            f"{path.name}: {size_bytes >> 20} MB are too much for a picture; at most {MAX_FILE_BYTES >> 20}"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                return _decode(path.name, image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise EnrolmentRefused(_too_large(path.name)) from error
    except UnidentifiedImageError as error:
        raise EnrolmentRefused(
            f"{path.name}: is not a picture that can be read ({', '.join(FORMATS)})"
        ) from error
    except _DAMAGED as error:
        raise EnrolmentRefused(f"{path.name}: the picture is damaged ({error})") from error


def _decode(name: str, image: Image.Image) -> ArrayPicture:
    if image.width * image.height > MAX_PIXELS:
        raise EnrolmentRefused(_too_large(name))
    if getattr(image, "is_animated", False):
        raise EnrolmentRefused(f"{name}: is animated; give one still picture, or a video")
    if image.mode.startswith(("I", "F")):
        raise EnrolmentRefused(f"{name}: has {image.mode} pixels; save it with 8 bits a colour")
    image.load()
    upright = ImageOps.exif_transpose(image)
    return ArrayPicture(np.array(upright.convert("RGB"), dtype=np.uint8))


def _too_large(name: str) -> str:
    return f"{name}: has more than {MAX_PIXELS // 1_000_000} million pixels; scale it down"
