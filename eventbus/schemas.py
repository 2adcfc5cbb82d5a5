"""The published contract, written from the models: `python -m eventbus.schemas docs/contracts`.

Writes `<event type>.schema.json` into the folder, and between the markers of `events.md` beside the
folder the fields and an example of each event.
"""

import json
import sys
from pathlib import Path
from typing import Any

from eventbus.events import (
    AlertEvent,
    EventCommon,
    FaceRecognitionEvent,
    MotionDetectionEvent,
    SystemStatusEvent,
)
from eventbus.examples import examples
from eventbus.topics import Topics

MODELS: tuple[type[EventCommon], ...] = (
    MotionDetectionEvent,
    FaceRecognitionEvent,
    AlertEvent,
    SystemStatusEvent,
)
BEGIN, END = "<!-- generated: begin -->", "<!-- generated: end -->"

Schema = dict[str, Any]  # JSON Schema, as pydantic builds it


def schemas() -> dict[str, str]:
    """File name -> text of each event's JSON Schema, draft 2020-12."""
    return {f"{_kind(model)}.schema.json": _text(model) for model in MODELS}


def reference() -> str:
    """Markdown: fields and an example of each event."""
    parts = []
    for model, example in zip(MODELS, examples(), strict=True):
        schema = model.model_json_schema(mode="serialization")
        shown = json.dumps(json.loads(example.model_dump_json(exclude_none=False)), indent=2)
        parts += [
            f"## {_kind(model)}",
            f"Topic `{Topics().of(_kind(model))}`. {schema['description']}",
            f"Schema: [{_kind(model)}.schema.json](contracts/{_kind(model)}.schema.json)",
            "| field | type | meaning |\n|---|---|---|\n" + "\n".join(_rows(schema)),
            f"```json\n{shown}\n```",
        ]
    return "\n\n".join(parts)


def write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in schemas().items():
        (folder / name).write_text(text)
    page = folder.parent / "events.md"
    if page.is_file():
        page.write_text(filled(page.read_text()))


def filled(page: str) -> str:
    """The page with what stands between its markers written anew."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{reference()}\n\n{END}{after}"


def _kind(model: type[EventCommon]) -> str:
    return str(model.model_fields["event_type"].default)


def _text(model: type[EventCommon]) -> str:
    schema = _open(model.model_json_schema(mode="serialization"))
    kind = _kind(model)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"fess:{kind}:1"}
    return json.dumps(head | schema, indent=2) + "\n"


def _open(node: Any) -> Any:
    """Without `additionalProperties: false`: fields may be added, and readers pass over them."""
    if isinstance(node, dict):
        return {
            key: _open(value)
            for key, value in node.items()
            if not (key == "additionalProperties" and value is False)
        }
    return [_open(item) for item in node] if isinstance(node, list) else node


def _rows(schema: Schema) -> list[str]:
    return [
        f"| `{name}` | {_type(field)} | {field.get('description', '')} |"
        for name, field in schema["properties"].items()
    ]


def _type(field: Schema) -> str:
    if "const" in field:
        return f"`{json.dumps(field['const'])}`"
    if "$ref" in field:
        return str(field["$ref"]).rpartition("/")[2]
    if "anyOf" in field:
        return " or ".join(_type(choice) for choice in field["anyOf"])
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}))}"
    return str(field.get("format", field.get("type", "any")))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
