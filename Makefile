# Two commands on a fresh machine, sharing one environment:
#   make demo    from slides and genes to an evaluation table, on a small made-up cohort
#   make test    checks and the whole test suite
# Another interpreter or environment: make test PYTHON=python3.12 VENV=.venv312

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# One thread a process: several test processes, or data loaders, share the cores. Files begin in the
# order of tests/conftest.py, the slow ones first: xdist's own puts files of one slow test last.
PYTEST_ARGS ?= --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# Nothing is compiled when the environment is made (below), so what is imported must stay compiled.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test suite lint docs coverage clean

demo: $(INSTALLED)
	$(BIN)/gimp demo

# Side by side: mypy has a minute's work for one core.
test: $(INSTALLED)
	@$(MAKE) --no-print-directory --jobs=2 lint suite

suite: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/pytest $(PYTEST_ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/lint-imports

coverage: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/pytest $(PYTEST_ARGS) --cov --cov-report=term-missing:skip-covered

docs: $(INSTALLED)
	$(BIN)/python docs/generate_cli.py
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

clean:
	rm -rf $(VENV) .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis docs/_build

# One resolve for everything, since TIAToolbox pins most packages at patch level. Not compiled:
# that takes a minute, and the part of it that is ever imported is compiled at its first import.
$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "gimp-plugin needs Python 3.11 or later, $(PYTHON) is not:" \
			"give another, for instance make $(or $(MAKECMDGOALS),test) PYTHON=python3.12" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[dask,demo,tensorboard]' --group lint --group test --group docs
	@touch $@
