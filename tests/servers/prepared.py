"""Whether a model repository holds what the tests and the benchmarks look at."""

from pathlib import Path

from export.install import Places, wanted
from export.manifest import load
from export.prepare import up_to_date


def is_prepared(repository: Path) -> bool:
    """Every default model, or what stands in for it, made from the file of the manifest and undamaged."""
    held = wanted(load(), Places(repository, repository, None), None, ())
    return len(held) == len(load().defaults()) and all(
        (model.default or model.stands_in_for) and up_to_date(model, repository) for model in held
    )
