"""What pydantic refused, in the operator's words: the place, the value, what is allowed, and the default."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import annotated_types
from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from orchestrator.layers import Layer, Variable
from orchestrator.problem import Contradiction, Problem, shown


def refusals(error: ValidationError, variables: Sequence[Variable], given: Layer) -> list[Problem]:
    """One problem for each setting that was refused, however many of its parts are wrong."""
    known = {variable.path: variable for variable in variables}
    found: dict[str, Problem] = {}
    for detail in error.errors(include_url=False):
        cause = detail.get("ctx", {}).get("error")
        if isinstance(cause, Contradiction):
            variable = known[(*_section(detail), cause.name)]
            problem = Problem(_place(variable, given), cause.what, cause.mend)
        else:
            path = tuple(map(str, detail["loc"]))
            variable = next(known[path[:n]] for n in (1, 2) if path[:n] in known)
            problem = _problem(variable, detail, given)
        found.setdefault(variable.name, problem)
    return list(found.values())


def _section(detail: ErrorDetails) -> tuple[str, ...]:
    return tuple(map(str, detail["loc"]))


def _place(variable: Variable, given: Layer) -> str:
    return given[variable.path].where if variable.path in given else f"{variable.name}, by default"


def _problem(variable: Variable, detail: ErrorDetails, given: Layer) -> Problem:
    place = _place(variable, given)
    if variable.secret:
        return Problem(place, "it is not text", "put it in quotes")
    what = f"{shown(detail['input'])} is not {allowed(variable.field)}"
    return Problem(place, what, f"mend it, or leave it out for {default(variable.field)}")


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
