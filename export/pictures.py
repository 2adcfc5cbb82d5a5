"""The pictures of one export, as the network takes them: compared, labelled, and what int8 is calibrated on."""

from pathlib import Path

import numpy as np

from export.coco import Scales, scale_of
from export.detecting import Pixels
from export.frames import gather
from export.labelled import Labelled
from export.lowering import CALIBRATED_ON
from export.steps import Steps, stamp
from export.wish import Wish
from orchestrator.errors import ModelError

# Frames on which fewer bits are compared with float32. MMDetection is not asked about these, so they may be many.
AGREED_ON = 96


class Pictures:
    """Files of one folder; each set is collected once, and again when its sources change.

    labelled  the annotations, where some are given
    """

    def __init__(self, wish: Wish, folder: Path, steps: Steps) -> None:
        self._wish = wish
        self._folder = folder
        self._steps = steps
        self.labelled = Labelled.read(wish.labelled, wish.images) if wish.labelled else None
        if self.labelled and wish.labels:
            self.labelled.classes(wish.labels)

    def collect(self) -> None:
        """Raises ModelError for what is no picture, or not the one that was labelled."""
        count = self._wish.count
        self._collect("collecting pictures", "frames", self._wish.pictures, count)
        if self._wish.precision != "fp32":
            self._collect("collecting more pictures", "more", self._wish.pictures, AGREED_ON)
        if self._wish.precision == "int8":
            sources = self._wish.calibration or self._wish.pictures
            self._collect("collecting calibration", "calibration", sources, CALIBRATED_ON)
        if self.labelled:
            self._steps.carry_out(
                "collecting labelled pictures",
                {"set": self.labelled.stamp(), "size": str(self._wish.size)},
                [self.file("labelled"), self.file("scales")],
                self._gather_labelled,
            )

    def sets(self) -> list[str]:
        """What MMDetection is asked about."""
        return ["frames", "labelled"] if self.labelled else ["frames"]

    def file(self, name: str) -> Path:
        return self._folder / f"{name}.npy"

    def answers(self, name: str) -> Path:
        """Where MMDetection's answers to a set are."""
        return self._folder / f"{name}.answers.npz"

    def pixels(self, name: str) -> Pixels:
        """uint8 (n, size, size, 3), RGB; read from the file as needed."""
        pixels: Pixels = np.load(self.file(name), mmap_mode="r", allow_pickle=False)
        return pixels

    def scales(self) -> Scales:
        scales: Scales = np.load(self.file("scales"), allow_pickle=False)
        return scales

    def _collect(self, title: str, name: str, sources: tuple[Path, ...], count: int) -> None:
        size = self._wish.size
        seen = {str(path): stamp(path) for path in sources}
        self._steps.carry_out(
            title,
            {**seen, "size": str(size), "count": str(count)},
            [self.file(name)],
            lambda: np.save(self.file(name), gather(sources, count, size)),
        )

    def _gather_labelled(self) -> None:
        assert self.labelled is not None
        count, size = len(self.labelled.images), self._wish.size
        try:
            pixels = np.lib.format.open_memmap(
                self.file("labelled"), "w+", np.uint8, (count, size, size, 3)
            )
        except OSError as error:
            raise ModelError(
                f"{self.file('labelled')}: cannot be written: {error.strerror}"
            ) from error
        scales = np.empty((count, 4))
        for place, boxed in enumerate(self.labelled.letterboxed(size)):
            pixels[place] = boxed.image
            scales[place] = scale_of(boxed)
        pixels.flush()
        np.save(self.file("scales"), scales)
