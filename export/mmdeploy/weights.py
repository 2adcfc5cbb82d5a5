"""Weights out of a checkpoint: tensors and words. Nothing that the file asks for is ever run."""

import pickle
from pathlib import Path
from typing import Any

import torch  # type: ignore[import-not-found]  # lives in the export environment only

from export.mmdeploy.allowed import BOOKKEEPING
from export.mmdeploy.refused import Refused


class StandIn:
    """In the place of a trainer's bookkeeping: takes whatever it is given, keeps and does nothing."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


def read(source: Path) -> dict[str, Any]:
    """The checkpoint's content, with stand-ins for bookkeeping. Raises Refused for anything else than data."""
    stand_ins = [(StandIn, wanted) for wanted in sorted(BOOKKEEPING)]
    try:
        with torch.serialization.safe_globals(stand_ins):
            content = torch.load(source, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # What PyTorch says first is how to read it all the same, with what it would run.
        reason = str(error).partition("WeightsUnpickler error: ")[2] or "PyTorch refuses it"
        raise Refused(f"is more than weights: {reason.splitlines()[0]}") from error
    except (RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused(f"cannot be read as a checkpoint: {str(error).splitlines()[0]}") from error
    if not isinstance(content, dict):
        raise Refused(f"holds a {type(content).__name__}, not a state_dict")
    return content


def state_of(content: dict[str, Any]) -> dict[str, Any]:
    """The network's tensors by name. Raises Refused."""
    state = content.get("state_dict", content)
    if not isinstance(state, dict) or not state:
        raise Refused("holds no state_dict")
    strangers = [key for key, value in state.items() if not isinstance(value, torch.Tensor)]
    if strangers:
        raise Refused(f"its state_dict holds what is no tensor: {strangers[:3]}")
    # Data-parallel training writes every name with this in front.
    return {str(key).removeprefix("module."): value.contiguous() for key, value in state.items()}


def labels_of(content: dict[str, Any]) -> list[str] | None:
    """Names of the classes, where the trainer noted them (MMDetection 3: dataset_meta; 2: CLASSES)."""
    meta = content.get("meta")
    if not isinstance(meta, dict):
        return None
    dataset = meta.get("dataset_meta")
    noted = dataset if isinstance(dataset, dict) else meta
    names = noted.get("classes", noted.get("CLASSES"))
    if isinstance(names, str):
        names = [names]
    if not isinstance(names, list | tuple) or not all(isinstance(each, str) for each in names):
        return None
    return list(names)
