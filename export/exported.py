"""What lies beside a model that was exported from a checkpoint, and how it comes to be served."""

import hashlib
from pathlib import Path

import onnx
from pydantic import BaseModel, ConfigDict, ValidationError

from export import serving, versions
from export.gate import read
from export.manifest import Model, Sha256
from export.proof import Proof
from export.serving import Serving
from orchestrator.errors import ModelError

ORIGIN = "Written by `fess models export`; provenance.json beside the model says from what."


class Exported(BaseModel):
    """provenance.json of such a version.

    source_sha256  of the checkpoint
    onnx_sha256    of what MMDeploy made of it
    result_sha256  of what Triton loads
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    title: str
    licence: str
    homepage: str
    source_file: str
    source_sha256: Sha256
    onnx_sha256: Sha256
    result_sha256: Sha256
    recipe: int
    options: dict[str, str | int | float | list[str]]
    tools: dict[str, str]


def note_of(version: Path) -> Exported | None:
    """The note in a version's folder, or None where there is none of this kind."""
    try:
        return Exported.model_validate_json((version / "provenance.json").read_bytes())
    except (OSError, ValidationError):
        return None


def land(
    model: Model, content: bytes, note: Exported, proof: Proof, repository: Path, how: Serving
) -> tuple[Path, bool]:
    """Serve a new version from now on, unless these very bytes are served. Its folder, and whether it is new.

    Raises:
        ModelError: nothing is served that was not served before.
    """
    folder = repository / model.slot
    now = versions.served(folder)
    if now is not None and _same(folder / str(now), note):
        return folder / str(now), False
    number = versions.land(
        folder,
        {
            "model.onnx": content,
            serving.LABELS: "".join(f"{label}\n" for label in model.labels).encode(),
            "provenance.json": note.model_dump_json(indent=2).encode() + b"\n",
            "parity.json": proof.model_dump_json(indent=2).encode() + b"\n",
            "parity.txt": proof.text().encode(),
        },
    )
    config = serving.config(
        model,
        onnx.load_model_from_string(content),
        origin=ORIGIN,
        labels=f"{number}/{serving.LABELS}",
        serving=how,
    )
    versions.serve(folder, number, config)
    return folder / str(number), True


def _same(version: Path, note: Exported) -> bool:
    found = note_of(version)
    if found is None or found.model_copy(update={"tools": note.tools}) != note:
        return False
    try:
        content = read(version / "model.onnx")
    except ModelError:
        return False
    return hashlib.sha256(content).hexdigest() == note.result_sha256
