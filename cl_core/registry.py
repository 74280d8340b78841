"""Registries: a component is chosen by name, and its name is the name of its file.

Dropping a file into `cl_core/losses/` (or another of the packages below) adds a component; another distribution adds
one through the entry point group `counterpoint.losses` without touching this project. Names are known without
importing anything, so that a form or `--help` lists them at once; a component is imported when used.

Modules whose name starts with an underscore, and sub-packages, are no components.
"""

import difflib
import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema, core_schema

from cl_core.errors import SpecError


class Described(BaseModel):
    """Frozen values that a person gives: an unknown one is an error, and each has a title and a description.

    The docstring below a field is its description; its name is its title, unless another is given.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        field_title_generator=lambda name, _: name.replace("_", " ").capitalize(),
        defer_build=True,  # Schemas are built at the first use: after the descriptions have been joined, below.
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Join the lines of each description, which forms and tables would show as lines."""
        for field in cls.__pydantic_fields__.values():
            field.description = field.description and " ".join(field.description.split())


Options = dict[str, Any]
"""Options of a component; the component validates them."""


class Component(Described):
    """A part chosen by name. Its fields are its options: complete, frozen, and validated where they are given."""

    registered_name: ClassVar[str] = ""
    """The name by which it is chosen."""

    @property
    def nested(self) -> "tuple[Component, ...]":
        """The components that it is made of, without itself; mostly none."""
        return ()


C = TypeVar("C", bound=Component)


class Nested(Described):
    """A component of another one."""

    name: str
    """Its name."""
    options: Options = {}
    """Its options, as JSON."""


class Registry(Generic[C]):
    """The components of one kind, by name."""

    def __init__(self, kind: str, package: str, *, group: str = "") -> None:
        self.kind = kind
        self.package = package
        self.group = group or f"counterpoint.{package.rpartition('.')[2]}"
        self._classes: dict[str, type[C]] = {}

    def register(self, name: str) -> Callable[[type[C]], type[C]]:
        """Return a class decorator that makes a component selectable as `name`."""

        def add(component: type[C]) -> type[C]:
            existing = self._classes.get(name)
            if existing is not None and existing.__module__ != component.__module__:
                raise self._taken(name, existing.__module__, component.__module__)
            self._classes[name] = component
            component.registered_name = name
            return component

        return add

    @cached_property
    def _modules(self) -> dict[str, str]:
        """Module of each component that is a file of this project."""
        spec = importlib.util.find_spec(self.package)
        assert spec is not None and spec.submodule_search_locations is not None, self.package
        modules = pkgutil.iter_modules(spec.submodule_search_locations)
        return {m.name: f"{self.package}.{m.name}" for m in modules if not m.ispkg and not m.name.startswith("_")}

    @cached_property
    def _plugins(self) -> dict[str, EntryPoint]:
        """Entry point of each component that another distribution brings.

        Raises:
            SpecError: When its name is taken, since the choice would be ambiguous.
        """
        plugins: dict[str, EntryPoint] = {}
        for point in entry_points(group=self.group):
            if point.name in self._modules or point.name in plugins:
                existing = self._modules.get(point.name) or _described(plugins[point.name])
                raise self._taken(point.name, existing, _described(point))
            plugins[point.name] = point
        return plugins

    def names(self) -> list[str]:
        """Return all names that can be chosen, sorted; nothing is imported.

        Raises:
            SpecError: When a plug-in's name is taken.
        """
        return sorted({*self._modules, *self._plugins, *self._classes})

    def get(self, name: str, *, field: str) -> type[C]:
        """Return the class registered as `name`.

        Args:
            name: A component's name.
            field: Full path of the spec field that holds the name, for the message.

        Raises:
            SpecError: When there is no such component, the message lists those there are; or a plug-in's name is taken.
        """
        plugins = self._plugins
        if name not in self._classes:
            if name in self._modules:
                importlib.import_module(self._modules[name])
            elif name in plugins:
                plugins[name].load()
            else:
                raise SpecError(f"{field}: {self.unknown(name)}")
        if name not in self._classes:
            raise SpecError(f"{field}: the module of {self.kind} {name!r} registers no class under that name")
        return self._classes[name]

    def build(self, name: str, options: Mapping[str, Any], *, field: str, options_field: str = "") -> C:
        """Build the component `name` with these options, validated.

        Args:
            name: A component's name.
            options: Values for the component's own fields; what is not given takes its default.
            field: Full path of the spec field that holds the name.
            options_field: Full path of the field that holds the options, `{field}_options` unless given.

        Raises:
            SpecError: When the name or an option is unknown or out of range; the message gives the full path.
        """
        component = self.get(name, field=field)
        try:
            return component(**options)
        except ValidationError as error:
            raise SpecError(
                explain_validation_error(error, options_field or f"{field}_options", sorted(component.model_fields))
            ) from error

    def completed(self, nested: Nested, *, field: str) -> Nested:
        """Return a component of another one with all its options written out; see `build_nested`."""
        built = self.build_nested(nested, field=field)
        return nested.model_copy(update={"options": built.model_dump(mode="json")})

    def build_nested(self, nested: Nested, *, field: str) -> C:
        """Build a component of another one; `field` is the full path of the option that holds it. See `build`."""
        return self.build(nested.name, nested.options, field=f"{field}.name", options_field=f"{field}.options")

    def _taken(self, name: str, existing: str, other: str) -> SpecError:
        return SpecError(
            f"{self.kind} {name!r} exists twice: as {existing} and as {other}; rename one, or uninstall its package"
        )

    def unknown(self, name: str) -> str:
        """Return a sentence that says that `name` does not exist, and what does."""
        close = difflib.get_close_matches(name, self.names(), n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        return f"there is no {self.kind} named {name!r}{hint}; choose one of: {', '.join(self.names())}"


def _described(point: EntryPoint) -> str:
    return f"{point.value} of {f'{point.dist.name} {point.dist.version}' if point.dist else 'an unknown package'}"


def explain_validation_error(error: ValidationError, path: str, known: list[str]) -> str:
    """Return one sentence per validation problem: the path of the field, what was wanted, and what came."""
    sentences = []
    for problem in error.errors(include_url=False):
        where = ".".join([path, *map(str, problem["loc"])]).strip(".")
        if problem["type"] == "extra_forbidden":
            sentences.append(f"{where}: there is no such option; choose from: {', '.join(known) or 'none'}")
        elif problem["type"] == "missing":
            sentences.append(f"{where}: required, and not given")
        elif problem["type"] == "value_error":  # Our own message, which includes the value.
            reason = problem["ctx"]["error"]
            # A component of another one has named the whole path.
            sentences.append(str(reason) if isinstance(reason, SpecError) else f"{where}: {reason}")
        else:
            message = problem["msg"]
            requirement = message[0].lower() + message[1:]
            sentences.append(f"{where}: {requirement}; got {problem['input']!r}")
    return "; ".join(sentences)


@dataclass(frozen=True)
class NameIn:
    """Annotation for a `str` field that holds a component's name: validated, and a dropdown in forms."""

    registry: Registry[Any]
    besides: tuple[str, ...] = ()
    """Words accepted in place of a name."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "enum": [*self.besides, *self.registry.names()]}

    def _check(self, name: str) -> str:
        if name not in self.besides and name not in self.registry.names():
            raise ValueError(self.registry.unknown(name))
        return name


MODALITIES: Registry[Any] = Registry("modality", "cl_core.modalities")
SOURCES: Registry[Any] = Registry("source", "cl_core.data.sources")
VIEWS: Registry[Any] = Registry("view policy", "cl_core.views")
ENCODERS: Registry[Any] = Registry("encoder", "cl_core.encoders")
LOSSES: Registry[Any] = Registry("loss", "cl_core.losses")
METHODS: Registry[Any] = Registry("method", "cl_core.methods")
EVALUATIONS: Registry[Any] = Registry("evaluation", "cl_core.evaluation.protocols", group="counterpoint.evaluation")
