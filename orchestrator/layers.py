"""Where settings come from: each layer is read into `setting -> value and place`; the first that has it wins."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from dataclasses import field as attribute
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeAlias, get_args

from dotenv.parser import parse_stream
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from orchestrator.problem import Problem, did_you_mean
from orchestrator.yaml_file import YamlFile

SettingPath: TypeAlias = tuple[str, ...]  # ("redis", "port"), or ("log_level",)

# What others put under our prefixes and what is read before the settings are.
FOREIGN = frozenset({"HTTP_PROXY"})
LOADER_VARIABLES = {
    "FESS_CONFIG": "Path of the configuration file, instead of `fess.yaml` in the working directory.",
    "FESS_SECRETS_DIR": "Folder whose files are named like variables and hold their values, "
    "instead of `/run/secrets`.",
    "FESS_REQUIRE_SERVICES": "Tests only: `1` makes a missing server a failure instead of a skip.",
}
# What Kubernetes and old Docker links write into REDIS_PORT when a service is called redis.
SERVICE_LINK = re.compile(r"^(tcp|udp|sctp)://")
MAX_SECRET_BYTES = 65536


@dataclass(frozen=True, slots=True)
class EnvironmentName:
    """Annotates a setting whose variable is not simply its path in capitals."""

    name: str


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


@dataclass(frozen=True, slots=True)
class Given:
    """A value and the place where it stands."""

    value: Any  # text from variables, anything from YAML; pydantic judges it
    where: str


Layer: TypeAlias = dict[SettingPath, Given]


@dataclass(frozen=True, slots=True)
class Reading:
    """loader  variables that say where to read on, such as FESS_CONFIG"""

    layer: Layer
    problems: tuple[Problem, ...] = ()
    loader: Mapping[str, str] = attribute(default_factory=dict)


def variables_of(model: type[BaseModel], above: SettingPath = ()) -> tuple[Variable, ...]:
    """Every setting of a model and its sections, in the order of declaration."""
    found: list[Variable] = []
    for name, field in model.model_fields.items():
        path = (*above, name)
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            found += variables_of(annotation, path)
            continue
        given = [each.name for each in field.metadata if isinstance(each, EnvironmentName)]
        found.append(Variable(given[0] if given else "_".join(path).upper(), path, field))
    return tuple(found)


def from_environment(variables: Iterable[Variable], environ: Mapping[str, str]) -> Layer:
    """Only the names we know are looked at: the environment is full of strangers."""
    return {
        variable.path: Given(environ[variable.name], f"{variable.name} in the environment")
        for variable in variables
        if environ.get(variable.name) and not SERVICE_LINK.match(environ[variable.name])
    }


def misspelt(variables: Iterable[Variable], environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """Variables that nothing reads and that are almost a setting's name, each with that name."""
    known = [*(variable.name for variable in variables), *LOADER_VARIABLES]
    found = []
    for name in sorted(environ.keys() - set(known) - FOREIGN):
        close = get_close_matches(name, known, n=1, cutoff=0.9)
        if close and not SERVICE_LINK.match(environ[name]):
            found.append((name, close[0]))
    return found


def from_dotenv(variables: Iterable[Variable], path: Path) -> Reading:
    """Read `.env`, which is ours: an unknown name under one of our prefixes is a mistake."""
    known = {variable.name: variable for variable in variables}
    sections = {each.path[0].upper() for each in known.values() if len(each.path) > 1}
    prefixes = tuple(f"{name}_" for name in (*sections, "FESS"))
    layer: Layer = {}
    loader: dict[str, str] = {}
    problems: list[Problem] = []
    try:
        with path.open(encoding="utf-8") as stream:
            bindings = list(parse_stream(stream))
    except FileNotFoundError:
        return Reading({})
    except (OSError, UnicodeDecodeError):
        return Reading({}, (Problem(str(path), "it cannot be read", "make it readable UTF-8"),))
    for binding in bindings:
        line = binding.original.line + _blank_lines(binding.original.string)
        place = f"{path}, line {line}"
        if binding.error:
            problems.append(Problem(place, "it is not NAME=value", "quote the value, or remove it"))
            continue
        if binding.key is None or not binding.value:
            continue
        if binding.key in known:
            variable = known[binding.key]
            layer[variable.path] = Given(binding.value, f"{binding.key} in {place}")
        elif binding.key in LOADER_VARIABLES:
            loader[binding.key] = binding.value
        elif _ours(binding.key, prefixes):
            mend = did_you_mean(binding.key.upper(), known)
            problems.append(Problem(place, f"{binding.key} is not a setting", mend))
    return Reading(layer, tuple(problems), loader)


def _blank_lines(text: str) -> int:
    """The parser counts the lines before a statement as part of it."""
    return text[: len(text) - len(text.lstrip())].count("\n")


def _ours(name: str, prefixes: tuple[str, ...]) -> bool:
    upper = name.upper()
    return upper.startswith(prefixes) and upper not in FOREIGN


def from_secrets(variables: Iterable[Variable], folder: Path, *, required: bool) -> Reading:
    """Read files named like variables, in capitals or not, as Docker and Kubernetes mount them."""
    try:
        files = {each.name.upper(): each for each in sorted(folder.iterdir())}
    except OSError as error:
        if not required:
            return Reading({})
        reason = (error.strerror or "cannot be read").lower()
        problem = Problem("FESS_SECRETS_DIR", f"{folder}: {reason}", "name a readable folder")
        return Reading({}, (problem,))
    layer: Layer = {}
    problems: list[Problem] = []
    for variable in variables:
        file = files.get(variable.name)
        if file is None:
            continue
        try:
            value = file.read_bytes()[:MAX_SECRET_BYTES].decode().strip()
        except (OSError, UnicodeDecodeError):
            problems.append(Problem(str(file), "it cannot be read", "make it readable UTF-8 text"))
            continue
        if value:
            layer[variable.path] = Given(value, f"{variable.name} in {file}")
    return Reading(layer, tuple(problems))


def from_yaml(variables: Iterable[Variable], file: YamlFile) -> Reading:
    """Read fess.yaml: every unknown key is a mistake."""
    known = {variable.path: variable for variable in variables}
    groups = {path[:-1] for path in known if len(path) > 1}
    names = {variable.name: variable.key for variable in known.values()}
    layer: Layer = {}
    problems = list(file.problems)

    def read(content: Mapping[str, object], above: SettingPath) -> None:
        for key, value in content.items():
            path = (*above, key)
            place = file.where(*path)
            if path in known:
                if value is not None:
                    layer[path] = Given(value, f"{'.'.join(path)} in {place}")
            elif path in groups and isinstance(value, Mapping):
                read(value, path)
            elif path in groups:
                if value is not None:
                    mend = f"write its settings below it, indented: {_fields(known, path)}"
                    problems.append(Problem(place, f"{key} is a group of settings", mend))
            else:
                here = [each[-1] for each in (*known, *groups) if each[:-1] == above and each]
                mend = f"it is written {names[key]}" if key in names else did_you_mean(key, here)
                problems.append(Problem(place, f"{'.'.join(path)} is not a setting", mend))

    read(file.content, ())
    return Reading(layer, tuple(problems))


def _fields(known: Iterable[SettingPath], group: SettingPath) -> str:
    return ", ".join(path[-1] for path in known if path[:-1] == group)


def from_overrides(variables: Iterable[Variable], overrides: Mapping[str, object]) -> Layer:
    """Read what the command line gave: `http_port=8080`; None means it was not given.

    Raises TypeError for a name that is no setting: that is a bug, not an operator's mistake.
    """
    known = {"_".join(variable.path): variable for variable in variables}
    unknown = overrides.keys() - known.keys()
    if unknown:
        raise TypeError(f"no such setting: {', '.join(sorted(unknown))}")
    return {
        known[name].path: Given(value, f"{name} on the command line")
        for name, value in overrides.items()
        if value is not None
    }


def merge(layers: Iterable[Layer]) -> Layer:
    """The first layer that has a setting decides it."""
    merged: Layer = {}
    for layer in layers:
        for path, given in layer.items():
            merged.setdefault(path, given)
    return merged


def nested(layer: Layer) -> dict[str, Any]:
    """{("redis", "port"): 1} becomes {"redis": {"port": 1}}."""
    tree: dict[str, Any] = {}
    for path, given in layer.items():
        group = tree
        for name in path[:-1]:
            group = group.setdefault(name, {})
        group[path[-1]] = given.value
    return tree
