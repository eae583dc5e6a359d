"""Finds one's way in the settings' models: which keys there are at a place, what a key takes, which are secret."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

#: Fields whose value says which model of a union is meant; the value then stands in the place of an error.
_DISCRIMINATORS = ("protocol", "kind")


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in the settings: a section (``models`` are what it may be), a table by names, or a single key."""

    models: tuple[type[BaseModel], ...] = ()
    by_name: bool = False
    field: FieldInfo | None = None

    @property
    def is_leaf(self) -> bool:
        """Whether a single value stands here."""
        return not self.models

    @property
    def is_list(self) -> bool:
        """Whether the value is a list."""
        return self.is_leaf and any(get_origin(part) in {tuple, list} for part in _parts(self._annotation))

    @property
    def is_secret(self) -> bool:
        """Whether the value must never be shown."""
        return self.is_leaf and SecretStr in set(_parts(self._annotation))

    @property
    def choices(self) -> tuple[str, ...]:
        """The values a key takes, where it takes only some."""
        parts = _parts(self._annotation) if self.is_leaf else ()
        found: list[object] = []
        for part in parts:
            if get_origin(part) is Literal:
                found += get_args(part)
            elif isinstance(part, type) and issubclass(part, Enum):
                found += [member.value for member in part]
        return tuple(map(str, found))

    @property
    def by_default(self) -> tuple[type[BaseModel], ...]:
        """The models that are meant where no ``kind`` is named: of a login the first, or none if it may be left out.

        Of anything else all of them.
        """
        if not all(_has_kind(model) for model in self.models):
            return self.models
        return self.models[:1] if self.field is None or self.field.is_required() else ()

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that may stand here."""
        return () if self.by_name else tuple(dict.fromkeys(name for model in self.models for name in fields_of(model)))

    def step(self, name: str) -> "Spot | None":
        """Return the place one step on, or None when there is none; a union's tag narrows the place."""
        if self.by_name:
            return Spot(self.models, field=self.field)
        for model in self.models:
            if name in (fields := fields_of(model)):
                return spot_of(fields[name])
        return self.tagged(name)

    def tagged(self, name: str) -> "Spot | None":
        """Return the place narrowed to the model of a union with this tag, or None when there is none."""
        models = tuple(model for model in self.models if _tag(model) == name)
        return Spot(models, field=self.field) if models else None

    @property
    def _annotation(self) -> Any:
        return None if self.field is None else self.field.annotation


def fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the fields of a model by the keys they are written with."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def spot_of(field: FieldInfo) -> Spot:
    """Return the place a field makes."""
    parts = list(_parts(field.annotation))
    models = tuple(part for part in parts if isinstance(part, type) and issubclass(part, BaseModel))
    return Spot(models, any(get_origin(part) in {dict, Mapping} for part in parts), field)


def narrowed(spot: Spot, values: object) -> Spot:
    """Return a section without those models of its union that ``values`` are not meant for."""
    for name in _DISCRIMINATORS:
        wanted = values.get(name) if isinstance(values, Mapping) else None
        tagged = tuple(model for model in spot.models if wanted is not None and _tag(model) == wanted)
        if tagged:
            return Spot(tagged, field=spot.field)
    if isinstance(values, Mapping) and "kind" not in values and all(_has_kind(model) for model in spot.models[:1]):
        # The first kind is the one that need not be named.
        return Spot(spot.models[:1], field=spot.field)
    return spot


def nearest(found: str, allowed: Iterable[str]) -> str | None:
    """Return the allowed word most like the one found, or None when none is like it."""
    close = difflib.get_close_matches(found[:80].lower(), list(allowed), n=1, cutoff=0.6)
    return close[0] if close else None


def _has_kind(model: type[BaseModel]) -> bool:
    return "kind" in model.model_fields


def _tag(model: type[BaseModel]) -> object:
    fields = (model.model_fields.get(name) for name in _DISCRIMINATORS)
    return next((field.default for field in fields if field is not None), None)


def _parts(annotation: Any) -> Iterable[Any]:
    """Yield an annotation and what it is made of, but for the items of lists and the values of Literal."""
    yield annotation
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _parts(get_args(annotation)[0])
    elif origin in {Union, UnionType}:
        for member in get_args(annotation):
            yield from _parts(member)
    elif origin in {dict, Mapping}:
        yield from _parts(get_args(annotation)[1])
