"""What was tried, how it went, and what to mend."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from orchestrator.telemetry import scrub


class Verdict(StrEnum):
    OK = "ok"
    WARNING = "warning"  # it works, and is perhaps not what was meant
    FAILED = "failed"  # `fess run` will not do its work until this is mended


@dataclass(frozen=True, slots=True)
class Finding:
    """part: what was tried, such as `camera lobby`. Neither text holds a credential."""

    part: str
    verdict: Verdict
    what: str
    mend: str = ""

    @classmethod
    def ok(cls, part: str, what: str) -> Self:
        return cls(part, Verdict.OK, scrub(what))

    @classmethod
    def warning(cls, part: str, what: str, mend: str) -> Self:
        return cls(part, Verdict.WARNING, scrub(what), scrub(mend))

    @classmethod
    def failed(cls, part: str, what: str, mend: str) -> Self:
        return cls(part, Verdict.FAILED, scrub(what), scrub(mend))

    @classmethod
    def of_error(cls, part: str, error: Exception) -> Self:
        """A named error says what is wrong and, after a semicolon, how to mend it."""
        what, _, mend = (str(error) or type(error).__name__).partition("; ")
        return cls.failed(part, what, mend)
