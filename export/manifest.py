"""What may be fetched, from where, under which licence, and how to know that it is the right file."""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from orchestrator.errors import ModelError

MANIFEST = Path(__file__).with_name("manifest.toml")

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Pixels = Literal["rgb", "planar", "decoded"]
"""What an object detector takes: RGB or planar YUV in its own size, or the decoder's planes in whatever size."""
Slot = Literal["object_detector", "face_detector", "face_embedder"]


class Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Tensor(Entry):
    name: str
    dtype: Literal["float32", "int64", "int32", "uint8"]
    shape: tuple[int | str, ...]
    """A number is fixed; a name is free."""


class Preprocessing(Entry):
    """From RGB bytes to what the network was trained on: (x - mean) / std, x in 0..255."""

    width: int = Field(gt=0)
    height: int = Field(gt=0)
    color: Literal["RGB", "BGR"]
    """Order of the network's input planes; mean and std are in the same order."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize: Literal["letterbox", "aligned"]
    """letterbox: scaled to fit, top left, the rest padded. aligned: warped so that the landmarks meet a template."""
    pad: int = Field(default=114, ge=0, le=255)


class Source(Entry):
    """A public address."""

    url: str = Field(pattern=r"^(https://|http://127\.0\.0\.1:)")
    """Encrypted, or on this machine."""
    sha256: Sha256 | None = None
    """Digest of the file at the address, where somebody has verified it. Without it nothing is fetched."""
    member: str | None = None
    """The file's name inside the archive at the address."""
    note: str = ""


class Download(Entry):
    """A file that is fetched and kept as published."""

    name: str
    file: FileName
    licence: str
    homepage: str
    sha256: Sha256 | None = None
    size: int | None = Field(default=None, gt=0)
    sources: tuple[Source, ...] = ()

    def require_sha256(self) -> str:
        """The verified digest. Raises ModelError where there is none."""
        if self.sha256 is None:
            raise ModelError(
                f"{self.name}: no verified digest of {self.file} is known, so it is not used; "
                "check the file yourself and write its SHA-256 into the manifest"
            )
        return self.sha256


class Model(Download):
    """One network, and the folder of the model repository that it can fill."""

    title: str
    slot: Slot
    version: str
    default: bool = False
    stands_in_for: str | None = None
    """The default in whose place it is used where that one's file cannot be had."""
    format: Literal["onnx", "pytorch", "mobilefacenet"] = "onnx"
    """mobilefacenet: a state dict, of which export/mobilefacenet.py makes ONNX. pytorch: for `fess models export`."""
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    preprocessing: Preprocessing
    labels: tuple[str, ...] = ()
    """Classes in the order of the network's output; only for object detectors."""
    pixels: Pixels = "rgb"
    """What is made of it takes; only object detectors have a choice."""
    match_threshold: float | None = Field(default=None, ge=-1.0, le=1.0)
    """Recommended least cosine similarity of a match; only for embedders."""
    prepared_sha256: Sha256 | None = None
    """Digest of what `export.prepare` makes of it."""
    note: str = ""


class Clip(Download):
    """Sample footage for the demo and the tests."""

    shows: str


class Manifest(Entry):
    models: tuple[Model, ...]
    clips: tuple[Clip, ...] = ()

    def model(self, name: str) -> Model:
        """Raises ModelError when the manifest has no such model."""
        for model in self.models:
            if model.name == name:
                return model
        known = ", ".join(model.name for model in self.models)
        raise ModelError(f"{name}: not in the manifest, which knows {known}")

    def defaults(self) -> tuple[Model, ...]:
        return tuple(model for model in self.models if model.default)

    def stand_in(self, default: Model) -> Model | None:
        return next((model for model in self.models if model.stands_in_for == default.name), None)


def load(path: Path = MANIFEST) -> Manifest:
    """Read a manifest. Raises ModelError with every mistake in it."""
    try:
        return Manifest.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise ModelError(f"manifest {path}: {error}") from error
