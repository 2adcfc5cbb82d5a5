"""An ONNX file of the operator's own becomes a version: past the gate, with a note of what it is."""

import hashlib
import platform
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import onnx
from pydantic import BaseModel, ConfigDict

from export import gate, serving, versions, vouched
from export.gate import Signature
from export.manifest import Model, Pixels, Preprocessing, Sha256, Slot
from export.prepare import Prepared, checked
from export.rtmdet import checked_labels
from orchestrator.errors import ModelError

ORIGIN = "Written by `fess models add`; kept as it is while the weights stay the same."
# Of a shape: `batch` is free, `fixed` any number; a number is that number.
Expected = Mapping[str, tuple[str, tuple[int | str, ...]]]
ROWS: Expected = {
    "count": ("int32", ("batch", 1)),
    "boxes": ("float32", ("batch", "fixed", 4)),
    "scores": ("float32", ("batch", "fixed")),
}
OUTPUTS: Mapping[Slot, Expected] = {
    "object_detector": {**ROWS, "labels": ("int32", ("batch", "fixed"))},
    "face_detector": {**ROWS, "landmarks": ("float32", ("batch", "fixed", 5, 2))},
    "face_embedder": {"embedding": ("float32", ("batch", "fixed"))},
}
RGB: Expected = {"images": ("uint8", ("batch", "fixed", "fixed", 3))}
PLANAR: Expected = {
    "luma": ("uint8", ("batch", "fixed", "fixed")),
    "chroma": ("uint8", ("batch", 2, "fixed", "fixed")),
    "colour": ("float32", ("batch", 3, 4)),
}
INPUTS: Sequence[tuple[Slot, Pixels, Expected]] = (
    ("object_detector", "rgb", RGB),
    ("object_detector", "planar", PLANAR),
    ("face_detector", "rgb", RGB),
    ("face_embedder", "rgb", {"crops": ("uint8", ("batch", 112, 112, 3))}),
)


class Added(BaseModel):
    """provenance.json of such a version: the operator's file is served as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    title: str
    source_file: str
    source_sha256: Sha256
    result_sha256: Sha256
    labels: tuple[str, ...]
    tools: dict[str, str]


def add(
    file: Path,
    repository: Path,
    folders: Mapping[Slot, str],
    *,
    labels: tuple[str, ...] | None = None,
    match_threshold: float | None = None,
) -> Prepared:
    """Serve the file from now on, in the folder for what it is, unless it is served there already.

    Args:
        file: has the signature of one of the models that FESS asks (docs/models.md).
        repository: what Triton serves.
        folders: of the repository, by what they hold.
        labels: names of the classes, in the order of the network's output; only of object detectors.
        match_threshold: the operator's own; without it an embedder could not be used.

    Raises:
        ModelError: nothing is served that was not served before.
    """
    content = gate.read(file)
    graph = gate.parse(content, file)
    gate.inspect(graph, file)
    slot, pixels = _kind(graph, file)
    if slot == "face_embedder" and match_threshold is None:
        raise ModelError(f"{file}: nobody recommends a threshold for it; set FACES_MATCH_THRESHOLD")
    digest = hashlib.sha256(content).hexdigest()
    model = _model(file, digest, slot, pixels, _labels(slot, labels))
    checked(graph, model)
    note = _note(file, model, digest)
    folder = repository / folders[slot]
    now = versions.served(folder)
    if now is not None and _same(folder / str(now), note):
        return Prepared(folder / str(now) / vouched.MODEL, digest, changed=False)
    number = versions.land(folder, _files(content, note))
    config = serving.config(model, graph, origin=ORIGIN, labels=f"{number}/{serving.LABELS}")
    named = config.replace(f'name: "{slot}"', f'name: "{folder.name}"', 1)
    versions.serve(folder, number, named)
    return Prepared(folder / str(number) / vouched.MODEL, digest, changed=True)


def _note(file: Path, model: Model, digest: str) -> Added:
    return Added(
        model=model.name,
        title=model.title,
        source_file=file.name,
        source_sha256=digest,
        result_sha256=digest,
        labels=model.labels,
        tools={"onnx": version("onnx"), "python": platform.python_version()},
    )


def _files(content: bytes, note: Added) -> Mapping[str, bytes]:
    files = {
        vouched.MODEL: content,
        vouched.NOTE: note.model_dump_json(indent=2).encode() + b"\n",
    }
    if note.labels:
        files[serving.LABELS] = "".join(f"{label}\n" for label in note.labels).encode()
    return files


def _kind(graph: onnx.ModelProto, file: Path) -> tuple[Slot, Pixels]:
    """What a graph is, by what it takes and answers. Raises ModelError."""
    inputs, outputs = gate.signature(graph)
    for slot, pixels, expected in INPUTS:
        if _fits(expected, inputs) and _fits(OUTPUTS[slot], outputs):
            return slot, pixels
    raise ModelError(
        f"{file}: wrong inputs or outputs, found {gate.shown(inputs)} -> {gate.shown(outputs)}; docs/models.md has the "
        "signatures that FESS asks. `fess models export` makes one of them of an RTMDet checkpoint"
    )


def _fits(expected: Expected, found: Sequence[Signature]) -> bool:
    return {each.name for each in found} == expected.keys() and all(
        each.dtype == expected[each.name][0]
        and len(each.shape) == len(expected[each.name][1])
        and all(map(_is, expected[each.name][1], each.shape))
        for each in found
    )


def _is(wanted: int | str, found: int | str) -> bool:
    fixed = isinstance(found, int) and found > 0  # what a file leaves open is a name, or 0
    return found == wanted if isinstance(wanted, int) else fixed == (wanted == "fixed")


def _labels(slot: Slot, labels: tuple[str, ...] | None) -> tuple[str, ...]:
    if slot != "object_detector":
        if labels is not None:
            raise ModelError(f"--labels: are of object detectors, and this is a {slot}")
        return ()
    if labels is None:
        raise ModelError("--labels a,b,…: give the classes, in the order of the network's output")
    return checked_labels(labels, len(labels), "--labels")


def _model(file: Path, digest: str, slot: Slot, pixels: Pixels, labels: tuple[str, ...]) -> Model:
    stem = re.sub(r"[^\w.-]+", "_", file.stem, flags=re.ASCII).strip("_.-")
    return Model(
        name=f"{stem or 'own'}_{digest[:8]}",
        title=f"The operator's own {stem or 'model'}",
        slot=slot,
        version="1",
        file=f"{digest[:8]}.onnx",
        licence="of its owner",
        homepage="",
        sha256=digest,
        # The file is served as it is; what comes before the network is its own business.
        preprocessing=Preprocessing(
            width=1,
            height=1,
            color="RGB",
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            resize="letterbox",
        ),
        labels=labels,
        pixels=pixels,
    )


def _same(folder: Path, note: Added) -> bool:
    try:
        found = Added.model_validate_json((folder / vouched.NOTE).read_bytes())
        vouched.require(folder)
    except (OSError, ValueError, ModelError):
        return False
    return found.model_copy(update={"tools": note.tools}) == note
