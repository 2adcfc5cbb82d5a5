"""The same clip gives the same pixels and the same video, whatever a process had in its memory before."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.synthetic import make_clip

LAYERS = ("luma", "scaled", "cut", "video", "video of an uneven size")


def digests(clip: Path, memory: int) -> dict[str, str]:
    """By layer, of a process whose fresh memory is full of one byte."""
    said = subprocess.run(
        [sys.executable, "-m", "tests.capture.digests", str(clip)],
        env={**os.environ, "MALLOC_PERTURB_": str(memory)},
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(zip(LAYERS, said.stdout.split(), strict=True))


@pytest.mark.skipif(
    "gnu" not in getattr(sys.implementation, "_multiarch", ""),
    reason="only the GNU C library can fill fresh memory (MALLOC_PERTURB_)",
)
def test_no_layer_reads_memory_that_nobody_wrote(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", pictures=40, first=1)
    # The byte is inverted when memory is handed out, and written as it is when memory is given back.
    first, *others = (digests(clip, memory) for memory in (85, 1, 254))
    assert others == [first, first]
