"""What pydantic refused, in the operator's words: the place, the value, what is allowed, and the default."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import annotated_types
from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from orchestrator.configuring.problem import Contradiction, Problem, did_you_mean, shown
from orchestrator.configuring.sources import Sources, Written
from orchestrator.configuring.variables import SettingPath, Variable


def refusals(error: ValidationError, sources: Sources) -> list[Problem]:
    """One problem for each setting that was refused, however many of its parts are wrong."""
    known = {variable.path: variable for variable in sources.variables}
    found: dict[SettingPath, Problem] = {}
    for detail in error.errors(include_url=False):
        path = tuple(map(str, detail["loc"]))
        cause = detail.get("ctx", {}).get("error")
        if isinstance(cause, Contradiction):
            path = (*path, cause.name)
            problem = Problem(_place(known[path], sources), cause.what, cause.mend)
        elif variable := known.get(path[:1]) or known.get(path[:2]):
            path = variable.path
            problem = _problem(variable, detail["input"], _place(variable, sources))
        else:
            problem = _unknown(path, known, sources)
        found.setdefault(path, problem)
    return list(found.values())


def _place(variable: Variable, sources: Sources) -> str:
    return str(sources.written(variable.path) or f"{variable.name}, by default")


def _problem(variable: Variable, value: object, place: str) -> Problem:
    if variable.secret:
        return Problem(place, "it is not text", "put it in quotes")
    what = f"{shown(value)} is not {allowed(variable.field)}"
    return Problem(place, what, f"mend it, or leave it out for {default(variable.field)}")


def _unknown(path: SettingPath, known: Mapping[SettingPath, Variable], sources: Sources) -> Problem:
    """The key stands in fess.yaml, or the name in .env; other sources yield known names only."""
    written = sources.written(path) or Written(".".join(path), "the settings")
    inside = [each[-1] for each in known if each[:-1] == path]
    if inside:
        mend = f"write its settings below it, indented: {', '.join(inside)}"
        return Problem(written.where, f"{path[-1]} is a group of settings", mend)
    keys = {variable.name: variable.key for variable in known.values()}
    if written.name != ".".join(path):
        mend = did_you_mean(written.name.upper(), keys)
    elif path[-1] in keys:
        mend = f"it is written {keys[path[-1]]}"
    else:
        siblings = {each[len(path) - 1] for each in known if each[: len(path) - 1] == path[:-1]}
        mend = did_you_mean(path[-1], sorted(siblings))
    return Problem(written.where, f"{written.name} is not a setting", mend)


def allowed(field: FieldInfo) -> str:
    """What a setting may be: "a whole number from 0 to 65535"."""
    annotation = _kind(field.annotation)
    if get_origin(annotation) is Literal:
        *most, last = map(str, get_args(annotation))
        return f"{', '.join(most)} or {last}"
    if get_origin(annotation) is tuple:
        return "names separated by commas"
    if field.examples:
        return f"text like {field.examples[0]}"
    if annotation is int or annotation is float:
        return ("a whole number" if annotation is int else "a number") + _limits(field)
    return {bool: "true or false", Path: "a path", SecretStr: "a secret"}.get(annotation, "text")


def _kind(annotation: Any) -> Any:
    """The type behind Annotated and `| None`."""
    while True:
        parts = [each for each in get_args(annotation) if each is not type(None)]
        if hasattr(annotation, "__metadata__"):
            annotation = annotation.__origin__
        elif type(None) in get_args(annotation) and len(parts) == 1:
            annotation = parts[0]
        else:
            return annotation


def _constraints(annotation: Any) -> Iterator[Any]:
    """What stands inside `Annotated[...] | None`, where pydantic does not lift it to the field."""
    for part in (annotation, *get_args(annotation)):
        for each in getattr(part, "__metadata__", ()):
            yield from each.metadata if isinstance(each, FieldInfo) else (each,)


def _limits(field: FieldInfo) -> str:
    low: Any = None  # the constraints are typed as anything that compares
    high: Any = None
    above: Any = None
    for each in (*field.metadata, *_constraints(field.annotation)):
        if isinstance(each, annotated_types.Ge):
            low = each.ge
        elif isinstance(each, annotated_types.Gt):
            above = each.gt
        elif isinstance(each, annotated_types.Le):
            high = each.le
    if low is not None and high is not None:
        return f" from {low:g} to {high:g}"
    lower = f" above {above:g}" if above is not None else ""
    lower = f" from {low:g}" if low is not None else lower
    return lower + (f" up to {high:g}" if high is not None else "")


def default(field: FieldInfo) -> str:
    """The default as it would be written in the environment; "nothing" where there is none."""
    value = field.get_default(call_default_factory=True)
    if value is None or value == "" or value == ():
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
