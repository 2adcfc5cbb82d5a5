"""What the tests of exporting share."""

from pathlib import Path

import pytest
from PIL import Image

from tests.export.bench import Bench
from tests.export.footage import PEOPLE_CLIP, pictures


@pytest.fixture(scope="module")
def photographs(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of frames with people in them."""
    folder = tmp_path_factory.mktemp("photographs")
    for number, frame in enumerate(pictures(clips / PEOPLE_CLIP, [60, 80, 100, 120])):
        Image.fromarray(frame).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def bench(tmp_path: Path, models_mirror: Path, photographs: Path) -> Bench:
    return Bench(tmp_path, models_mirror, photographs)
