"""Finds plug-ins: the modules of a package, and entry points of installed distributions.

A plug-in is a module. Which names it must define is the contract of the package it stands in (see ``ports.py``).
The entry-point group of a package is its dotted name, for example ``bouncepoll.deliver``.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType, ModuleType

from bouncepoll.errors import ConfigurationError


@cache
def plugins(package: str, required: str = "create") -> Mapping[str, ModuleType]:
    """Return the plug-in modules of ``package`` by name, sorted; a module without ``required`` is a helper.

    An installed entry point of the group ``package`` adds to them; it cannot replace a module of the same name.

    Raises:
        ConfigurationError: an installed plug-in cannot be imported, or takes a name that is in use.
    """
    parent = importlib.import_module(package)
    found: dict[str, ModuleType] = {}
    for info in pkgutil.iter_modules(parent.__path__):
        if not info.name.startswith("_"):
            module = importlib.import_module(f"{package}.{info.name}")
            if hasattr(module, required):
                found[info.name] = module
    for point in entry_points(group=package):
        if point.name in found:
            raise ConfigurationError(
                f"plug-in {point.value!r}: the name {point.name!r} of group {package} is in use; uninstall or rename it"
            )
        try:
            module = point.load()
        except Exception as exc:
            raise ConfigurationError(
                f"plug-in {point.value!r} of group {package} cannot be loaded: {exc}; reinstall or uninstall it"
            ) from exc
        if not hasattr(module, required):
            raise ConfigurationError(f"plug-in {point.value!r} of group {package} does not define {required!r}")
        found[point.name] = module
    return MappingProxyType(dict(sorted(found.items())))
