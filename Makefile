# The two commands of the README, and what stands behind them. Each target does its own set-up.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Tests run side by side, one process per core with one thread each: threads that share cores with others wait.
CORES := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
NUMERICAL := tests/evaluation tests/testing tests/compat $(wildcard plugins/pneumo-export/tests plugins/*/tests/test_conformance.py)
REQUIREMENTS := plugins/requirements.txt pyproject.toml $(wildcard plugins/*/pyproject.toml)

.PHONY: help demo test slow portable check docs docs-fast pages install lock release-check clean

help:  ## Show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed  ## Train the report's CNN on synthetic radiographs and say where the report is
	$(BIN)/pneumo run cnn --preset quick --dataset phantom

test: $(VENV)/.installed-tests  ## Run the tests, except the slow ones
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(CORES) --dist loadscope -m "not slow"

slow: $(VENV)/.installed-tests  ## Run the slow tests: packages that are installed anew, examples, many images
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(CORES) --dist loadscope -m slow

portable: $(VENV)/.installed-tests  ## Run the tests that compare numbers, computed as an older processor computes them
	ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=AVX2 OMP_NUM_THREADS=1 \
		$(BIN)/python -m pytest --numprocesses $(CORES) --dist loadscope $(NUMERICAL)

check: $(VENV)/.installed-tests  ## Run the linters and the type checker
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

SITE := $(BIN)/python -m sphinx -W --keep-going -n -q -b html -d docs/_build/doctrees docs docs/_build/html

docs: $(VENV)/.installed-tests  ## Build the documentation into docs/_build/html; its notebooks run unless they ran before
	$(SITE)
	@echo "docs/_build/html/index.html"

docs-fast: $(VENV)/.installed-tests  ## The same without running the notebooks
	PNEUMO_DOCS_NOTEBOOKS=off $(SITE)
	@echo "docs/_build/html/index.html"

pages: $(VENV)/.installed-tests  ## Write anew the pages that are made from the code and committed
	PYTHONPATH=docs/_ext $(BIN)/python -m pneumo_docs.objects_page > docs/objects.md
	PYTHONPATH=docs/_ext $(BIN)/python -m pneumo_docs.report_page > docs/report-json.md
	$(BIN)/python -m tools.results_page > docs/results.md

install: $(VENV)/.installed  ## Make .venv with pneumo and the bundled plugins, editable; LOCKED=1: in the versions of requirements.lock

lock: $(VENV)/.installed-tests  ## Renew requirements.lock: the versions that are installed here, for every platform
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/python -m tools.lock

release-check: $(VENV)/.installed-tests docs  ## Check versions, lists, builds, and an installation from wheels in another folder
	$(BIN)/python -m tools.release_check

clean:  ## Remove .venv and caches; runs stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis docs/_build docs/reference docs/project

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "pneumo needs Python 3.11 or newer; name one with: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# Most of it is PyTorch with its CUDA libraries. pip's own words for a full disk do not say how much would do.
NEEDS := pneumo: the installation failed. It needs about 9 GB free: 6 in $(VENV), the rest for a while in the folder for temporary files
FAILED := { df -Ph . "$${TMPDIR:-/tmp}" >&2; echo "$(NEEDS)." >&2; exit 1; }

# The newest versions that the pyproject.toml files allow, or those of the lock.
PIP := $(BIN)/python -m pip install --quiet
INSTALL := $(if $(LOCKED),$(PIP) --require-hashes -r requirements.lock && $(PIP) --no-deps --no-build-isolation,$(PIP))

# The stamps are written last, so that an interrupted installation is taken up again.
$(VENV)/.installed: $(BIN)/python $(REQUIREMENTS)
	@echo "Installing pneumo with PyTorch into $(VENV) (once, some minutes)"
	@$(INSTALL) -r plugins/requirements.txt || $(FAILED)
	@$(BIN)/python -m compileall -q pneumo_cli $(wildcard plugins/*/pneumo_*)  # as pip does what is not editable
	@touch $@

$(VENV)/.installed-tests: $(VENV)/.installed
	@$(INSTALL) -e '.[test,check,docs]' -r plugins/requirements-trackers.txt || $(FAILED)
	@touch $@
