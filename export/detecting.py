"""What a detector finds in pictures, whoever runs it: MMDetection's own answers, and ONNX files under ONNX Runtime."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from export import openvino
from export.manifest import Preprocessing
from export.parity import Rows
from orchestrator.errors import ModelError
from orchestrator.inference.pixels import Tensors

Pixels = NDArray[np.uint8]


class Session(Protocol):
    """A loaded model, as ONNX Runtime shows it."""

    def run(self, names: Sequence[str] | None, feed: Mapping[str, Any]) -> Sequence[Any]: ...


# Pictures that run together: more than one, so that the batch dimension is proven as well.
BATCH = 4


def by_mmdetection(answers: Path) -> list[Rows]:
    """Read what `export.mmdeploy` wrote. Rows of score 0 are empty."""
    with np.load(answers, allow_pickle=False) as found:
        return _rows(found["boxes"], found["scores"], found["labels"])


def by_exported(
    model: Path, pictures: Pixels | Tensors, preprocessing: Preprocessing
) -> list[Rows]:
    """MMDeploy's file, with the preprocessing of its publishers, in RGB whatever was sent. Raises ModelError."""
    session = session_of(model)
    mean = np.array(preprocessing.mean, np.float32)
    deviation = np.array(preprocessing.std, np.float32)
    rows: list[Rows] = []
    for batch in _batches(pictures):
        colours = in_rgb(batch)
        ordered = colours[..., ::-1] if preprocessing.color == "BGR" else colours
        planes = ((ordered - mean) / deviation).transpose(0, 3, 1, 2)
        dets, labels = session.run(["dets", "labels"], {"input": np.ascontiguousarray(planes)})
        rows += _rows(dets[..., :4], dets[..., 4], labels)
    return rows


def by_served(model: Path, pictures: Pixels | Tensors, *, on_openvino: bool = False) -> list[Rows]:
    """The file that Triton loads, with the bytes that a client sends. Raises ModelError.

    Args:
        model: the file.
        pictures: by the names of its inputs; an array alone is the only input, `images`.
        on_openvino: instead of ONNX Runtime.
    """
    session = session_of(model, on_openvino=on_openvino)
    return [rows for batch in _batches(pictures) for rows in rows_of(session, batch)]


def rows_of(session: Session, batch: Tensors) -> list[Rows]:
    return _rows(*session.run(["boxes", "scores", "labels"], batch))


def in_rgb(pictures: Tensors) -> NDArray[np.float32]:
    """What the numbers that a client sends mean: float32 (n, h, w, 3), 0 to 255 and, of planes, a little beyond."""
    if "images" in pictures:
        return pictures["images"].astype(np.float32)
    chroma = pictures["chroma"].repeat(2, axis=2).repeat(2, axis=3)
    luma = pictures["luma"][:, np.newaxis]
    numbers = np.concatenate([luma, chroma, np.ones_like(luma)], axis=1, dtype=np.float32)
    colours: NDArray[np.float32] = np.einsum("ncj,njhw->nhwc", pictures["colour"], numbers)
    return colours


def _batches(pictures: Pixels | Tensors) -> Iterator[Tensors]:
    columns = {"images": pictures} if isinstance(pictures, np.ndarray) else pictures
    count = len(next(iter(columns.values())))
    for start in range(0, count, BATCH):
        yield {name: column[start : start + BATCH] for name, column in columns.items()}


def _rows(boxes: Any, scores: Any, labels: Any) -> list[Rows]:
    return [
        Rows(
            np.asarray(boxes[picture], np.float32)[kept],
            np.asarray(scores[picture], np.float32)[kept],
            np.asarray(labels[picture], np.int32)[kept],
        )
        for picture in range(len(scores))
        for kept in [np.asarray(scores[picture]) > 0]
    ]


def session_of(model: Path, *, threads: int = 0, on_openvino: bool = False) -> Session:
    """A model on the processor. Raises ModelError where its runtime is missing or refuses the file.

    Args:
        model: the file.
        threads: 0: as many as there are processors.
        on_openvino: instead of ONNX Runtime.
    """
    if on_openvino:
        return openvino.Session(model, threads)
    try:
        import onnxruntime  # belongs to the embedded servers, which an image may lack
    except ImportError as error:
        raise ModelError("ONNX Runtime is not installed: pip install 'fess[embedded]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # As what serves it: without VNNI, sums of 8-bit products would be cut off at 16 bits.
    options.add_session_config_entry("session.x64quantprecision", "1")
    try:
        session: Session = onnxruntime.InferenceSession(
            str(model), options, providers=["CPUExecutionProvider"]
        )
    except onnxruntime.capi.onnxruntime_pybind11_state.Fail as error:
        raise ModelError(f"{model}: ONNX Runtime does not load it: {error}") from error
    return session
