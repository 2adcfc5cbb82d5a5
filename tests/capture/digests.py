"""What a process makes of a clip, layer by layer, as digests: `python -m tests.capture.digests CLIP`."""

import hashlib
import sys
import tempfile
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from orchestrator.capture.picture import AvPicture
from orchestrator.capture.recorder import Recorder
from orchestrator.capture.scaler import Scaler

# Where its last rows of macroblocks are not whole, an encoder is most likely to read beyond the picture.
CUT_PX = 26


def digests(clip: Path) -> list[str]:
    """One digest for the luma, the scaled and the cut pictures, and one for each video made of them."""
    scaler = Scaler()
    seen = {name: hashlib.sha256() for name in ("luma", "scaled", "cut")}
    pictures: list[NDArray[np.uint8]] = []
    with av.open(str(clip)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            picture = AvPicture(frame, scaler)
            seen["luma"].update(picture.luma(1).tobytes())
            for width, height in ((320, 180), (333, 187), (97, 61)):
                seen["scaled"].update(picture.rgb(width, height).tobytes())
            x = 5 + number
            seen["cut"].update(picture.region(x, 7, x + 97, 180).tobytes())
            seen["cut"].update(picture.region(x & ~1, 8, x + 97, 180, size=(61, 83)).tobytes())
            pictures.append(picture.rgb(frame.width, frame.height))
    cut = [picture[:-CUT_PX, :-CUT_PX] for picture in pictures]
    return [each.hexdigest() for each in seen.values()] + [_recorded(pictures), _recorded(cut)]


def _recorded(pictures: list[NDArray[np.uint8]]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        with Recorder(path, 5.0) as recorder:
            for number, picture in enumerate(pictures):
                recorder.write(picture, number / 5.0)
        return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.stdout.write("\n".join(digests(Path(sys.argv[1]))))
