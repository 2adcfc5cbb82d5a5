"""The documents speak of what is there: links lead somewhere, variables exist, every error is explained."""

import inspect
import re
from pathlib import Path

import pytest

from eventbus import bus
from orchestrator import errors
from orchestrator.configuring.variables import LOADER_VARIABLES, variables_of
from orchestrator.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
KNOWN = {variable.name for variable in variables_of(Settings)} | LOADER_VARIABLES.keys()
STRANGERS = {"HTTP_PROXY", "REDIS_SERVICE_HOST"}  # written about as what is not ours
SECTIONS = {name.partition("_")[0] for name in KNOWN if "_" in name} - {"LOG"}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_a_link_within_the_repository_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8"))
    inside = [link.partition("#")[0] for link in links if not re.match(r"[a-z]+:|#", link)]
    assert [link for link in inside if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_a_variable_that_is_written_about_is_a_setting(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    written = re.findall(rf"`((?:{'|'.join(sorted(SECTIONS))})_[A-Z_]*[A-Z])(?:=[^`]*)?`", text)
    assert set(written) - KNOWN - STRANGERS == set()


@pytest.mark.parametrize("module", [errors, bus], ids=lambda module: module.__name__)
def test_every_named_error_is_in_the_troubleshooting(module: object) -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    named = [
        each
        for each, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, Exception)
    ]
    assert [each for each in named if f"`{each}`" not in text] == []
