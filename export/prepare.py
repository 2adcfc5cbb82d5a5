"""A public ONNX file becomes `model_repository/<slot>/<version>/model.onnx`, with a note of where it came from."""

import hashlib
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import onnx
from pydantic import BaseModel, ConfigDict, ValidationError

from export import atomic, gate, mobilefacenet, serving, state_dict, versions
from export.graphs.face_detector import face_detector
from export.graphs.face_embedder import face_embedder
from export.graphs.object_detector import object_detector
from export.manifest import Model, Pixels, Sha256, Slot
from orchestrator.errors import ModelError

# Raise it with every change of export/graphs or export/mobilefacenet.py that changes what comes out, so that
# prepared files are made anew.
RECIPE = 2

EDITS: Mapping[Slot, Callable[[onnx.ModelProto, Model], onnx.ModelProto]] = {
    "object_detector": object_detector,
    "face_detector": face_detector,
    "face_embedder": face_embedder,
}


class Provenance(BaseModel):
    """What lies beside a prepared model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    title: str
    licence: str
    homepage: str
    source_file: str
    source_sha256: Sha256
    result_sha256: Sha256
    recipe: int
    pixels: Pixels = "rgb"
    tools: dict[str, str]


@dataclass(frozen=True, slots=True)
class Prepared:
    path: Path
    sha256: str
    changed: bool


def prepare(source: Path, model: Model, repository: Path) -> Prepared:
    """Write what Triton serves, unless it is there already. Raises ModelError.

    A version's number stands for its weights as long as the folder exists, for clients know them by it (decision 0014):
    what is another model's, or of another recipe, stays, and this one lands beside it.
    A configuration that is there is left alone, for an operator may have tuned it, unless it belongs to other weights.
    """
    if (present := up_to_date(model, repository)) is not None:
        return present
    edited = edit(source, model)
    content = edited.SerializeToString(deterministic=True)
    digest = hashlib.sha256(content).hexdigest()
    note = _provenance(model, digest).model_dump_json(indent=2).encode() + b"\n"
    file = target(model, repository)
    if file.exists() and not _is_of(file, model) and _digest(file) != digest:
        return Prepared(_land(model, edited, note, repository), digest, changed=True)
    configure(model, edited, file.parent)
    # The note goes first: a note whose digest does not fit is made anew, a model without one is not trusted.
    atomic.write(file.with_name("provenance.json"), note)
    if _digest(file) != digest:  # a running Triton loads anew what is written anew
        atomic.write(file, content)
    return Prepared(file, digest, changed=True)


def target(model: Model, repository: Path) -> Path:
    """Where this model is, made by this recipe, or would be; the version that is served before the others."""
    folder = repository / model.slot
    numbers = [versions.served(folder), *reversed(versions.present(folder))]
    files = [folder / str(number) / "model.onnx" for number in numbers if number is not None]
    first = folder / model.version / "model.onnx"
    return next((file for file in files if _is_of(file, model)), first)


def served(model: Model, repository: Path) -> Path:
    """The file that Triton serves in the model's folder, whosever it is; where there is none yet, `target`."""
    folder = repository / model.slot
    number = versions.served(folder)
    return target(model, repository) if number is None else folder / str(number) / "model.onnx"


def up_to_date(model: Model, repository: Path) -> Prepared | None:
    """What an earlier run left, if it was made from this source by this recipe and is undamaged."""
    file = target(model, repository)
    note = provenance(file)
    if note is None:
        return None
    if (note.source_sha256, note.recipe, note.pixels) != (model.sha256, RECIPE, model.pixels):
        return None
    if not _configured(model, repository / model.slot):
        return None
    try:
        digest = hashlib.sha256(gate.read(file)).hexdigest()
    except ModelError:
        return None
    return Prepared(file, digest, changed=False) if digest == note.result_sha256 else None


def provenance(file: Path) -> Provenance | None:
    """The note beside a prepared model, or None where there is no readable one."""
    try:
        return Provenance.model_validate_json(file.with_name("provenance.json").read_bytes())
    except (OSError, ValidationError):
        return None


def edit(source: Path, model: Model) -> onnx.ModelProto:
    """The model that Triton serves, from an untouched file that the gate admits. Raises ModelError."""
    if model.pixels != "rgb" and model.slot != "object_detector":
        raise ModelError(f"{model.name}: only an object detector takes {model.pixels} pixels")
    return checked(EDITS[model.slot](_untouched(source, model), model), model)


def checked(edited: onnx.ModelProto, model: Model) -> onnx.ModelProto:
    """The edited model itself. Raises ModelError unless it is valid ONNX."""
    try:
        onnx.checker.check_model(edited, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ModelError(f"{model.name}: the edited graph is not valid: {error}") from error
    return edited


def configure(model: Model, edited: onnx.ModelProto, version: Path) -> None:
    """Write config.pbtxt and labels.txt where they are missing or belong to other weights."""
    folder, number = version.parent, int(version.name)
    if _configured(model, folder):
        return
    labels = serving.LABELS
    if (version / labels).is_file():
        labels = f"{number}/{labels}"
    elif model.labels:
        atomic.write(folder / labels, _lines(model.labels))
    config = serving.config(model, edited, labels=labels)
    if set(versions.present(folder)) - {number}:
        versions.serve(folder, number, config)  # instead of the one that was served
    else:
        # Named from the first one on: what is put beside it by hand is then nobody's model.
        atomic.write(folder / versions.CONFIG, versions.pinned(config, number).encode())


def _untouched(source: Path, model: Model) -> onnx.ModelProto:
    """The network as it was published, or as its published weights say."""
    match model.format:
        case "onnx":
            return gate.admit(
                source, sha256=model.require_sha256(), inputs=model.inputs, outputs=model.outputs
            )
        case "mobilefacenet":
            content = gate.attested(source, model.require_sha256())
            return mobilefacenet.build(state_dict.read(content, source), source)
        case "pytorch":
            raise ModelError(
                f"{model.name}: {model.file} is a PyTorch checkpoint; export it with MMDeploy: `make export-model`"
            )


def _land(model: Model, edited: onnx.ModelProto, note: bytes, repository: Path) -> Path:
    folder = repository / model.slot
    files = {"model.onnx": edited.SerializeToString(deterministic=True), "provenance.json": note}
    if model.labels:
        files[serving.LABELS] = _lines(model.labels)
    tuned = (folder / versions.CONFIG).read_text() if _configured(model, folder) else None
    number = versions.land(folder, files)
    fresh = serving.config(model, edited, labels=f"{number}/{serving.LABELS}")
    versions.serve(folder, number, tuned or fresh)
    return folder / str(number) / "model.onnx"


def _is_of(file: Path, model: Model) -> bool:
    note = provenance(file)
    return note is not None and (note.source_sha256, note.recipe) == (model.sha256, RECIPE)


def _digest(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except FileNotFoundError:
        return ""


def _lines(labels: tuple[str, ...]) -> bytes:
    return "".join(f"{label}\n" for label in labels).encode()


def _configured(model: Model, folder: Path) -> bool:
    try:
        text = (folder / "config.pbtxt").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    fits = model.require_sha256() in text and serving.pixels_of(text) == model.pixels
    return fits and (not model.labels or (folder / "labels.txt").is_file())


def _provenance(model: Model, digest: str) -> Provenance:
    return Provenance(
        model=model.name,
        title=model.title,
        licence=model.licence,
        homepage=model.homepage,
        source_file=model.file,
        source_sha256=model.require_sha256(),
        result_sha256=digest,
        recipe=RECIPE,
        pixels=model.pixels,
        tools={"onnx": version("onnx"), "python": platform.python_version()},
    )
