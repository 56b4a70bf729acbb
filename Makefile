# The two commands of the README, and what stands behind them. Each target does its own set-up.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Tests run side by side, one process per core with one thread each: threads that share cores with others wait.
CORES := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
NUMERICAL := tests/evaluation tests/testing tests/compat $(wildcard plugins/pneumo-export/tests plugins/*/tests/test_conformance.py)
REQUIREMENTS := plugins/requirements.txt pyproject.toml $(wildcard plugins/*/pyproject.toml)

.PHONY: help demo test slow portable check install clean

help:  ## Show this list
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

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

install: $(VENV)/.installed  ## Make .venv with pneumo and the bundled plugins, editable

clean:  ## Remove .venv and caches; runs stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "pneumo needs Python 3.11 or newer; name one with: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# Most of it is PyTorch with its CUDA libraries. pip's own words for a full disk do not say how much would do.
NEEDS := pneumo: the installation failed. It needs about 9 GB free: 6 in $(VENV), the rest for a while in the folder for temporary files
FAILED := { df -Ph . "$${TMPDIR:-/tmp}" >&2; echo "$(NEEDS)." >&2; exit 1; }

# The stamps are written last, so that an interrupted installation is taken up again.
$(VENV)/.installed: $(BIN)/python $(REQUIREMENTS)
	@echo "Installing pneumo with PyTorch into $(VENV) (once, some minutes)"
	@$(BIN)/python -m pip install --quiet -r plugins/requirements.txt || $(FAILED)
	@$(BIN)/python -m compileall -q pneumo_cli $(wildcard plugins/*/pneumo_*)  # as pip does what is not editable
	@touch $@

$(VENV)/.installed-tests: $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet -e '.[test,check]' -r plugins/requirements-trackers.txt || $(FAILED)
	@touch $@
