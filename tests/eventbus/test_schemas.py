"""The published schemas and examples: generated from the models, committed, and true."""

import json
from pathlib import Path

import pytest

from eventbus.events import decode
from eventbus.examples import examples
from eventbus.schemas import filled, schemas, write

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("name", sorted(schemas()))
def test_the_committed_schema_is_the_generated_one(name: str) -> None:
    assert (DOCS / "contracts" / name).read_text() == schemas()[name], (
        "run `python -m eventbus.schemas docs/contracts`"
    )


def test_no_schema_is_published_that_no_model_has() -> None:
    assert {path.name for path in (DOCS / "contracts").glob("*.schema.json")} == set(schemas())


def test_the_page_about_events_shows_the_models_as_they_are() -> None:
    page = (DOCS / "events.md").read_text()
    assert filled(page) == page, "run `python -m eventbus.schemas docs/contracts`"


def test_every_example_is_an_event() -> None:
    for example in examples():
        assert decode(example.model_dump_json().encode()) == example


def test_every_field_of_an_example_is_in_its_schema() -> None:
    for example in examples():
        schema = json.loads(schemas()[f"{example.event_type}.schema.json"])
        written = json.loads(example.model_dump_json())
        assert set(written) == set(schema["properties"]) == set(schema["required"])


def test_a_schema_lets_fields_be_added() -> None:
    assert not any('"additionalProperties": false' in text for text in schemas().values())


def test_writing_twice_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "contracts"
    (tmp_path / "events.md").write_text((DOCS / "events.md").read_text())
    write(folder)
    first = {path: path.read_text() for path in tmp_path.rglob("*.*") if path.is_file()}
    write(folder)
    assert first == {path: path.read_text() for path in tmp_path.rglob("*.*") if path.is_file()}
