"""The RTMDet networks that can be exported, and what an operator may ask of them.

Lyu et al. 2022, arXiv:2212.07784; configurations of MMDetection 3.3.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from export.manifest import Preprocessing, Tensor
from orchestrator.errors import ModelError


@dataclass(frozen=True, slots=True)
class Network:
    """One size of the family.

    config   file of MMDetection
    changes  key of what differs from that file (export/mmdeploy/network.py), or nothing
    size     side of the input in pixels that it was trained for
    public   the manifest's name of its public checkpoint, or None
    """

    name: str
    config: str
    changes: str
    size: int
    public: str | None


def _coco(size: str, public: str | None = None) -> Network:
    config = f"rtmdet/rtmdet_{size}_8xb32-300e_coco.py"
    return Network(f"rtmdet-{size}", config, "", 640, public)


NETWORKS: Mapping[str, Network] = {
    network.name: network
    for network in (
        Network("rtmdet-nano", "rtmdet/rtmdet_l_8xb32-300e_coco.py", "nano", 320, None),
        _coco("tiny", "rtmdet_tiny_coco_640"),
        _coco("s", "rtmdet_s_coco_640"),
        _coco("m", "rtmdet_m_coco_640"),
        _coco("l"),
        _coco("x"),
    )
}

# MMDeploy's end-to-end export of a fixed size.
OUTPUTS = ("dets", "labels")
STRIDE = 32
SMALLEST, LARGEST = 160, 1280
LABEL_LENGTH = 64


def named(name: str) -> Network:
    """Raises ModelError for a network that is not of the family."""
    if name not in NETWORKS:
        raise ModelError(f"MODEL={name}: not known; one of {', '.join(NETWORKS)}")
    return NETWORKS[name]


def checked_size(size: int) -> int:
    """Raises ModelError unless the grids of all strides fill a picture of this side."""
    if size % STRIDE or not SMALLEST <= size <= LARGEST:
        raise ModelError(
            f"SIZE={size}: must be a multiple of {STRIDE} from {SMALLEST} to {LARGEST}; usual are 320, 640 and 1280"
        )
    return size


def labels_from(words: str) -> tuple[str, ...]:
    """From `a,b,c`, or from a file with one name a line. Raises ModelError."""
    file = Path(words)
    try:
        if not file.is_file():
            if file.suffix == ".txt" or words.startswith((".", "/", "~")):
                raise ModelError(f"LABELS={words}: there is no such file")
            return tuple(each.strip() for each in words.split(","))
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"LABELS={words}: cannot be read: {error}") from error
    return tuple(line.strip() for line in lines if line.strip())


def checked_labels(labels: tuple[str, ...] | None, classes: int, where: str) -> tuple[str, ...]:
    """One name for each class of the network. Raises ModelError."""
    if labels is None:
        raise ModelError(
            f"{where} names none of its {classes} classes: give them with LABELS=a,b,…"
        )
    if len(labels) != classes:
        raise ModelError(f"{where} has {classes} classes, but {len(labels)} labels are given")
    unfit = [each for each in labels if not _fit(each)]
    if unfit or len(set(labels)) != len(labels):
        raise ModelError(
            f"{where}: labels must differ and hold no comma, quote, backslash or line break: {unfit or list(labels)}"
        )
    return labels


def _fit(label: str) -> bool:
    # They are written into config.pbtxt, all in one string, separated by commas.
    return (
        0 < len(label) <= LABEL_LENGTH
        and label.isprintable()
        and label == label.strip()
        and not set(label) & set(",\"'\\")
    )


def preprocessing(size: int) -> Preprocessing:
    return Preprocessing(
        width=size,
        height=size,
        color="BGR",
        mean=(103.53, 116.28, 123.675),
        std=(57.375, 57.12, 58.395),
        resize="letterbox",
    )


def exported_inputs(size: int) -> tuple[Tensor, ...]:
    return (Tensor(name="input", dtype="float32", shape=("batch", 3, size, size)),)
