"""Draws what was found onto the picture, for people to look at. Blocking: callers run it in a thread."""

import functools
import io
import unicodedata
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from orchestrator.board import Kind, Mark, View

JPEG_QUALITY = 80
Colour = tuple[int, int, int]
Font = ImageFont.ImageFont | ImageFont.FreeTypeFont


class Style(NamedTuple):
    box: Colour
    text: Colour
    dashed: bool


# The palette of Okabe and Ito ("Color Universal Design", 2008): told apart with any colour vision.
# The label's words and the dashes say the same again for who sees no colour at all.
STYLES: dict[Kind, Style] = {
    "known": Style((0, 158, 115), (255, 255, 255), dashed=False),
    "unauthorised": Style((213, 94, 0), (255, 255, 255), dashed=False),
    "stranger": Style((240, 228, 66), (0, 0, 0), dashed=True),
    "person": Style((235, 235, 235), (0, 0, 0), dashed=True),
    "object": Style((86, 180, 233), (0, 0, 0), dashed=False),
}

# Letters that are no accented ones. Pillow's own font has those of ASCII.
_LETTERS = str.maketrans(
    {
        "ß": "ss",
        "ø": "o",
        "Ø": "O",
        "ł": "l",
        "Ł": "L",
        "đ": "d",
        "Đ": "D",
        "æ": "ae",
        "Æ": "AE",
        "\u0131": "i",
    }
)


def annotate(view: View, width: int) -> bytes:
    """The view as a JPEG of at most `width` pixels."""
    return jpeg(draw(view, width))


def plain(view: View, width: int) -> bytes:
    """The frame of the view as a JPEG, with nothing drawn."""
    picture = view.frame.picture
    return jpeg(picture.rgb(*scaled(picture.width, picture.height, width)))


def jpeg(rgb: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def draw(view: View, width: int) -> NDArray[np.uint8]:
    """The annotated view: uint8 (height, width, 3), RGB; both sides even, as video encoders want them."""
    picture = view.frame.picture
    wide, high = scaled(picture.width, picture.height, width)
    image = Image.fromarray(picture.rgb(wide, high))
    # fromarray may share the picture's pixels, which are not ours to write to.
    image = image.copy()
    canvas = ImageDraw.Draw(image, "RGBA")
    text_px = max(12, round(wide / 42))  # still legible where the page shows the picture small
    font = _font(text_px)
    scale = np.array((wide / picture.width, high / picture.height) * 2, np.float32)
    # People last, so that their labels lie on top.
    for mark in sorted(view.marks, key=lambda mark: mark.kind != "object"):
        _draw_mark(canvas, mark, mark.xyxy * scale, font, (wide, high))
    _draw_caption(canvas, view, font, high)
    return np.asarray(image, dtype=np.uint8)


def scaled(width: int, height: int, limit: int) -> tuple[int, int]:
    """The size that fits into `limit` pixels of width, never enlarged, both sides even."""
    factor = min(1.0, limit / width)
    return max(2, int(width * factor) & ~1), max(2, int(height * factor) & ~1)


def caption(mark: Mark) -> str:
    """What stands at the box."""
    match mark.kind:
        case "known":
            return f"{unaccented(mark.label)} {mark.confidence:.2f}"
        case "unauthorised":
            return f"! {unaccented(mark.label)} {mark.confidence:.2f}"
        case "stranger":
            return f"? {mark.label} #{mark.track_id}"
        case "person" | "object":
            return f"{mark.label} {mark.confidence:.2f}"


def unaccented(name: str) -> str:
    """A name in the Latin letters that the font has; the page beside the picture shows it as it is written."""
    parts = unicodedata.normalize("NFD", name.translate(_LETTERS))
    return "".join(part for part in parts if not unicodedata.combining(part))


@functools.cache
def _font(size_px: int) -> Font:
    return ImageFont.load_default(size_px)


def _draw_mark(
    canvas: ImageDraw.ImageDraw,
    mark: Mark,
    xyxy: NDArray[np.float32],
    font: Font,
    size: tuple[int, int],
) -> None:
    wide, high = size
    limits = np.array((wide, high, wide, high), np.float32) - 1
    left, top, right, bottom = (int(v) for v in np.clip(np.nan_to_num(xyxy), 0, limits))
    x1, x2 = sorted((left, right))
    y1, y2 = sorted((top, bottom))
    style = STYLES[mark.kind]
    line_px = max(2, round(wide / 260))
    # A dark seam keeps a bright box visible before a bright wall.
    canvas.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=(0, 0, 0, 130), width=line_px + 2)
    if style.dashed:
        _dashed(canvas, (x1, y1, x2, y2), style.box, line_px)
    else:
        canvas.rectangle((x1, y1, x2, y2), outline=style.box, width=line_px)
    _draw_plate(canvas, caption(mark), (x1, y1), style, font, wide)


def _draw_plate(
    canvas: ImageDraw.ImageDraw,
    words: str,
    corner: tuple[int, int],
    style: Style,
    font: Font,
    wide: int,
) -> None:
    """Words on a coloured ground above a box's corner, or inside it at the picture's edge."""
    x0, y0, x1, y1 = canvas.textbbox((0, 0), words, font=font)
    pad = max(3, wide // 300)
    plate_w, plate_h = int(x1 - x0) + 2 * pad, int(y1 - y0) + 2 * pad
    x = max(0, min(corner[0], wide - plate_w))
    y = corner[1] - plate_h if corner[1] >= plate_h else corner[1]
    canvas.rectangle((x, y, x + plate_w, y + plate_h), fill=(*style.box, 235))
    canvas.text((x + pad - x0, y + pad - y0), words, font=font, fill=style.text)


def _dashed(
    canvas: ImageDraw.ImageDraw, box: tuple[int, int, int, int], colour: Colour, line_px: int
) -> None:
    x1, y1, x2, y2 = box
    dash = 5 * line_px
    for x in range(x1, x2, 2 * dash):
        end = min(x + dash, x2)
        canvas.line((x, y1, end, y1), fill=colour, width=line_px)
        canvas.line((x, y2, end, y2), fill=colour, width=line_px)
    for y in range(y1, y2, 2 * dash):
        end = min(y + dash, y2)
        canvas.line((x1, y, x1, end), fill=colour, width=line_px)
        canvas.line((x2, y, x2, end), fill=colour, width=line_px)


def _draw_caption(canvas: ImageDraw.ImageDraw, view: View, font: Font, high: int) -> None:
    moment = view.frame.captured_at.strftime("%Y-%m-%d %H:%M:%S UTC")
    words = f"{view.frame.camera_id}  {moment}"
    left, top, right, bottom = canvas.textbbox((0, 0), words, font=font)
    pad = 4
    height = int(bottom - top) + 2 * pad
    canvas.rectangle((0, high - height, int(right - left) + 2 * pad, high), fill=(0, 0, 0, 150))
    canvas.text((pad - left, high - height + pad - top), words, font=font, fill=(255, 255, 255))
