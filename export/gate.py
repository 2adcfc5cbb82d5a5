"""The only way in for a model file: it is what was meant, and it cannot make its reader open other files.

ONNX files can name data outside their folder and code outside the standard (field reports of both exist), and
parsers keep finding new ways to follow such names. So a file is read once, without following links;
the bytes that are hashed are the bytes that are parsed; and anything but plain ONNX is refused.
"""

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # onnx brings no stubs for it
from onnx import AttributeProto, TensorProto, helper

from export.manifest import Tensor
from orchestrator.errors import ModelError

# One protobuf message cannot be larger.
LARGEST_BYTES = 2**31 - 1
STANDARD_DOMAINS = frozenset({"", "ai.onnx"})


class Signature(NamedTuple):
    """One input or output as the file has it."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


def admit(
    path: Path,
    *,
    sha256: str | None,
    inputs: Sequence[Tensor] = (),
    outputs: Sequence[Tensor] = (),
) -> onnx.ModelProto:
    """Read a model file that may be trusted to be data and nothing else.

    Args:
        path: a regular file, no link.
        sha256: the digest it must have; None only for files that were made here.
        inputs: the signature it must have; empty: not compared.
        outputs: the same.

    Raises:
        ModelError: with the file and the reason.
    """
    model = parse(read(path) if sha256 is None else attested(path, sha256), path)
    inspect(model, path)
    for what, wanted, found in zip(
        ("inputs", "outputs"), (inputs, outputs), signature(model), strict=True
    ):
        _compare(what, wanted, found, path)
    return model


def signature(model: onnx.ModelProto) -> tuple[list[Signature], list[Signature]]:
    """Inputs and outputs; what a file leaves open is the name of the dimension, or 0."""
    weights = {tensor.name for tensor in model.graph.initializer}
    given = [value for value in model.graph.input if value.name not in weights]
    return [_described(value) for value in given], [_described(v) for v in model.graph.output]


def attested(path: Path, sha256: str) -> bytes:
    """The bytes of a regular file that has the digest. Raises ModelError."""
    content = read(path)
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise ModelError(
            f"{path}: wrong digest, expected SHA-256 {sha256}, found {digest}; "
            "delete the file and run `fess models fetch`"
        )
    return content


def read(path: Path) -> bytes:
    """The bytes of a regular file. Raises ModelError for links, devices, and what cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if path.is_symlink():
            raise ModelError(f"{path}: is a symbolic link, a model must be a file") from error
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ModelError(f"{path}: is not a regular file")
        if status.st_size > LARGEST_BYTES:
            raise ModelError(f"{path}: is larger than an ONNX file can be, {status.st_size} bytes")
        return file.read()


def parse(content: bytes, path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError as error:
        raise ModelError(f"{path}: is not an ONNX file: {error}") from error
    # Protobuf takes many byte strings, the empty one too, for a message of unknown fields.
    if model.ir_version < 1 or not model.opset_import or not model.graph.node:
        raise ModelError(f"{path}: is not an ONNX file: it holds no graph")
    return model


def inspect(model: onnx.ModelProto, path: Path) -> None:
    """Refuse everything in a model that is not a plain graph of standard operators."""
    foreign = {entry.domain for entry in model.opset_import} - STANDARD_DOMAINS
    foreign |= {node.domain for node in _nodes(model.graph.node)} - STANDARD_DOMAINS
    if foreign:
        raise ModelError(f"{path}: uses operators outside the ONNX standard: {sorted(foreign)}")
    if model.functions or model.training_info:
        raise ModelError(f"{path}: carries local functions or training graphs")
    for graph in _graphs(model.graph):
        sparse = list(graph.sparse_initializer)
        for node in graph.node:
            for attribute in node.attribute:
                sparse += [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
                sparse += attribute.sparse_tensors
        if sparse:
            raise ModelError(f"{path}: holds sparse tensors, which may name data elsewhere")
    for tensor in _tensors(model.graph):
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            raise ModelError(f"{path}: names data outside the file (tensor {tensor.name!r})")


def _compare(
    what: str, expected: Sequence[Tensor], actual: Sequence[Signature], path: Path
) -> None:
    wanted = [Signature(tensor.name, tensor.dtype, tensor.shape) for tensor in expected]
    if wanted and actual != wanted:
        raise ModelError(f"{path}: wrong {what}, expected {shown(wanted)}, found {shown(actual)}")


def _described(value: onnx.ValueInfoProto) -> Signature:
    kind = value.type.tensor_type
    # Names of dtypes follow NumPy; what is no tensor, or of no known type, matches nothing.
    known = kind.elem_type in helper.get_all_tensor_dtypes()
    dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type).name if known else "none"
    dimensions = tuple(d.dim_param or d.dim_value for d in kind.shape.dim)
    return Signature(value.name, dtype, dimensions)


def shown(tensors: Iterable[Signature]) -> str:
    return ", ".join(f"{t.name} {t.dtype} {list(t.shape)}" for t in tensors) or "none"


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            inner = [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]
            for one in inner:
                yield from _graphs(one)


def _nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (*attribute.graphs, attribute.g):
                yield from _nodes(graph.node)


def _tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    for one in _graphs(graph):
        yield from one.initializer
        for node in one.node:
            for attribute in node.attribute:
                if attribute.type == AttributeProto.TENSOR or attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors
