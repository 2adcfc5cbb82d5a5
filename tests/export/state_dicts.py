"""State dicts as PyTorch wrote them before 1.6, honest and hostile, instruction by instruction and without PyTorch."""

import pickle
import struct
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

MAGIC: object = 0x1950A86A20F9469CFC6C
MACHINE: object = {
    "protocol_version": 1001,
    "little_endian": True,
    "type_sizes": {"short": 2, "int": 4, "long": 4},
}
Arrays = Mapping[str, NDArray[np.generic]]
# The object's pickle, from the opcodes of its tensors.
Framed = Callable[[bytes], bytes]


def text(words: str) -> bytes:
    return b"X" + struct.pack("<I", len(words.encode())) + words.encode()


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def numbers(values: Sequence[int]) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


ORDERED_DICT = name("collections", "OrderedDict") + b")R"
METADATA = b"}" + text("_metadata") + ORDERED_DICT + b"s"


def storage(key: str, count: int, kind: str = "FloatStorage") -> bytes:
    where = text(key) + text("cuda:0") + number(count)
    return b"(" + text("storage") + name("torch", kind) + where + b"NtQ"


def tensor(
    key: str,
    shape: Sequence[int],
    *,
    count: int | None = None,
    offset: int = 0,
    strides: Sequence[int] | None = None,
    kind: str = "FloatStorage",
) -> bytes:
    """Looks row by row into a storage of its own, unless something else is said."""
    dense = [int(np.prod(shape[axis + 1 :])) for axis in range(len(shape))]
    held = storage(key, int(np.prod(shape)) if count is None else count, kind)
    where = number(offset) + numbers(shape) + numbers(dense if strides is None else strides)
    arguments = b"(" + held + where + b"\x89" + ORDERED_DICT + b"t"
    return name("torch._utils", "_rebuild_tensor_v2") + arguments + b"R"


def as_state_dict(tensors: bytes) -> bytes:
    return b"\x80\x02" + ORDERED_DICT + b"(" + tensors + b"u" + METADATA + b"b."


def written(
    tensors: Mapping[str, bytes],
    storages: Mapping[str, NDArray[np.generic]],
    *,
    magic: object = MAGIC,
    protocol: object = 1001,
    machine: object = MACHINE,
    framed: Framed = as_state_dict,
) -> bytes:
    """A file of any tensors, each the opcodes that make it, and any storages."""
    head = [pickle.dumps(each, 2) for each in (magic, protocol, machine)]
    items = b"".join(text(each) + opcodes for each, opcodes in tensors.items())
    keys = sorted(storages)
    raw = [struct.pack("<q", storages[key].size) + storages[key].tobytes() for key in keys]
    return b"".join([*head, framed(items), pickle.dumps(keys, 2), *raw])


def saved(arrays: Arrays) -> bytes:
    """What `torch.save` made of a state dict with these tensors."""
    keys = {each: str(94000000000000 + index) for index, each in enumerate(arrays)}
    kinds = {"f": "FloatStorage", "i": "LongStorage"}
    tensors = {
        each: tensor(keys[each], value.shape, kind=kinds[value.dtype.kind])
        for each, value in arrays.items()
    }
    return written(tensors, {keys[each]: value for each, value in arrays.items()})
