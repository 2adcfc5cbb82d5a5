"""Where settings come from: pydantic-settings reads and merges; each source also knows where a value was written."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dotenv.parser import Binding, parse_stream
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    InitSettingsSource,
    NestedSecretsSettingsSource,
    SecretsSettingsSource,
    SettingsError,
    YamlConfigSettingsSource,
)

from orchestrator.configuring.problem import Problem
from orchestrator.configuring.variables import (
    FOREIGN,
    LOADER_VARIABLES,
    SECRETS_DIR,
    SERVICE_LINK,
    SettingPath,
    Variable,
    variables_of,
)
from orchestrator.configuring.yaml_file import YamlFile, read_yaml


@dataclass(frozen=True, slots=True)
class Written:
    """`name` as it stands `where`: REDIS_PORT in the environment, redis.port in fess.yaml, line 3."""

    name: str
    where: str
    preposition: str = "in"

    def __str__(self) -> str:
        return f"{self.name} {self.preposition} {self.where}"


class CommandLine(InitSettingsSource):
    def __init__(self, model: type[BaseSettings], overrides: Mapping[str, object]) -> None:
        """Take `http_port=8080`; None means not given. Raises TypeError for what is no setting: a bug, no mistake."""
        known = {"_".join(variable.path): variable.path for variable in variables_of(model)}
        if unknown := overrides.keys() - known.keys():
            raise TypeError(f"no such setting: {', '.join(sorted(unknown))}")
        self._given = {known[name]: value for name, value in overrides.items() if value is not None}
        tree: dict[str, Any] = {}
        for path, value in self._given.items():
            (tree.setdefault(path[0], {}) if path[1:] else tree)[path[-1]] = value
        super().__init__(model, tree)

    def written(self, path: SettingPath, _name: str) -> Written | None:
        given = path in self._given
        return Written("_".join(path), "the command line", "on") if given else None


class Environment(EnvSettingsSource):
    """Only the names we know are looked at: the environment is full of strangers."""

    def _load_env_vars(self) -> dict[str, str | None]:
        known = _names(self.settings_cls)
        return {
            name: value
            for name, value in super()._load_env_vars().items()
            if name in known and not SERVICE_LINK.match(value or "")
        }

    def written(self, _path: SettingPath, name: str) -> Written | None:
        return Written(name, "the environment") if name.lower() in self.env_vars else None


class DotEnv(DotEnvSettingsSource):
    """`.env` is ours: an unknown name under one of our prefixes goes on to the model, which refuses it.

    The library's own reading substitutes `${...}`, and keeps neither lines nor mistakes.
    """

    def __init__(self, model: type[BaseSettings], path: Path) -> None:
        self.loader: dict[str, str] = {}
        self.problems: list[Problem] = []
        self._places: dict[str, Written] = {}
        super().__init__(model, path, case_sensitive=False)

    def _read_env_file(self, file_path: Path) -> dict[str, str | None]:
        try:
            with file_path.open(encoding="utf-8") as stream:
                bindings = list(parse_stream(stream))
        except (OSError, UnicodeDecodeError):
            mend = "make it readable UTF-8"
            self.problems.append(Problem(str(file_path), "it cannot be read", mend))
            return {}
        values: dict[str, str | None] = {}
        for binding in bindings:
            place = f"{file_path}, line {_line(binding)}"
            if binding.error:
                mend = "quote the value, or remove it"
                self.problems.append(Problem(place, "it is not NAME=value", mend))
            elif binding.key in LOADER_VARIABLES:
                self.loader[binding.key] = binding.value or ""
            elif binding.key and binding.value and self._ours(binding.key):
                values[binding.key.lower()] = binding.value
                self._places[binding.key.lower()] = Written(binding.key, place)
        return values

    def _ours(self, name: str) -> bool:
        known = _names(self.settings_cls)
        prefixes = tuple(f"{each.path[0]}_" for each in known.values() if len(each.path) > 1)
        return name.lower() in known or (
            name.lower().startswith((*prefixes, "fess_")) and name.upper() not in FOREIGN
        )

    def written(self, _path: SettingPath, name: str) -> Written | None:
        return self._places.get(name.lower())


class SecretFiles(NestedSecretsSettingsSource):
    """Files named like variables, in capitals or not, as Docker and Kubernetes mount them.

    Only ours are opened: their neighbours may be keys in binary, or not for us to read.
    """

    def __init__(self, model: type[BaseSettings], folder: Path | None) -> None:
        self.problems: list[Problem] = []
        self._files: dict[str, Path] = {}
        library = SecretsSettingsSource(model, folder)
        super().__init__(library, secrets_dir_missing="ok", secrets_case_sensitive=False)

    def _load_env_vars(self) -> dict[str, str | None]:
        known = _names(self.settings_cls)
        values: dict[str, str | None] = {}
        for folder in self.secrets_paths:
            for file in self._iter_secret_files(folder):
                name = str(file.relative_to(folder)).lower()
                if name not in known:
                    continue
                try:
                    value = file.read_text(encoding="utf-8").strip()
                except (OSError, UnicodeDecodeError):
                    mend = "make it readable UTF-8 text"
                    self.problems.append(Problem(str(file), "it cannot be read", mend))
                    continue
                if value:
                    values[name], self._files[name] = value, file
        return values

    def written(self, _path: SettingPath, name: str) -> Written | None:
        file = self._files.get(name.lower())
        return Written(name, str(file)) if file else None


class Yaml(YamlConfigSettingsSource):
    """The library's own reading takes the last of two equal keys, keeps no lines, and passes over a missing file."""

    def __init__(self, model: type[BaseSettings], file: YamlFile) -> None:
        self._file = file
        super().__init__(model, file.path)

    def _read_files(self, *_files: object, **_options: object) -> dict[str, Any]:
        return _filled(self._file.content)

    def written(self, path: SettingPath, _name: str) -> Written | None:
        known = path in self._file.lines
        return Written(".".join(path), self._file.where(*path)) if known else None


class Sources:
    """All places, the first of which decides a setting. Building it reads them."""

    def __init__(
        self, model: type[BaseSettings], config: Path | None, overrides: Mapping[str, object]
    ) -> None:
        self.variables = variables_of(model)
        self._names = {variable.path: variable.name for variable in self.variables}
        command_line = CommandLine(model, overrides)
        dotenv = DotEnv(model, Path(".env"))

        def read_before(name: str) -> str | None:
            return os.environ.get(name) or dotenv.loader.get(name)

        secrets, wrong = _secret_files(model, read_before("FESS_SECRETS_DIR"))
        named = config or read_before("FESS_CONFIG")
        path = Path(named or "fess.yaml")
        file = read_yaml(path) if named or path.exists() else YamlFile(path, {})
        environment = Environment(model, case_sensitive=False)
        self.in_order = (command_line, environment, dotenv, secrets, Yaml(model, file))
        self.problems = [*dotenv.problems, *wrong, *secrets.problems, *file.problems]

    def written(self, path: SettingPath) -> Written | None:
        """Where the value that decides stands; None for a default."""
        name = self._names.get(path) or "_".join(path).upper()
        found = (source.written(path, name) for source in self.in_order)
        return next((each for each in found if each), None)


def _secret_files(
    model: type[BaseSettings], named: str | None
) -> tuple[SecretFiles, list[Problem]]:
    try:
        if named:
            os.scandir(named).close()  # the library passes over a folder that it may not read
        return SecretFiles(model, Path(named or SECRETS_DIR)), []
    except (OSError, SettingsError) as error:
        reason = getattr(error, "strerror", None) or error
        what = f"{named or SECRETS_DIR}: {reason}"
        problem = Problem("FESS_SECRETS_DIR", what, "name a readable folder")
        return SecretFiles(model, None), [problem]


@cache
def _names(model: type[BaseSettings]) -> dict[str, Variable]:
    return {variable.name.lower(): variable for variable in variables_of(model)}


def _line(binding: Binding) -> int:
    """The parser counts the lines before a statement as part of it."""
    text = binding.original.string
    return binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")


def _filled(content: Mapping[str, object]) -> dict[str, Any]:
    """Without the keys that have no value: they count as absent."""
    return {
        key: _filled(value) if isinstance(value, Mapping) else value
        for key, value in content.items()
        if value is not None
    }
