"""A YAML file that an operator wrote, with the line of every key, so that a complaint can point at it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from orchestrator.configuring.problem import Problem

MAX_BYTES = 1 << 20
MAX_NODES = 100_000


@dataclass(frozen=True, slots=True)
class YamlFile:
    """Content as plain mappings, lists and scalars; every key is text, as it was written.

    lines  path of keys -> line, from 1
    """

    path: Path
    content: Mapping[str, object]
    lines: Mapping[tuple[str, ...], int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def where(self, *keys: str) -> str:
        """The place of a key, or of the nearest group around it."""
        for length in range(len(keys), 0, -1):
            line = self.lines.get(keys[:length])
            if line is not None:
                return f"{self.path}, line {line}"
        return str(self.path)


def read_yaml(path: Path) -> YamlFile:
    """Read a file whose top is a mapping. What is wrong with it is in `problems`, never raised."""
    try:
        raw = path.read_bytes()[: MAX_BYTES + 1]
        if len(raw) > MAX_BYTES:
            return _unusable(path, "it is larger than 1 MiB", "shorten it")
        root = yaml.compose(raw.decode(), Loader=yaml.SafeLoader)
    except OSError as error:
        return _unusable(
            path, error.strerror or "cannot be read", "make it readable, or name another file"
        )
    except UnicodeDecodeError:
        return _unusable(path, "it is not UTF-8 text", "save it as UTF-8")
    except RecursionError:
        return _unusable(path, "it is nested too deeply", "flatten it")
    except yaml.YAMLError as error:
        # str(error) quotes the line, which may hold a password: only the position is told.
        mark = getattr(error, "problem_mark", None)
        place = f"{path}, line {mark.line + 1}" if mark else str(path)
        problem = Problem(place, "it is not YAML", "check indentation, quotes and brackets there")
        return YamlFile(path, {}, problems=(problem,))
    if root is None:
        return YamlFile(path, {})
    if not isinstance(root, yaml.MappingNode):
        return _unusable(path, "its top is not a mapping", "begin with `name: value`")
    reader = _Reader(path)
    content = reader.mapping(root, ())
    return YamlFile(path, content, reader.lines, tuple(reader.problems))


def _unusable(path: Path, what: str, mend: str) -> YamlFile:
    return YamlFile(path, {}, problems=(Problem(str(path), what, mend),))


class _Reader:
    """Turns nodes into plain values, keeping lines and refusing what an operator cannot have meant."""

    def __init__(self, path: Path) -> None:
        self.lines: dict[tuple[str, ...], int] = {}
        self.problems: list[Problem] = []
        self._path = path
        self._nodes = 0
        self._open: set[int] = set()
        self._scalars = yaml.constructor.SafeConstructor()

    def mapping(self, node: yaml.MappingNode, above: tuple[str, ...]) -> dict[str, object]:
        content: dict[str, object] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse(line, "a key is not a plain name", "write `name: value`")
                continue
            key = str(key_node.value)
            if key in content:
                first = self.lines[(*above, key)]
                self._refuse(
                    line, f"{key} is given twice, first in line {first}", "keep one of them"
                )
                continue
            self.lines[(*above, key)] = line
            content[key] = self._value(value_node, (*above, key))
        return content

    def _value(self, node: yaml.Node, path: tuple[str, ...]) -> object:
        self._nodes += 1
        if id(node) in self._open or self._nodes > MAX_NODES:
            self._refuse(node.start_mark.line + 1, "an alias repeats too much", "write it out")
            return None
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self.mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return [self._value(each, path) for each in node.value]
            return self._scalar(node)
        finally:
            self._open.discard(id(node))

    def _scalar(self, node: yaml.Node) -> object:
        try:
            value: object = self._scalars.construct_object(node)
        except (yaml.YAMLError, ValueError):
            self._refuse(node.start_mark.line + 1, "a value cannot be read", "put it in quotes")
            return None
        return value

    def _refuse(self, line: int, what: str, mend: str) -> None:
        if self._nodes <= MAX_NODES + 1:
            self.problems.append(Problem(f"{self._path}, line {line}", what, mend))
