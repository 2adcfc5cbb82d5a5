"""From layers to one validated object: who wins, what is wrong everywhere, and where each value was given."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

from orchestrator import layers
from orchestrator.problem import refuse
from orchestrator.refusal import refusals
from orchestrator.yaml_file import YamlFile, read_yaml

SECRETS_DIR = "/run/secrets"
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Resolved(Generic[Model]):
    """The settings, and for each that was given, by its variable, where it was given."""

    settings: Model
    origins: Mapping[str, str]


def resolve(
    model: type[Model],
    config: Path | None,
    overrides: Mapping[str, object],
    environ: Mapping[str, str],
    folder: Path,
) -> Resolved[Model]:
    """Read every layer; `.env` and `fess.yaml` are looked for in `folder`.

    Raises SettingsError, which tells every mistake of every layer.
    """
    variables = layers.variables_of(model)
    dotenv = layers.from_dotenv(variables, folder / ".env")
    secrets_dir = environ.get("FESS_SECRETS_DIR") or dotenv.loader.get("FESS_SECRETS_DIR")
    secrets = layers.from_secrets(
        variables, Path(secrets_dir or SECRETS_DIR), required=bool(secrets_dir)
    )
    named = config or environ.get("FESS_CONFIG") or dotenv.loader.get("FESS_CONFIG")
    yaml = layers.from_yaml(variables, _configuration(named, folder))
    given = layers.merge(
        [
            layers.from_overrides(variables, overrides),
            layers.from_environment(variables, environ),
            dotenv.layer,
            secrets.layer,
            yaml.layer,
        ]
    )
    problems = [*dotenv.problems, *secrets.problems, *yaml.problems]
    try:
        settings = model.model_validate(layers.nested(given))
    except ValidationError as error:
        refuse([*problems, *refusals(error, variables, given)])
        raise
    refuse(problems)
    origins = {each.name: given[each.path].where for each in variables if each.path in given}
    return Resolved(settings, origins)


def _configuration(named: str | Path | None, folder: Path) -> YamlFile:
    path = Path(named) if named else folder / "fess.yaml"
    if not named and not path.exists():
        return YamlFile(path, {})
    return read_yaml(path)
