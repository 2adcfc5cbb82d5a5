"""The note beside a version's model: what came in past the gate, and whether it is still that.

The embedded backend asks the same of a version before it loads it (`orchestrator/embedded/onnxruntime_backend`): what
somebody put into the model repository by hand is not served.
"""

from pathlib import Path

from pydantic import BaseModel, ValidationError

from export import gate
from export.manifest import Sha256
from export.versions import NOTE as NOTE
from orchestrator.errors import ModelError

MODEL = "model.onnx"


class _Vouched(BaseModel):
    """What the notes of prepared, exported and added versions share."""

    result_sha256: Sha256


def digest(version: Path) -> str:
    """The digest that a version's model must have. Raises ModelError where no note names one."""
    try:
        return _Vouched.model_validate_json((version / NOTE).read_bytes()).result_sha256
    except FileNotFoundError as error:
        raise ModelError(
            f"{version}: no {NOTE} vouches for it; if it is yours, `fess models add {version / MODEL}` "
            "makes a version of it"
        ) from error
    except (OSError, ValidationError) as error:
        raise ModelError(f"{version / NOTE}: names no digest of the model") from error


def require(version: Path) -> None:
    """Raises ModelError unless the model is the very file that the note beside it names."""
    gate.attested(version / MODEL, digest(version))
