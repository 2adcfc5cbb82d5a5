"""The code stays small: file length, function length and inheritance depth have a budget."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

FILE_LINES = 300
TEST_FILE_LINES = 400
FUNCTION_LINES = 40
CLASS_DEPTH = 3

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("orchestrator", "eventbus", "alerting", "export")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc", "base", "core", "manager"}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_the_budget_is_held_over_every_package() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in SOURCES} == set(PACKAGES)


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_a_file_fits_on_a_few_screens(path: Path) -> None:
    assert lines(path) <= FILE_LINES


@pytest.mark.parametrize("path", TESTS, ids=name)
def test_a_test_file_is_read_in_one_sitting(path: Path) -> None:
    assert lines(path) <= TEST_FILE_LINES


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_a_function_fits_on_one_screen(path: Path) -> None:
    too_long = [
        node.name
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > FUNCTION_LINES
        and not is_a_list_of_declarations(node)
    ]
    assert not too_long


def is_a_list_of_declarations(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Such as the metrics: nothing in it has to be followed."""
    return all(isinstance(statement, ast.Assign) for statement in node.body)


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_a_file_is_named_after_its_subject(path: Path) -> None:
    assert path.stem not in VAGUE
    assert path.parent.name not in VAGUE


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if path.read_text(encoding="utf-8").strip()], ids=name
)
def test_a_file_opens_with_a_sentence_on_what_it_is(path: Path) -> None:
    assert ast.get_docstring(tree(path))


def test_inheritance_stays_shallow() -> None:
    bases = dict(class_bases())

    def depth(name: str) -> int:
        return 1 + max((depth(base) for base in bases[name] if base in bases), default=0)

    assert not [name for name in bases if depth(name) > CLASS_DEPTH]


def class_bases() -> Iterator[tuple[str, list[str]]]:
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef):
                yield node.name, [base.id for base in node.bases if isinstance(base, ast.Name)]
