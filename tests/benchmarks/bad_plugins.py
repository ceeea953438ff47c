"""Messages and time of faulty plugins: clashing, broken, misspelt, slow to import.

    python tests/benchmarks/bad_plugins.py

Each plugin is installed alone into a separate folder, beside the package. `gimp --help`, `gimp
plugins` and a run (`gimp pretrain` with an aggregator that only the slow plugin has, without a
cohort) are called in separate processes, alternating with the same calls without a plugin. Printed
are the shortest time over the rounds, and what each call says of the plugin.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.plugin_factory import install  # found through sys.path

ROOT = Path(__file__).parents[2]
HOOK = """
    from gimp_plugin.plugins import hookimpl

    @hookimpl
    def gimp_components():
        return [("aggregator", "{name}", "collections:OrderedDict", "of a stranger")]
"""
PLUGINS = {
    "none": None,
    "clashing": HOOK.format(name="nystrom"),
    "broken": "import no_such_module",
    "misspelt": HOOK.format(name="mine").replace("gimp_components", "gimp_componets"),
    "slow": "import time\ntime.sleep(3)\n" + HOOK.format(name="mine").replace("\n    ", "\n"),
}
COMMANDS = (("--help",), ("plugins",), ("pretrain", "--adata", "none.h5ad", "--aggregator", "mine"))


def main() -> None:
    """Install, call and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        sites = {name: Path(folder, name) for name in PLUGINS}
        for name, source in PLUGINS.items():
            sites[name].mkdir()
            if source is not None:
                install(sites[name], f"{name}-plugin", source, entry=name)
        for command in COMMANDS:
            seconds: dict[str, list[float]] = {name: [] for name in PLUGINS}
            said = {}
            for _ in range(rounds):
                for name, site in sites.items():
                    took, said[name] = called(command, site)
                    seconds[name].append(took)
            sys.stdout.write(f"gimp {' '.join(command)}\n")
            for name, took in seconds.items():
                sys.stdout.write(f"  {name:<10} {min(took):5.2f} s\n")
                sys.stdout.writelines(
                    f"      {line.strip()}\n"
                    for line in said[name].splitlines()
                    if f"{name}-plugin" in line or line.startswith(("Failed to load", "Error"))
                )
            sys.stdout.flush()


def called(command: tuple[str, ...], site: Path) -> tuple[float, str]:
    """Seconds of a call, and all its output."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(site), str(ROOT)))}
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "gimp_plugin", *command],
        env=environment, cwd=site, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return time.perf_counter() - begun, done.stdout + done.stderr


if __name__ == "__main__":
    main()
