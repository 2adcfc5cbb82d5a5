"""config.pbtxt is changed in place: the four numbers and the warm-up, and nothing else."""

import difflib
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format  # type: ignore[import-untyped]  # ships no types
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2

from orchestrator.errors import SettingsError
from orchestrator.tuning.candidate import Candidate
from orchestrator.tuning.config_text import ConfigText

ROOT = Path(__file__).resolve().parents[2]
OURS = sorted((ROOT / "model_repository").glob("*/config.pbtxt"))
SPARSE = 'backend: "onnxruntime" max_batch_size: 4 # tuned by hand\ninput { name: "x" dims: 4 }'
OTHER_SPELLINGS = """\
name: 'spelt' "_out"
max_batch_size : 4;
instance_group { kind: KIND_CPU, count: 3 } # on purpose
dynamic_batching: < max_queue_delay_microseconds: 7 preserve_ordering: true >
parameters: [ { key: "other" value { string_value: "}{ # no comment" } },
  { key: 'intra_op_thread_count' value: { string_value: '5' } } ]
model_warmup { name: "one" batch_size: 1 inputs { key: "x" value { dims: 4 zero_data: true } } }
model_warmup { name: "sample 4" batch_size: 4 inputs { key: "x" value { dims: 4 random_data: true } } }
"""
TEXTS = [*(path.read_text(encoding="utf-8") for path in OURS), SPARSE, OTHER_SPELLINGS]

candidates = st.builds(
    Candidate,
    instances=st.integers(1, 32),
    max_batch=st.integers(1, 24),
    queue_delay_us=st.integers(0, 100_000),
    threads=st.integers(1, 64),
)


def message(text: str) -> Any:
    """As Triton reads it."""
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def without_what_is_tuned(text: str) -> Any:
    config = message(text)
    config.ClearField("max_batch_size")
    config.ClearField("model_warmup")
    config.dynamic_batching.ClearField("max_queue_delay_microseconds")
    config.parameters.pop("intra_op_thread_count", None)
    if not config.instance_group:
        config.instance_group.add()
    config.instance_group[0].ClearField("count")
    return config


@settings(max_examples=60, deadline=None)
@given(text=st.sampled_from(TEXTS), wanted=candidates)
def test_triton_reads_the_new_numbers_and_everything_else_as_before(
    text: str, wanted: Candidate
) -> None:
    tuned = ConfigText.read(text, "config.pbtxt").tuned(wanted)
    config = message(tuned)
    assert config.max_batch_size == wanted.max_batch
    # A group that is not there is one instance.
    assert (sum(group.count for group in config.instance_group) or 1) == wanted.instances
    assert config.dynamic_batching.max_queue_delay_microseconds == wanted.queue_delay_us
    threads = config.parameters["intra_op_thread_count"].string_value or "1"
    assert threads == str(wanted.threads)
    assert without_what_is_tuned(tuned) == without_what_is_tuned(text)
    assert ConfigText.read(tuned, "config.pbtxt").candidate == wanted


@settings(max_examples=60, deadline=None)
@given(text=st.sampled_from(TEXTS), wanted=candidates)
def test_every_line_without_one_of_the_numbers_stays_as_it_was(
    text: str, wanted: Candidate
) -> None:
    tuned = ConfigText.read(text, "config.pbtxt").tuned(wanted)
    gone = [
        line[2:]
        for line in difflib.ndiff(lines_but_warm_up(text), lines_but_warm_up(tuned))
        if line.startswith("- ")
    ]
    names = ("max_batch_size", "count", "dynamic_batching", "max_queue_delay", "intra_op_thread")
    assert all(any(name in line for name in names) for line in gone)


def lines_but_warm_up(text: str) -> list[str]:
    return re.sub(r"^model_warmup (\[.*?^\]|\{.*?\}$)\n*", "", text, flags=re.M | re.S).splitlines()


@pytest.mark.parametrize("text", TEXTS)
def test_what_it_says_already_leaves_every_byte(text: str) -> None:
    config = ConfigText.read(text, "config.pbtxt")
    assert config.tuned(config.candidate) == text


@settings(max_examples=60, deadline=None)
@given(text=st.sampled_from(TEXTS), sizes=st.lists(st.integers(1, 24), min_size=1, max_size=4))
def test_a_warm_up_is_for_every_batch_size_with_the_largest_second(
    text: str, sizes: list[int]
) -> None:
    now = ConfigText.read(text, "").candidate
    had = bool(message(text).model_warmup)
    tuned = text
    for size in sizes:
        config = ConfigText.read(tuned, "")
        tuned = config.tuned(Candidate(now.instances, size, now.queue_delay_us, now.threads))
    warmup = message(tuned).model_warmup
    if not had or all(size == now.max_batch for size in sizes):
        assert tuned == text or not had
        return
    changed = [size for before, size in pairwise([now.max_batch, *sizes]) if before != size]
    most = changed[-1]
    assert [entry.batch_size for entry in warmup] == list(dict.fromkeys([1, most, *range(2, most)]))
    assert all(entry.inputs for entry in warmup)
    assert len({entry.name for entry in warmup}) == len(warmup)


def test_going_back_gives_the_same_bytes_where_a_warm_up_is_as_we_write_it() -> None:
    text = OURS[0].read_text(encoding="utf-8")
    now = ConfigText.read(text, "").candidate
    away = ConfigText.read(text, "").tuned(Candidate(5, 12, 1, 3))
    assert ConfigText.read(away, "").tuned(now) == text


def test_a_queue_policy_asks_for_two_instances_and_a_preferred_batch_for_its_size() -> None:
    text = "max_batch_size: 8 dynamic_batching { %s }"
    assert ConfigText.read(text % "", "").least == Candidate(1, 1, 0, 1)
    policy = ConfigText.read(text % "default_queue_policy { max_queue_size: 4 }", "")
    assert policy.least.instances == 2
    preferred = ConfigText.read(text % "preferred_batch_size: [ 2, 4 ]", "")
    assert preferred.least.max_batch == 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("max_batch_size: 8 instance_group [ {}, {} ]", "several instance groups"),
        ("max_batch_size: 8 sequence_batching {}", "batches sequences"),
        ('name: "x"', "takes no batches"),
        ("max_batch_size: 8\nthis is {", "line 2"),
        ('max_batch_size: 8\n\nname: "open', "line 3"),
    ],
)
def test_what_cannot_be_tuned_is_refused_with_the_place(text: str, words: str) -> None:
    with pytest.raises(SettingsError, match=f"at/config.pbtxt: .*{words}"):
        ConfigText.read(text, "at/config.pbtxt")
