"""Names that a checkpoint may ask its reader for. Imported on both sides, so it imports nothing itself."""

import re

# Tensors are put together by these; `torch.load(weights_only=True)` has its own, stricter list.
TENSORS = re.compile(
    r"collections\.OrderedDict"
    r"|torch\._utils\._rebuild_(tensor|tensor_v2|parameter)"
    r"|torch\.[A-Z][A-Za-z0-9]*Storage|torch\.storage\.(Typed|Untyped)Storage"
    r"|torch\.(Size|device|float16|float32|float64|bfloat16|int8|int16|int32|int64|uint8|bool)"
)

# What a trainer notes beside the weights: loss curves, learning rates, NumPy scalars. None of it is needed, and
# none of it is run: the reader puts a stand-in that does nothing in the place of each of these names.
BOOKKEEPING = frozenset(
    {
        "mmengine.logging.history_buffer.HistoryBuffer",
        "mmengine.logging.message_hub.MessageHub",
        "mmengine.config.config.ConfigDict",
        "builtins.getattr",
        "builtins.set",
        "_codecs.encode",
        "numpy.ndarray",
        "numpy.dtype",
        "numpy.float64",
        "numpy.float32",
        "numpy.core.multiarray._reconstruct",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray._reconstruct",
        "numpy._core.multiarray.scalar",
        "numpy.dtypes.Float64DType",
        "numpy.dtypes.Float32DType",
        "numpy.dtypes.Int64DType",
    }
)

# Python 2's names for the same things, as pickles of protocol 2 write them.
_OLD = {"__builtin__": "builtins"}


def name(module: str, attribute: str) -> str:
    return f"{_OLD.get(module, module)}.{attribute}"


def harmless(wanted: str) -> bool:
    return wanted in BOOKKEEPING or TENSORS.fullmatch(wanted) is not None
