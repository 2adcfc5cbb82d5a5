"""The model files that the embedded Triton would serve: present, undamaged, and the ones the manifest knows."""

import json
import re
from pathlib import Path

from export import versions, vouched
from export.manifest import load
from orchestrator.checking.finding import Finding
from orchestrator.errors import ModelError
from orchestrator.settings import Settings

FETCH = "run `fess models fetch`"
LABELS = re.compile(r'key:\s*"labels"\s*value:\s*\{\s*string_value:\s*"([^"]*)"')


def wanted(settings: Settings) -> tuple[str, ...]:
    """The folders of the model repository that the settings name."""
    faces = settings.faces
    more = (faces.detector_model, faces.embedder_model) if faces.enabled else ()
    return (settings.detector.model, *more)


def model_files(settings: Settings) -> list[Finding]:
    repository = settings.triton.model_repository
    try:
        digests = {model.sha256: model.title for model in load().models if model.sha256}
    except ModelError as error:
        return [Finding.of_error("models", error)]
    found = [_model(repository / name, digests) for name in wanted(settings)]
    labels = _labels(settings)
    return [*found, *([labels] if labels else [])]


def embedder_source(settings: Settings) -> str | None:
    """Digest of the weights whose faces can be matched, where the model repository is at hand."""
    folder = settings.triton.model_repository / settings.faces.embedder_model
    return (
        _source(folder / str(versions.served(folder))) or None
    )  # what is missing is told beside the model


def _source(version: Path) -> str:
    try:
        return str(json.loads((version / vouched.NOTE).read_bytes())["source_sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _has_note(version: Path) -> bool:
    return (version / vouched.NOTE).is_file()


def _model(folder: Path, known: dict[str, str]) -> Finding:
    part = f"model {folder.name}"
    if not (folder / "config.pbtxt").is_file():
        return Finding.failed(part, f"{folder} has no config.pbtxt", FETCH)
    file = folder / str(versions.served(folder)) / "model.onnx"
    if not file.is_file():
        return Finding.failed(part, f"{folder} holds no model.onnx that it could serve", FETCH)
    try:
        vouched.require(file.parent)
    except ModelError as error:
        return Finding.of_error(part, error)
    stray = [number for number in versions.present(folder) if not _has_note(folder / str(number))]
    if stray:
        lying = folder / str(stray[0])
        what = f"{lying} is not served: nothing vouches for it"
        mend = f"delete it, or if it is yours, `fess models add {lying / vouched.MODEL}`"
        return Finding.warning(part, what, mend)
    source = _source(file.parent)
    if source not in known:
        what = f"{file} is undamaged; its source {source[:12]}… is not in the manifest"
        return Finding.warning(part, what, "nothing, if these weights are yours")
    return Finding.ok(part, f"{known[source]}, undamaged")


def _labels(settings: Settings) -> Finding | None:
    """DETECTOR_CLASSES must be labels of the model."""
    if not settings.detector.classes:
        return None
    file = settings.triton.model_repository / settings.detector.model / versions.CONFIG
    try:
        found = LABELS.search(file.read_text(encoding="utf-8"))
    except OSError:
        return None  # told above: the model is not there
    labels = found[1].split(",") if found else []
    unknown = [name for name in settings.detector.classes if name not in labels]
    if not unknown:
        return Finding.ok("classes", ", ".join(settings.detector.classes))
    what = f"the detector has no class {', '.join(unknown)}"
    there = ", ".join(filter(None, labels[:20]))
    return Finding.failed("classes", what, f"set DETECTOR_CLASSES to some of: {there}")
