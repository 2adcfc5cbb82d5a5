"""Files as PyTorch writes them, made without PyTorch: honest and hostile."""

import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Named:
    """Pickles as a call of something by its name, whether that exists here or not."""

    def __init__(self, module: str, attribute: str, *arguments: object) -> None:
        self.module, self.attribute, self.arguments = module, attribute, arguments


# The pickler in Python has no types; the one in C cannot be told how to write a name.
class Writer(pickle._Pickler):
    """PyTorch's protocol 2, with names written as they are given."""

    def save(self, obj: Any, save_persistent_id: bool = True) -> Any:
        if not isinstance(obj, Named):
            return super().save(obj, save_persistent_id)  # type: ignore[misc]
        write: Callable[[bytes], object] = self.write  # type: ignore[attr-defined]
        write(pickle.GLOBAL + f"{obj.module}\n{obj.attribute}\n".encode())
        self.save(obj.arguments)
        write(pickle.REDUCE)
        return None


class Bomb:
    """Runs a command as soon as it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self._marker}",)


def pickled(content: object) -> bytes:
    stream = io.BytesIO()
    Writer(stream, protocol=2).dump(content)
    return stream.getvalue()


def archived(content: bytes, path: Path, *, compression: int = zipfile.ZIP_STORED) -> Path:
    """As `torch.save` writes since PyTorch 1.6."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3\n")
    return path


def streamed(content: bytes, path: Path) -> Path:
    """As MMDetection publishes: five pickles, then the numbers."""
    magic, protocol, machine, keys = 0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, ["0"]
    before = b"".join(pickle.dumps(each, 2) for each in (magic, protocol, machine))
    path.write_bytes(before + content + pickle.dumps(keys, 2) + struct.pack("<q", 0))
    return path


def tensor() -> Named:
    """A tensor, as far as names go."""
    return Named("torch._utils", "_rebuild_tensor_v2", Named("torch", "FloatStorage"), 0)


def trained() -> dict[str, object]:
    """What a user's own training leaves: weights, and loss curves beside them."""
    curve = Named("mmengine.logging.history_buffer", "HistoryBuffer")
    return {
        "meta": {"epoch": 3, "dataset_meta": {"classes": ("person",)}},
        "state_dict": OrderedDict(weight=tensor()),
        "message_hub": {"loss": curve, "array": Named("numpy.core.multiarray", "_reconstruct")},
    }
