"""Find the plugins that are installed, and load each without letting it hurt the others.

pluggy's own `load_setuptools_entrypoints` stops at the first plugin that fails to import and skips
a second one of the same name without a word, so the entry points are walked here.
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
        Holds the plugins that are usable.
    origins
        Where each of them came from, by the plugin's name.
    failures
        Those that are not usable, and why.
    disabled
        Those that `GIMP_DISABLE_PLUGINS` blocks.
    seconds
        How long each took to import, those that failed included.
    """

    manager: pluggy.PluginManager
    origins: dict[str, Origin]
    failures: list[PluginFailure]
    disabled: list[Origin]
    seconds: dict[Origin, float]


def load_plugins() -> Loaded:
    """Load every plugin of the entry-point group, each guarded.

    A plugin is usable when its module imports, it needs no later version of the interface than
    ours, each of its hooks exists and takes the arguments that the specification has, and no other
    plugin bears its name. Ours keeps its name; of two others with one name neither is loaded, since
    which comes first depends on `sys.path`.

    Returns
    -------
    The usable plugins, in the order ours, then by name, and what became of the others.
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
    """Give a plugin manager that knows our hooks and no plugin."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


def origin_of(entry: EntryPoint) -> Origin:
    """Say which distribution declares an entry point."""
    name, version = (entry.dist.name, entry.dist.version) if entry.dist else ("unknown", "unknown")
    return Origin(entry_point=entry.name, distribution=name, version=version)


def is_ours(origin: Origin) -> bool:
    """Tell whether a plugin is the one that comes with the package."""
    return origin.distribution == OURS


def implementations(loaded: Loaded, hook: str) -> Iterator[tuple[Origin, Callable[..., object]]]:
    """Each plugin's function for a hook, ours first, then in the order of the plugins' names.

    Parameters
    ----------
    loaded
        The plugins.
    hook
        Name of the hook.

    Yields
    ------
    Where it comes from, and the function: called with the hook's arguments by name, it gets those
    that it takes.
    """
    found = {one.plugin_name: one for one in getattr(loaded.manager.hook, hook).get_hookimpls()}
    for name, origin in loaded.origins.items():
        if name in found:
            yield origin, partial(_called, found[name])


def _called(implementation: pluggy.HookImpl, **values: object) -> object:
    """Call a plugin's function with those of the values that it takes."""
    return implementation.function(*(values[name] for name in implementation.argnames))


def _without_disabled(
    found: list[tuple[Origin, EntryPoint]], loaded: Loaded
) -> list[tuple[Origin, EntryPoint]]:
    """Leave out what GIMP_DISABLE_PLUGINS names, by entry point or by distribution."""
    blocked = {name.strip() for name in os.environ.get(DISABLE, "").split(",")} - {""}
    known = {name for origin, _ in found for name in (origin.entry_point, origin.distribution)}
    for name in sorted(blocked - known):
        logger.warning("%s names no plugin: %r%s", DISABLE, name, did_you_mean(name, known))
    enabled = []
    for origin, entry in found:
        if blocked & {origin.entry_point, origin.distribution}:
            loaded.disabled.append(origin)
        else:
            enabled.append((origin, entry))
    return enabled


def _clash(origin: Origin, bearers: list[Origin]) -> str | None:
    """Say who else bears the plugin's name, unless it is ours."""
    others = [str(other) for other in bearers if other != origin]
    if not others or is_ours(origin):
        return None
    names = ", ".join(map(str, others))
    return f"its name is also that of plugin {names} ({DISABLE} can block either distribution)"


def _register(loaded: Loaded, origin: Origin, entry: EntryPoint) -> str | None:
    """Import one plugin and register it; the reason if that is not possible."""
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
    """Type and message of an error that a plugin raised."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def _too_new(plugin: object) -> str | None:
    """Say that a plugin needs a later version of the interface than this one."""
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
    """Say what is wrong with a plugin's hooks, tried in a manager of its own."""
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
            return f"its {caller.name} is a wrapper, which no hook here takes"
    return None
