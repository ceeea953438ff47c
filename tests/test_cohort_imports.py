from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import pkgutil, sys, gimp_plugin.cohort as room
for module in pkgutil.iter_modules(room.__path__, "gimp_plugin.cohort."):
    __import__(module.name)
print(*sorted({"torch", "tiatoolbox", "scanpy", "anndata", "sklearn", "pandas"} & set(sys.modules)))
"""


def test_the_room_imports_nothing_slow() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == []
