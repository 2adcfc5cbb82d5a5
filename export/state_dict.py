"""Weights in PyTorch's format before 1.6, read as data: without PyTorch, and without carrying out a pickle.

Five pickles (magic number, protocol, machine, tensors, storage keys), then for each key a count and raw numbers. A
pickle is a program; here only the few instructions that PyTorch writes for a state dict are understood, and the
few names it refers to stand for themselves. Nothing is looked up, imported or called.
"""

import io
import math
import pickletools
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import ModelError

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
# A convolution's weights have four dimensions.
MOST_DIMENSIONS = 4
_MARK = object()

Tensors = dict[str, NDArray[np.generic]]


class Name(Enum):
    """All that a state dict may refer to."""

    ORDERED_DICT = "collections OrderedDict"
    TENSOR = "torch._utils _rebuild_tensor_v2"
    FLOATS = "torch FloatStorage"
    INTEGERS = "torch LongStorage"


DTYPES: Mapping[object, np.dtype[np.generic]] = {
    Name.FLOATS: np.dtype("<f4"),
    Name.INTEGERS: np.dtype("<i8"),
}


@dataclass(frozen=True, slots=True)
class Storage:
    """Numbers behind the pickles, which tensors look into."""

    key: str
    dtype: np.dtype[np.generic]
    count: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where a tensor lies in its storage; row by row, without gaps."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]


def read(content: bytes, path: Path) -> Tensors:
    """The tensors of a state dict by name. Raises ModelError, naming the path, for everything else."""
    file = io.BytesIO(content)
    try:
        magic, protocol, machine = (Pickle(file).value() for _ in range(3))
        if (magic, protocol) != (MAGIC, PROTOCOL):
            raise ValueError("it does not begin as PyTorch's format before 1.6 does")
        if not isinstance(machine, dict) or machine.get("little_endian") is not True:
            raise ValueError("it was not written by a little-endian machine")
        return _filled(_described(Pickle(file).value()), Pickle(file).value(), file)
    except (ValueError, IndexError, KeyError) as error:
        raise ModelError(f"{path}: cannot be read as a state dict of PyTorch: {error}") from error


class Pickle:
    """One pickle, of which nothing is carried out but putting plain values together."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._stack: list[object] = []
        self._memo: dict[object, object] = {}

    def value(self) -> object:
        """Leave the file behind the pickle. Raises ValueError, IndexError or KeyError where it is not as expected."""
        for operation, argument, _ in pickletools.genops(self._file):
            if operation.name == "STOP":
                break
            self._take(operation.name, argument)
        (value,) = self._stack
        return value

    def _take(self, operation: str, argument: object) -> None:
        stack = self._stack
        match operation:
            case "PROTO":
                pass
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINUNICODE":
                stack.append(argument)
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[operation])
            case "GLOBAL":
                stack.append(_known(argument))
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self._memo[argument])
            case "MARK":
                stack.append(_MARK)
            case _:
                self._assemble(operation)

    def _assemble(self, operation: str) -> None:
        stack = self._stack
        match operation:
            case "EMPTY_TUPLE" | "EMPTY_LIST" | "EMPTY_DICT":
                stack.append({"EMPTY_TUPLE": (), "EMPTY_LIST": [], "EMPTY_DICT": {}}[operation])
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                parts = [stack.pop() for _ in range(int(operation[-1]))]
                stack.append(tuple(reversed(parts)))
            case "TUPLE":
                stack.append(tuple(self._marked()))
            case "APPEND":
                _extend([stack.pop()], stack[-1])
            case "APPENDS":
                _extend(self._marked(), stack[-1])
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                _update([key, value], stack[-1])
            case "SETITEMS":
                _update(self._marked(), stack[-1])
            case "REDUCE":
                arguments, name = stack.pop(), stack.pop()
                stack.append(_put_together(name, arguments))
            case "BINPERSID":
                stack.append(_storage(stack.pop()))
            case "BUILD":  # attributes beside the tensors: versions of PyTorch's modules
                stack.pop()
            case _:
                raise ValueError(f"no state dict holds the instruction {operation}")

    def _marked(self) -> list[object]:
        """Take off what lies above the last mark, and the mark."""
        taken: list[object] = []
        while (value := self._stack.pop()) is not _MARK:
            taken.append(value)
        return taken[::-1]


def _known(argument: object) -> Name:
    try:
        return Name(argument)
    except ValueError:
        asked = str(argument).replace(" ", ".")
        raise ValueError(f"it asks for {asked}, which weights do not need; not run") from None


def _put_together(name: object, arguments: object) -> object:
    match name, arguments:
        case Name.ORDERED_DICT, ():
            return {}
        case Name.TENSOR, (Storage() as storage, int(offset), tuple(shape), tuple(strides), *_):
            return _tensor(storage, offset, shape, strides)
    raise ValueError("it puts something together that is neither a tensor nor a dictionary")


def _tensor(
    storage: Storage, offset: int, shape: tuple[object, ...], strides: tuple[object, ...]
) -> Tensor:
    sizes = tuple(size for size in shape if isinstance(size, int) and size >= 0)
    if len(sizes) != len(shape) or len(sizes) > MOST_DIMENSIONS:
        raise ValueError("a tensor has no shape of at most four dimensions")
    if offset < 0 or offset + math.prod(sizes) > storage.count:
        raise ValueError(f"a tensor of shape {sizes} reaches beyond its {storage.count} numbers")
    dense = [math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))]
    steps = zip(sizes, strides, dense, strict=True)
    if any(size > 1 and stride != step for size, stride, step in steps):
        raise ValueError(f"a tensor of shape {sizes} does not lie row by row")
    return Tensor(storage, offset, sizes)


def _storage(identity: object) -> Storage:
    match identity:
        case ("storage", Name() as kind, str(key), str(), int(count), None) if kind in DTYPES:
            return Storage(key, DTYPES[kind], count)
    raise ValueError("it refers to something that is no storage of float32 or int64")


def _extend(values: list[object], target: object) -> None:
    if not isinstance(target, list):
        raise ValueError("it appends to something that is no list")
    target.extend(values)


def _update(pairs: list[object], target: object) -> None:
    if not isinstance(target, dict) or len(pairs) % 2:
        raise ValueError("it sets items of something that is no dictionary")
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        if not isinstance(key, str) or key in target:
            raise ValueError("a dictionary has something else than names, or one of them twice")
        target[key] = value


def _described(value: object) -> dict[str, Tensor]:
    if not isinstance(value, dict):
        raise ValueError("it holds no dictionary of tensors")
    tensors = {name: each for name, each in value.items() if isinstance(each, Tensor)}
    if len(tensors) != len(value):
        raise ValueError(f"{min(value.keys() - tensors.keys())} is no tensor")
    return tensors


def _filled(tensors: dict[str, Tensor], keys: object, file: BinaryIO) -> Tensors:
    storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    if any(tensor.storage != storages[tensor.storage.key] for tensor in tensors.values()):
        raise ValueError("two tensors do not agree about their storage")
    if keys != sorted(storages):
        raise ValueError("its storages are not those of its tensors")
    numbers = {key: _numbers(storages[key], file) for key in sorted(storages)}
    if file.read(1):
        raise ValueError("it goes on behind its last storage")
    return {
        name: numbers[each.storage.key][each.offset : each.offset + math.prod(each.shape)].reshape(
            each.shape
        )
        for name, each in tensors.items()
    }


def _numbers(storage: Storage, file: BinaryIO) -> NDArray[np.generic]:
    if int.from_bytes(file.read(8), "little", signed=True) != storage.count:
        raise ValueError(f"a storage of {storage.count} numbers is not where it should be")
    size = storage.count * storage.dtype.itemsize
    body = file.read(size)
    if len(body) != size:
        raise ValueError(f"it ends after {len(body)} of the {size} bytes of a storage")
    return np.frombuffer(body, storage.dtype)
