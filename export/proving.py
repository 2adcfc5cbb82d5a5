"""Detectors side by side: on frames row by row, on labelled pictures by AP, and in fewer bits against float32."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from export import coco
from export.accuracy import REFERENCE, Accuracy, Figures
from export.cost import Cost
from export.detecting import by_exported, by_mmdetection, by_served, rows_of, session_of
from export.graphs import object_detector as graph
from export.lowered import SURE, Lowered, kept
from export.manifest import Model
from export.mmdetection import MMDetection
from export.parity import Parity, Rows, difference
from export.pictures import Pictures
from export.proof import Proof
from export.sent import Sent
from export.variant import Variant
from export.wish import Wish

FEWER_BITS = "fewer bits"
NOTHING = {"ap": 0.0, "ap50": 0.0, "ar": 0.0}


class Proving:
    """What one export is judged by."""

    def __init__(self, wish: Wish, model: Model, asked: MMDetection, pictures: Pictures) -> None:
        self._wish = wish
        self._model = model
        self._asked = asked
        self._pictures = pictures

    def proof(self, exported: Path, edited: Path, served: Path) -> Proof:
        """Compare three files.

        Args:
            exported: what MMDeploy made.
            edited: with our signature, in float32.
            served: the same, or the same in fewer bits.
        """
        files = {"exported": exported, "served": edited}
        in_rgb = files if self._wish.pixels == "rgb" else {"exported": exported}
        parity = Parity.of(
            by_mmdetection(self._pictures.answers("frames")),
            {name: self._rows(name, file, "frames") for name, file in in_rgb.items()},
            self._wish.tolerance,
            graph.SCORE,
            graph.ROWS,
        )
        figures = self._figures({**files, FEWER_BITS: served} if served != edited else files)
        whole = {name: each for name, each in figures.items() if name != FEWER_BITS}
        return Proof(
            parity=parity,
            variant=self._variant(exported, edited),
            accuracy=self._accuracy(whole, self._wish.fp32_most_loss),
            lowered=self._lowered(edited, served, figures) if served != edited else None,
            cost=self._cost(edited, served),
        )

    @property
    def _on_openvino(self) -> bool:
        return self._wish.accelerator == "openvino"

    def _sent(self, detector: str, pictures: str) -> Sent:
        """What a detector is shown: the served one what its clients send, the others RGB."""
        if detector in {REFERENCE, "exported"}:
            return self._pictures.rgb(pictures)
        return self._pictures.sent(pictures)

    def _rows(self, name: str, file: Path, pictures: str) -> list[Rows]:
        tensors = self._sent(name, pictures).tensors()
        if name == "exported":
            return by_exported(file, tensors, self._model.preprocessing)
        return by_served(file, tensors, on_openvino=self._on_openvino)

    def _variant(self, exported: Path, edited: Path) -> Variant | None:
        pixels, limits = self._wish.pixels, self._wish.tolerance
        if pixels == "rgb":
            return None
        sent, plain = self._pictures.sent("more"), self._pictures.rgb("more")
        colours = by_exported(exported, sent.tensors(), self._model.preprocessing)
        rows, scales = self._rows("served", edited, "more"), sent.scales()
        same = difference(colours, rows, limits, graph.SCORE, graph.ROWS)
        if pixels == "decoded":
            # So far each picture came in the network's size; now in its own, for the graph to scale.
            session = session_of(edited, on_openvino=self._on_openvino)
            rows = self._pictures.decoded(lambda picture: rows_of(session, picture)[0])
            scales = np.column_stack([np.ones((len(scales), 2)), scales[:, 2:]])
        reference = self._rows("exported", exported, "more"), plain.scales()
        return Variant.of(pixels, same, limits, reference, (rows, scales))

    def _figures(self, files: Mapping[str, Path]) -> dict[str, dict[str, float]]:
        """AP, AP50 and AR of each detector in the labelled pictures; nothing where there are none."""
        labelled = self._pictures.labelled
        if labelled is None:
            return {}
        found: dict[str, Sequence[Rows]] = {
            REFERENCE: by_mmdetection(self._pictures.answers("labelled")),
            **{name: self._rows(name, file, "labelled") for name, file in files.items()},
        }
        images, classes = (
            [image.id for image in labelled.images],
            labelled.classes(self._model.labels),
        )
        scales = {name: self._sent(name, "labelled").scales() for name in found}
        return self._asked.evaluate(
            labelled.truth(scales[REFERENCE]),
            {
                name: coco.results(rows, images, scales[name], classes)
                for name, rows in found.items()
            },
        )

    def _accuracy(self, figures: dict[str, dict[str, float]], most_loss: float) -> Accuracy | None:
        labelled = self._pictures.labelled
        if labelled is None:
            return None
        return Accuracy.of(len(labelled.images), labelled.counted, most_loss, figures)

    def _lowered(
        self,
        edited: Path,
        served: Path,
        figures: dict[str, dict[str, float]],
    ) -> Lowered:
        assert self._wish.precision != "fp32"
        whole, fewer = (self._rows("served", file, "more") for file in (edited, served))
        size = self._wish.size
        truth, rows = coco.truth(whole, SURE, size)
        classes = {number: number for number in range(len(self._model.labels))}
        again = coco.results(fewer, range(len(fewer)), coco.as_they_are(len(fewer), size), classes)
        agreement = (
            self._asked.evaluate(truth, {FEWER_BITS: again})[FEWER_BITS] if rows else NOTHING
        )
        labelled = {
            shown: figures[name]
            for shown, name in ((REFERENCE, REFERENCE), ("served", FEWER_BITS))
            if name in figures
        }
        return Lowered(
            precision=self._wish.precision,
            rows=rows,
            kept=kept(whole, fewer),
            agreement=Figures.model_validate(agreement),
            accuracy=self._accuracy(labelled, self._wish.lowered_most_loss),
        )

    def _cost(self, edited: Path, served: Path) -> Cost | None:
        if served == edited and not self._on_openvino:
            return None
        one = session_of(served, threads=1, on_openvino=self._on_openvino)
        return Cost.of((served, one), (edited, session_of(edited, threads=1)), self._pictures.one())
