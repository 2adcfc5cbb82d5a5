"""A model's config.pbtxt as its operator wrote it: what it says of serving, and the same text saying something else."""

import re
from dataclasses import dataclass

from orchestrator.errors import SettingsError
from orchestrator.tuning.candidate import Candidate
from orchestrator.tuning.textproto import Field, Value, parse

THREADS = "intra_op_thread_count"
DELAY = "max_queue_delay_microseconds"
DIGITS = re.compile(r"\d+")

Edit = tuple[int, int, str]


@dataclass(frozen=True, slots=True)
class ConfigText:
    """path is for messages."""

    text: str
    path: str

    @classmethod
    def read(cls, text: str, path: str) -> "ConfigText":
        """Raises SettingsError for what is not understood, or cannot be tuned."""
        config = cls(text, path)
        config._check()
        return config

    @property
    def candidate(self) -> Candidate:
        """What it says, with Triton's defaults for what it does not say."""
        root = self._root()
        group, batching, threads = self._group(root), self._batching(root), self._threads(root)
        return Candidate(
            instances=self._number(group, "count", 1) if group else 1,
            max_batch=self._number(root, "max_batch_size", 0),
            queue_delay_us=self._number(batching, DELAY, 0) if batching else 0,
            threads=int(self._text(threads).strip("\"'")) if threads else 1,
        )

    @property
    def least(self) -> Candidate:
        """The smallest numbers that what else it says allows."""
        batching = self._batching(self._root())
        fields = batching.of("preferred_batch_size") if batching else []
        preferred = [int(self._text(each)) for field in fields for each in field.values]
        # With a queue policy and a single instance Triton 24.10 lets requests stand still.
        policy = batching is not None and bool(batching.of("default_queue_policy"))
        return Candidate(2 if policy else 1, max([1, *preferred]), 0, 1)

    def tuned(self, wanted: Candidate) -> str:
        """The text with these numbers; what says them already, and everything else, stays as it is."""
        now, root = self.candidate, self._root()
        edits: list[Edit] = []
        if wanted.max_batch != now.max_batch:
            edits.append(self._set(root, "max_batch_size", wanted.max_batch))
            edits += self._warmed(root, wanted.max_batch)
        if wanted.instances != now.instances:
            group = self._group(root)
            whole = f"instance_group [ {{ count: {wanted.instances} }} ]"
            edits.append(
                self._set(group, "count", wanted.instances) if group else self._append(whole)
            )
        if wanted.queue_delay_us != now.queue_delay_us:
            batching = self._batching(root)
            whole = f"dynamic_batching {{ {DELAY}: {wanted.queue_delay_us} }}"
            edits.append(
                self._set(batching, DELAY, wanted.queue_delay_us)
                if batching
                else self._append(whole)
            )
        if wanted.threads != now.threads:
            edits.append(self._threads_edit(root, wanted.threads))
        return _edited(self.text, edits)

    def _check(self) -> None:
        try:
            root = self._root()
            if len([v for f in root.of("instance_group") for v in f.values]) > 1:
                raise SettingsError("has several instance groups, which are tuned by hand")
            if root.of("sequence_batching"):
                raise SettingsError("batches sequences, which is tuned by hand")
            if self.candidate.max_batch < 1:
                raise SettingsError("takes no batches (max_batch_size), so there is little to tune")
        except (SettingsError, ValueError) as error:
            raise SettingsError(f"{self.path}: {error}") from error

    def _root(self) -> Value:
        return parse(self.text)

    def _group(self, root: Value) -> Value | None:
        groups = [value for field in root.of("instance_group") for value in field.values]
        return groups[0] if groups else None

    @staticmethod
    def _batching(root: Value) -> Value | None:
        fields = root.of("dynamic_batching")
        return fields[-1].value if fields else None

    def _threads(self, root: Value) -> Value | None:
        """Where the parameter's string stands."""
        for field in root.of("parameters"):
            for entry in field.values:
                key, value = entry.of("key"), entry.of("value")
                if key and value and self._text(key[0].value).strip("\"'") == THREADS:
                    found = value[0].value.of("string_value")
                    return found[0].value if found else None
        return None

    def _number(self, message: Value, name: str, default: int) -> int:
        fields = message.of(name)
        return int(self._text(fields[-1].value)) if fields else default

    def _text(self, value: Value) -> str:
        return self.text[value.start : value.end]

    def _set(self, message: Value, name: str, number: int) -> Edit:
        fields = message.of(name)
        if fields:
            value = fields[-1].value
            return value.start, value.end, str(number)
        if message.start == 0 and message.end == len(self.text):
            return self._append(f"{name}: {number}")
        return message.start + 1, message.start + 1, f" {name}: {number}"

    def _append(self, words: str) -> Edit:
        end = len(self.text)
        newline = "" if self.text.endswith("\n") or not self.text else "\n"
        return end, end, f"{newline}{words}\n"

    def _threads_edit(self, root: Value, threads: int) -> Edit:
        found = self._threads(root)
        if found:
            return found.start, found.end, f'"{threads}"'
        value = f'value: {{ string_value: "{threads}" }}'
        return self._append(f'parameters {{ key: "{THREADS}" {value} }}')

    def _warmed(self, root: Value, most: int) -> list[Edit]:
        """Where there is a warm-up, it is for every batch size: 1, the largest, then those between."""
        fields = root.of("model_warmup")
        entries = [value for field in fields for value in field.values]
        if not entries:
            return []
        known = {self._number(entry, "batch_size", 1): self._text(entry) for entry in entries}
        sizes = list(dict.fromkeys([1, most, *range(2, most)]))
        texts = [known.get(size) or self._entry(entries[0], size) for size in sizes]
        first, *others = fields
        whole = self._list_like(first, texts)
        return [(first.start, first.end, whole), *((f.start, f.end, "") for f in others)]

    def _list_like(self, first: Field, texts: list[str]) -> str:
        """The entries, with the name and the layout that the list had."""
        items = first.value.items
        if not items:
            return "model_warmup [\n  " + ",\n  ".join(texts) + "\n]"
        head = self.text[first.start : items[0].start]
        between = self.text[items[0].end : items[1].start] if len(items) > 1 else ",\n  "
        return head + between.join(texts) + self.text[items[-1].end : first.end]

    def _entry(self, like: Value, size: int) -> str:
        """A warm-up as another one, for another batch size."""
        number = like.of("batch_size")
        edits: list[Edit] = [self._set(like, "batch_size", size)]
        was = int(self._text(number[0].value)) if number else 1
        for name in like.of("name"):
            words = self._text(name.value)
            renamed = DIGITS.sub(lambda m: str(size) if int(m[0]) == was else m[0], words)
            if renamed == words:
                renamed = f"{words[:-1]} {size}{words[-1]}"
            edits.append((name.value.start, name.value.end, renamed))
        moved = [(start - like.start, end - like.start, new) for start, end, new in edits]
        return _edited(self._text(like), moved)


def _edited(text: str, edits: list[Edit]) -> str:
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text
