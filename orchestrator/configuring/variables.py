"""Every setting under the name it has in the environment, derived from the models."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypeAlias, get_args

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

SettingPath: TypeAlias = tuple[str, ...]  # ("redis", "port"), or ("log_level",)

# What others put under our prefixes and what is read before the settings are.
FOREIGN = frozenset({"HTTP_PROXY"})
SECRETS_DIR = "/run/secrets"
LOADER_VARIABLES = {
    "FESS_CONFIG": "Path of the configuration file, instead of `fess.yaml` in the working directory.",
    "FESS_SECRETS_DIR": "Folder whose files are named like variables and hold their values, "
    f"instead of `{SECRETS_DIR}`.",
    "FESS_REQUIRE_SERVICES": "Tests only: `1` makes a missing server a failure instead of a skip.",
}
# What Kubernetes and old Docker links write into REDIS_PORT when a service is called redis.
SERVICE_LINK = re.compile(r"^(tcp|udp|sctp)://")


@dataclass(frozen=True, slots=True)
class Variable:
    """A setting under the name it has in the environment."""

    name: str
    path: SettingPath
    field: FieldInfo

    @property
    def secret(self) -> bool:
        annotation = self.field.annotation
        return annotation is SecretStr or SecretStr in get_args(annotation)

    @property
    def key(self) -> str:
        """As in fess.yaml: redis.port."""
        return ".".join(self.path)


def variables_of(model: type[BaseModel], above: SettingPath = ()) -> tuple[Variable, ...]:
    """Every setting of a model and its sections, in the order of declaration."""
    found: list[Variable] = []
    for name, field in model.model_fields.items():
        path = (*above, name)
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            found += variables_of(annotation, path)
        else:
            found.append(Variable(field.alias or "_".join(path).upper(), path, field))
    return tuple(found)


def misspelt(variables: Iterable[Variable], environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """Variables that nothing reads and that are almost a setting's name, each with that name."""
    known = [*(variable.name for variable in variables), *LOADER_VARIABLES]
    found = []
    for name in sorted(environ.keys() - set(known) - FOREIGN):
        close = get_close_matches(name, known, n=1, cutoff=0.9)
        if close and not SERVICE_LINK.match(environ[name]):
            found.append((name, close[0]))
    return found
