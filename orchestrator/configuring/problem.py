"""What is wrong in a variable or file that an operator wrote, and how to mend it: gathered, then told all at once."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend. `where` names a variable or a file and line; none of the three holds a secret."""

    where: str
    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.mend}"


class Contradiction(ValueError):
    """Raised by a section whose settings are each fine and together are not."""

    def __init__(self, name: str, what: str, mend: str) -> None:
        """Name the one setting of the section that is to be pointed at."""
        super().__init__(f"{name}: {what}; {mend}")
        self.name = name
        self.what = what
        self.mend = mend


def refuse(problems: Sequence[Problem]) -> None:
    """Raise one SettingsError that tells every problem; return if there is none."""
    if not problems:
        return
    if len(problems) == 1:
        raise SettingsError(str(problems[0]))
    raise SettingsError(
        "\n".join([f"{len(problems)} things need mending:", *(f"  - {each}" for each in problems)])
    )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The mend for a name that nobody knows."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if not close:
        close = [each for each in names if each.lower() == name.lower()]
    if close:
        return f"did you mean {close[0]}?"
    return "remove it, or see docs/configuration.md for what there is"


def shown(value: object) -> str:
    """A refused value, fit to be shown: shortened, and hidden where it might hold a credential."""
    text = str(value)
    if isinstance(value, dict | list) or "@" in text or "://" in text:
        return "the value"
    return f'"{text}"' if len(text) <= 40 else f'"{text[:37]}..."'
