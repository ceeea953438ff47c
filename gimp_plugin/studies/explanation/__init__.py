"""An explanation of a run: maps, genes and halves, with tests of their faithfulness."""

from __future__ import annotations

from gimp_plugin.studies.explanation.beside import Beside
from gimp_plugin.studies.explanation.run import Explanation, explain

__all__ = ["Beside", "Explanation", "explain"]
