"""Find the installed plugins, and load each so that its failure does not affect the others.

pluggy's `load_setuptools_entrypoints` stops at the first plugin that fails to import and silently
skips a second plugin of the same name, so this module goes through the entry points itself.
"""

from __future__ import annotations

import collections
import dataclasses
import logging
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import EntryPoint, entry_points

import pluggy

import gimp_plugin
from gimp_plugin.errors import did_you_mean
from gimp_plugin.plugins import hookspecs
from gimp_plugin.plugins.components import Origin, PluginFailure

GROUP = "gimp_plugin"
DISABLE = "GIMP_DISABLE_PLUGINS"
OURS = "gimp-plugin"
API = "gimp_api"

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Loaded:
    """Outcome of loading all plugins.

    Parameters
    ----------
    manager
        Manager of the usable plugins.
    origins
        Origin of each usable plugin, by its name.
    failures
        Plugins that are not usable, and why.
    disabled
        Plugins that `GIMP_DISABLE_PLUGINS` blocks.
    seconds
        Import time of each plugin, including those that failed.
    """

    manager: pluggy.PluginManager
    origins: dict[str, Origin]
    failures: list[PluginFailure]
    disabled: list[Origin]
    seconds: dict[Origin, float]


def load_plugins() -> Loaded:
    """Load every plugin of the entry-point group, catching the errors of each.

    A plugin is usable if its module can be imported, it does not need a later version of the
    interface than ours, its hooks exist and take only arguments of the specification, and no other
    plugin has its name. Ours keeps its name. Of two other plugins with the same name neither is
    loaded, because which comes first depends on `sys.path`.

    Returns
    -------
    The usable plugins, ours first, then by name, and the failures of the others.
    """
    loaded = Loaded(new_manager(), {}, [], [], {})
    found = [(origin_of(entry), entry) for entry in entry_points(group=GROUP)]
    found.sort(key=lambda pair: (not is_ours(pair[0]), pair[0].entry_point, pair[0].distribution))
    enabled = _without_disabled(found, loaded)
    bearers: dict[str, list[Origin]] = collections.defaultdict(list)
    for origin, _ in enabled:
        bearers[origin.entry_point].append(origin)
    for origin, entry in enabled:
        reason = _clash(origin, bearers[origin.entry_point]) or _register(loaded, origin, entry)
        if reason is not None:
            loaded.failures.append(PluginFailure(origin=origin, reason=reason))
    return loaded


def new_manager() -> pluggy.PluginManager:
    """Make a plugin manager with our hooks and without plugins."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


def origin_of(entry: EntryPoint) -> Origin:
    """Find which distribution declares an entry point."""
    name, version = (entry.dist.name, entry.dist.version) if entry.dist else ("unknown", "unknown")
    return Origin(entry_point=entry.name, distribution=name, version=version)


def is_ours(origin: Origin) -> bool:
    """Tell whether a plugin is the one that comes with the package."""
    return origin.distribution == OURS


def implementations(loaded: Loaded, hook: str) -> Iterator[tuple[Origin, Callable[..., object]]]:
    """Each plugin's function for a hook, ours first, then by plugin name.

    Parameters
    ----------
    loaded
        The plugins.
    hook
        Name of the hook.

    Yields
    ------
    Origin of the plugin, and the function: call it with all the hook's arguments by name; it gets
    those that it takes.
    """
    found = {one.plugin_name: one for one in getattr(loaded.manager.hook, hook).get_hookimpls()}
    for name, origin in loaded.origins.items():
        if name in found:
            yield origin, partial(_called, found[name])


def _called(implementation: pluggy.HookImpl, **values: object) -> object:
    """Call a plugin's function with only the values that it takes."""
    return implementation.function(*(values[name] for name in implementation.argnames))


def _without_disabled(
    found: list[tuple[Origin, EntryPoint]], loaded: Loaded
) -> list[tuple[Origin, EntryPoint]]:
    """Leave out plugins that GIMP_DISABLE_PLUGINS names, by entry point or by distribution."""
    blocked = {name.strip() for name in os.environ.get(DISABLE, "").split(",")} - {""}
    known = {name for origin, _ in found for name in (origin.entry_point, origin.distribution)}
    for name in sorted(blocked - known):
        logger.warning("%s names an unknown plugin: %r%s", DISABLE, name, did_you_mean(name, known))
    enabled = []
    for origin, entry in found:
        if blocked & {origin.entry_point, origin.distribution}:
            loaded.disabled.append(origin)
        else:
            enabled.append((origin, entry))
    return enabled


def _clash(origin: Origin, bearers: list[Origin]) -> str | None:
    """Describe which other plugins have the same name; None if there are none or it is ours."""
    others = [str(other) for other in bearers if other != origin]
    if not others or is_ours(origin):
        return None
    names = ", ".join(map(str, others))
    return f"its name is also that of plugin {names} ({DISABLE} can block either distribution)"


def _register(loaded: Loaded, origin: Origin, entry: EntryPoint) -> str | None:
    """Import and register one plugin; return the reason if that is not possible."""
    start = time.monotonic()
    try:
        plugin = entry.load()
        reason = _too_new(plugin) or _fault(plugin)
        if reason is None:
            loaded.manager.register(plugin, name=origin.entry_point)
            loaded.origins[origin.entry_point] = origin
    except (Exception, SystemExit) as error:  # noqa: BLE001  # a plugin's module may raise anything
        return in_one_line(error)
    finally:
        loaded.seconds[origin] = time.monotonic() - start
    return reason


def in_one_line(error: BaseException) -> str:
    """Type and message of a plugin's error, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def _too_new(plugin: object) -> str | None:
    """Describe that a plugin needs a later version of the interface; None if it does not."""
    wanted = getattr(plugin, API, hookspecs.API_VERSION)
    if not isinstance(wanted, int) or isinstance(wanted, bool) or wanted < 1:
        return f"{API} = {wanted!r}, expected a whole number from 1"
    if wanted <= hookspecs.API_VERSION:
        return None
    return (
        f"it needs version {wanted} of the plugin interface, gimp-plugin {gimp_plugin.__version__} "
        f"has {hookspecs.API_VERSION}: update gimp-plugin"
    )


def _fault(plugin: object) -> str | None:
    """Describe what is wrong with a plugin's hooks, tried in a separate manager, if anything."""
    trial = new_manager()
    specified = set(vars(trial.hook))
    trial.register(plugin)
    try:
        trial.check_pending()
    except pluggy.PluginValidationError:
        unknown = min(set(vars(trial.hook)) - specified)
        return f"implements the unknown hook {unknown!r}{did_you_mean(unknown, specified)}"
    callers = trial.get_hookcallers(plugin)
    if not callers:
        return "implements no hook (is the marker gimp_plugin.plugins.hookimpl missing?)"
    for caller in callers:
        if any(one.wrapper or one.hookwrapper for one in caller.get_hookimpls()):
            return f"its {caller.name} is a wrapper, which is not supported"
    return None
