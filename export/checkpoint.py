"""PyTorch checkpoints come in here: by the manifest's digest or as the operator's own, and as data only.

A checkpoint is a pickle, and a pickle is a program. It is read twice: here, without running any of it, to see
what it would ask for; then by `torch.load(weights_only=True)` in the export environment. Both must agree
that it is weights.
"""

import pickletools
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from rich.console import Console

from export.fetch import fetch
from export.install import Places
from export.manifest import load
from export.mmdeploy.allowed import harmless, name
from export.rtmdet import Network
from export.transfer import digest_of
from orchestrator.errors import ModelError

# RTMDet-x with everything that a trainer saves is 1.6 GB.
LARGEST_BYTES = 4 * 10**9
# Before zip archives, PyTorch wrote five pickles: magic number, protocol, machine, content, storage keys.
OLD_PICKLES = 5
ARCHIVE = b"PK\x03\x04"
# Other ways to reach code than GLOBAL, which is all that PyTorch writes.
OTHER_DOORS = frozenset({"STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4", "NEWOBJ_EX"})

MEND = (
    "give a file that you have checked with CHECKPOINT=path, "
    "or set FESS_MODELS_MIRROR and write its digest into export/manifest.toml"
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A file that has been looked at: it asks for nothing but tensors and bookkeeping.

    licence, homepage  of the manifest; unknown for an operator's own
    """

    path: Path
    sha256: str
    licence: str
    homepage: str


async def obtain(
    network: Network, own: Path | None, places: Places, console: Console
) -> Checkpoint:
    """The operator's own file, or the public one of the network. Raises ModelError."""
    if own is not None:
        inspect(own)
        return Checkpoint(own, digest_of(own), "of its owner", "")
    if network.public is None:
        raise ModelError(
            f"{network.name}: no public checkpoint is known; give one with CHECKPOINT=path"
        )
    model = load().model(network.public)
    (path,) = await fetch([model], places.store, mirror=places.mirror, mend=MEND, console=console)
    inspect(path)
    return Checkpoint(path, model.require_sha256(), model.licence, model.homepage)


def inspect(path: Path) -> None:
    """Refuse a checkpoint that is more than data, without running any of it. Raises ModelError."""
    try:
        if not path.is_file():
            raise ModelError(f"{path}: is not there, or no file")
        if path.stat().st_size > LARGEST_BYTES:
            raise ModelError(f"{path}: is larger than any RTMDet, {path.stat().st_size} bytes")
        wanted = _wanted(path)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, zipfile.BadZipFile, UnicodeDecodeError, IndexError) as error:
        raise ModelError(
            f"{path}: cannot be read as a checkpoint: {error}; it is cut off, or no file of PyTorch's"
        ) from error
    strange = sorted(each for each in wanted if not harmless(each))
    if strange:
        raise ModelError(
            f"{path}: is more than weights: it asks for {', '.join(strange)}, which would be run; "
            "not opened. Save its state_dict alone, where it comes from, and give that"
        )


def _wanted(path: Path) -> set[str]:
    # By the first bytes, as PyTorch does: a zip archive may also stand behind something else.
    with path.open("rb") as file:
        return _archived(path) if file.read(len(ARCHIVE)) == ARCHIVE else _streamed(path)


def _archived(path: Path) -> set[str]:
    with zipfile.ZipFile(path) as archive:
        packed = [
            each.filename for each in archive.infolist() if each.compress_type != zipfile.ZIP_STORED
        ]
        if packed:  # PyTorch compresses nothing; what is packed could be of any size
            raise ValueError(f"{packed[0]} is compressed, which PyTorch does not do")
        pickles = [each for each in archive.namelist() if each.endswith(".pkl")]
        if len(pickles) != 1 or not pickles[0].endswith("/data.pkl"):
            raise ValueError(f"expected one data.pkl, found {pickles}")
        with archive.open(pickles[0]) as file:
            return _asked_for(file)


def _streamed(path: Path) -> set[str]:
    with path.open("rb") as file:
        return set().union(*(_asked_for(file) for _ in range(OLD_PICKLES)))


def _asked_for(file: IO[bytes]) -> set[str]:
    """The names that one pickle would import."""
    wanted: set[str] = set()
    for operation, argument, _ in pickletools.genops(file):
        if operation.name == "GLOBAL":
            module, _, attribute = str(argument).partition(" ")
            wanted.add(name(module, attribute))
        elif operation.name in OTHER_DOORS:
            wanted.add(f"something by {operation.name}")
    return wanted
