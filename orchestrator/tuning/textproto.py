"""Reads protobuf's text format and remembers where everything stands, so that a value can be changed in place."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.errors import SettingsError

TOKEN = re.compile(
    r"""(?P<skip>\s+|\#[^\n]*)
      | (?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
      | (?P<mark>[{}\[\]<>:;,])
      | (?P<word>[^\s{}\[\]<>:;,\#"']+)""",
    re.X,
)
CLOSES = {"{": "}", "<": ">"}


@dataclass(frozen=True, slots=True)
class Value:
    """text[start:end] is the value. fields: of a message. items: of a list."""

    start: int
    end: int
    fields: "tuple[Field, ...]" = ()
    items: "tuple[Value, ...] | None" = None

    def of(self, name: str) -> "list[Field]":
        return [field for field in self.fields if field.name == name]


@dataclass(frozen=True, slots=True)
class Field:
    """text[start:end] is the field with its name."""

    name: str
    start: int
    end: int
    value: Value

    @property
    def values(self) -> "tuple[Value, ...]":
        """Of a repeated field, which may be written as a list or once for each."""
        return (self.value,) if self.value.items is None else self.value.items


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int
    end: int


def parse(text: str) -> Value:
    """The whole text as a message. Raises SettingsError with the line."""
    return _Parser(text).whole()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(self._tokenized())
        self._at = 0

    def whole(self) -> Value:
        fields = self._fields(until="")
        return Value(0, len(self._text), tuple(fields))

    def _tokenized(self) -> Iterator[_Token]:
        at = 0
        while at < len(self._text):
            found = TOKEN.match(self._text, at)
            if found is None:
                raise self._wrong(at)
            at = found.end()
            if found.lastgroup != "skip":
                yield _Token(str(found.lastgroup), found[0], found.start(), at)

    def _fields(self, until: str) -> list[Field]:
        found = []
        while self._peek() != until:
            name = self._take()
            if name.kind != "word":
                raise self._wrong(name.start)
            if self._peek() == ":":
                self._take()
            value = self._value()
            found.append(Field(name.text, name.start, value.end, value))
            if self._peek() in (",", ";"):
                self._take()
        return found

    def _value(self) -> Value:
        first = self._take()
        if first.text in CLOSES:
            fields = self._fields(CLOSES[first.text])
            return Value(first.start, self._take().end, tuple(fields))
        if first.text == "[":
            return self._list(first)
        if first.kind == "mark":
            raise self._wrong(first.start)
        last = first
        while first.kind == "string" and self._kind() == "string":
            last = self._take()  # strings beside each other are one
        return Value(first.start, last.end)

    def _list(self, first: _Token) -> Value:
        items = []
        while self._peek() != "]":
            items.append(self._value())
            if self._peek() == ",":
                self._take()
            elif self._peek() != "]":
                raise self._wrong(self._take().start)
        return Value(first.start, self._take().end, items=tuple(items))

    def _peek(self) -> str:
        """The next token; the empty text at the end."""
        return self._tokens[self._at].text if self._at < len(self._tokens) else ""

    def _kind(self) -> str:
        return self._tokens[self._at].kind if self._at < len(self._tokens) else ""

    def _take(self) -> _Token:
        if self._at == len(self._tokens):
            raise self._wrong(len(self._text))
        self._at += 1
        return self._tokens[self._at - 1]

    def _wrong(self, at: int) -> SettingsError:
        line = self._text.count("\n", 0, at) + 1
        what = "it ends too early" if at == len(self._text) else "is not protobuf's text format"
        return SettingsError(f"line {line}: {what}")
