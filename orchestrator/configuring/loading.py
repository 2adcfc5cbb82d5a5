"""From sources to one validated object, or to everything that is wrong in all of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from orchestrator.configuring.problem import refuse
from orchestrator.configuring.refusal import refusals
from orchestrator.configuring.sources import Sources


class Configured(BaseSettings):
    """Built as it stands, it is the defaults and what is given: only `loaded` looks around.

    So a test or a worker gets the same settings whatever its environment holds.
    """

    model_config = SettingsConfigDict(
        validate_by_name=True,
        loc_by_alias=False,
        case_sensitive=True,  # the keys of fess.yaml; names of variables are not
        env_ignore_empty=True,
        env_nested_delimiter="_",
        env_nested_max_split=1,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


Model = TypeVar("Model", bound=Configured)


def loaded(model: type[Model], config: Path | None, overrides: Mapping[str, object]) -> Model:
    """Read every source. Raises SettingsError, which tells every mistake of every source."""
    sources = Sources(model, config, overrides)

    def in_order(_: type[Model], /, *_args: object, **_kwargs: object) -> object:
        return sources.in_order

    # Of a class of its own for this one call; what it has read then goes into the plain one.
    looking = type(model.__name__, (model,), {"settings_customise_sources": classmethod(in_order)})
    try:
        values = dict(looking())
    except ValidationError as error:
        refuse([*sources.problems, *refusals(error, sources)])
        raise
    refuse(sources.problems)
    return model(**values)
