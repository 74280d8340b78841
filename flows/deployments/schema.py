"""The schema of `prefect.yaml`: deployments, each a flow with the initial values of its form, and schedules."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cl_core import registry
from cl_core.errors import InputError

if TYPE_CHECKING:
    from prefect.schedules import Schedule as PrefectSchedule

DEFAULT = Path("infra/prefect.yaml")


class _Declared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Schedule(_Declared):
    """A schedule of a deployment."""

    slug: str = Field(description="Its name; applying a schedule of the same name updates it.")
    cron: str = Field("", description="Minute, hour, day of the month, month, day of the week. Empty with interval_s.")
    interval_s: float = Field(0, ge=0, description="Seconds between runs, instead of cron.")
    timezone: str = "UTC"
    active: bool = True

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if bool(self.cron) == bool(self.interval_s):
            raise ValueError("give either cron or interval_s")
        return self

    def for_prefect(self, *, where: str) -> "PrefectSchedule":
        """Return the schedule as Prefect takes it.

        It is checked here, not when the declaration is read: `cl up` reads that before it tells Prefect which server to
        ask, and Prefect reads its settings once, when it is imported.

        Raises:
            InputError: When Prefect refuses cron or time zone; `where` begins the message.
        """
        from prefect.client.schemas.schedules import construct_schedule
        from prefect.schedules import Cron, Interval

        try:
            construct_schedule(cron=self.cron or None, interval=self.interval_s or None, timezone=self.timezone)
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise InputError(f"{where}: schedule {self.slug!r}: {reason}; correct it") from error
        how: dict[str, Any] = {"timezone": self.timezone, "slug": self.slug, "active": self.active}
        return Cron(self.cron, **how) if self.cron else Interval(self.interval_s, **how)


class Deployment(_Declared):
    """A flow that can be started from the UI or by a schedule, with the initial values of its form."""

    name: str = ""
    flow: str = Field(description="Module and function, such as flows.retrain.retrain.")
    description: str = ""
    recipe: str = Field("", description="File of parameters, relative to this file.")
    recipes: str = Field("", description="Pattern of such files: one deployment for each, named after it.")
    parameters: dict[str, Any] = Field({}, description="Override those of the recipe.")
    schedules: list[Schedule] = []
    tags: list[str] = []

    @model_validator(mode="after")
    def _named(self) -> Self:
        if bool(self.name) == bool(self.recipes):
            raise ValueError("give either name, or recipes, a pattern of files that deployments are named after")
        return self

    def each(self, folder: Path) -> Iterator["Deployment"]:
        """Yield one deployment for each recipe of the pattern, or this one."""
        if not self.recipes:
            yield self
            return
        files = sorted(folder.glob(self.recipes))
        if not files:
            raise InputError(f"deployments: no recipe in {folder} matches {self.recipes!r}; correct the pattern")
        for file in files:
            update = {"name": file.stem, "recipe": str(file.relative_to(folder)), "recipes": ""}
            yield self.model_copy(update=update)


class Declaration(_Declared):
    """The work pool and all deployments."""

    work_pool: str
    deployments: list[Deployment]

    @classmethod
    def read(cls, path: Path) -> "Declaration":
        """Return the declaration in a YAML file.

        Raises:
            InputError: When there is no such file, or it holds something else.
        """
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError

        if not path.is_file():
            raise InputError(f"--deployments: there is no file {path}; the project's own is {DEFAULT}")
        try:
            return cls.model_validate(YAML(typ="safe").load(path.read_text(encoding="utf-8-sig")) or {})
        except (OSError, UnicodeDecodeError, YAMLError) as error:
            raise InputError(f"--deployments: {path} is not readable as YAML: {error}") from error
        except ValidationError as error:
            raise InputError(registry.explain_validation_error(error, f"--deployments: {path}", [])) from error
