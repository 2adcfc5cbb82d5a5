"""The pictures of one export, as the network takes them: compared, labelled, and what int8 is calibrated on."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from export.frames import shown
from export.labelled import Labelled
from export.lowering import CALIBRATED_ON
from export.sent import Form, Sent
from export.steps import Steps, stamp
from export.wish import Wish
from orchestrator.inference.pixels import Tensors, decoded

# Frames on which fewer bits are compared with float32, and planes with RGB. MMDetection is not asked about these, so
# they may be many.
AGREED_ON = 96
T = TypeVar("T")


class Pictures:
    """Files of one folder; each set is collected once in each form, and again when its sources change.

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
        wish = self._wish
        for form in self._forms:
            self._collect("frames", form, wish.pictures, wish.count)
            self._collect_labelled(form)
            if wish.pixels != "rgb" or wish.precision != "fp32":
                self._collect("more", form, wish.pictures, AGREED_ON)
        if wish.precision == "int8":
            sources = wish.calibration or wish.pictures
            self._collect("calibration", self._forms[-1], sources, CALIBRATED_ON)

    def sets(self) -> list[str]:
        """What MMDetection is asked about."""
        return ["frames", "labelled"] if self.labelled else ["frames"]

    def answers(self, name: str) -> Path:
        """Where MMDetection's answers to a set are."""
        return self._folder / f"{name}.answers.npz"

    def rgb(self, name: str) -> Sent:
        """A set as MMDetection takes it."""
        return Sent(self._folder, name, "rgb")

    def sent(self, name: str) -> Sent:
        """A set as the served model takes it, in the network's size."""
        return Sent(self._folder, name, self._forms[-1])

    def decoded(self, found: Callable[[Tensors], T]) -> list[T]:
        """What is found in the set `more` as it was decoded: one by one, for they are large and not kept."""
        return self._decoded(found, AGREED_ON)

    def one(self) -> Tensors:
        """A single picture as clients of the served model send it."""
        if self._wish.pixels == "decoded":
            return self._decoded(lambda picture: picture, 1)[0]
        return {name: np.array(rows[:1]) for name, rows in self.sent("frames").tensors().items()}

    @property
    def _forms(self) -> tuple[Form, ...]:
        """MMDetection's comes first, the served model's last."""
        return ("rgb",) if self._wish.pixels == "rgb" else ("rgb", "planes")

    def _collect(self, name: str, form: Form, sources: tuple[Path, ...], count: int) -> None:
        size, sent = self._wish.size, Sent(self._folder, name, form)

        def work() -> None:
            rows = shown(sources, count, lambda picture: sent.shown(picture, size))
            sent.write(rows, len(rows))

        self._steps.carry_out(
            f"collecting {name} in {form}",
            {**_seen(sources), "size": str(size), "count": str(count)},
            sent.files,
            work,
        )

    def _decoded(self, found: Callable[[Tensors], T], count: int) -> list[T]:
        return shown(self._wish.pictures, count, lambda picture: found(decoded(picture)[0]))

    def _collect_labelled(self, form: Form) -> None:
        labelled, size, sent = self.labelled, self._wish.size, Sent(self._folder, "labelled", form)
        if labelled is None:
            return
        self._steps.carry_out(
            f"collecting labelled in {form}",
            {"set": labelled.stamp(), "size": str(size)},
            sent.files,
            lambda: sent.write(
                (sent.shown(picture, size) for picture in labelled.pictures()), len(labelled.images)
            ),
        )


def _seen(sources: Sequence[Path]) -> dict[str, str]:
    return {str(path): stamp(path) for path in sources}
