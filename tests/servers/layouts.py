"""The same object detector three times, taking each layout of pixels under a name of its own."""

import shutil
from pathlib import Path
from typing import get_args

from export import manifest, prepare
from export.manifest import Pixels

NETWORK = "rtmdet_nano_person_320"
LAYOUTS: tuple[Pixels, ...] = get_args(Pixels)


def name_of(pixels: Pixels) -> str:
    return f"object_detector_{pixels}"


def write_layouts(models: Path, repository: Path) -> Path:
    """Prepare them from the folder of public files; returns the repository. Raises ModelError."""
    network = manifest.load().model(NETWORK)
    for pixels in LAYOUTS:
        part = repository / pixels
        wanted = network.model_copy(update={"pixels": pixels})
        prepare.prepare(models / network.file, wanted, part)
        folder = repository / name_of(pixels)
        (part / "object_detector").rename(folder)
        shutil.rmtree(part)
        config = folder / "config.pbtxt"
        named = config.read_text(encoding="utf-8").replace(
            'name: "object_detector"', f'name: "{folder.name}"', 1
        )
        config.write_text(named, encoding="utf-8")
    return repository
