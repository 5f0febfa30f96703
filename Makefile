# make demo   train LeNet-5 on handwritten digits and show the backends side by side
# make test   prove every backend against torch; PYTEST="-k pool" chooses
# make test-long   the long sweeps: fuzzing, torch's own samples, the simulated GPU, kill tests
# make check  formatting, lint and types
# make bench  hold the contest of backends and write its report; BENCH="--set smoke" chooses, see fastconv bench run --help
# make gpu    on an NVIDIA GPU: test and time the backend `cuda` against cuDNN; GPU="--quick" chooses, see
#             fastconv bench gpu --help; CUDA=12 where nvidia-smi shows a driver for CUDA 12
#
# Each makes .venv and installs what it needs there; a second call does its job at once.
# PYTHON names the interpreter, 3.11 or newer.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := fastconv bench models tests
BENCH ?= --set mnist
CUDA ?= 13

.PHONY: demo test test-long check bench gpu clean

demo: $(VENV)/.train
	$(BIN)/fastconv models demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not long" --numprocesses auto --maxprocesses 8 $(PYTEST)

test-long: $(VENV)/.dev
	$(BIN)/python -m pytest -m long --numprocesses auto --maxprocesses 8 $(PYTEST)

check: $(VENV)/.dev
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy

bench: $(VENV)/.bench
	$(BIN)/fastconv bench run $(BENCH) --out bench/results/latest.json
	$(BIN)/fastconv bench report bench/results/latest.json --out bench/report-out

gpu: $(VENV)/.gpu$(CUDA)
	$(BIN)/fastconv bench gpu $(GPU)

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit( \
	    f"fastconv needs Python 3.11 or newer, and $(PYTHON) is {v[0]}.{v[1]}: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

# One stamp for each set of packages, newer than what it was made from.
$(VENV)/.train $(VENV)/.bench $(VENV)/.dev: $(VENV)/.%: pyproject.toml constraints.txt | $(VENV)/.made
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$*]'
	@touch $@

# torch as it is usually found is built for CUDA 13: for 12, PIP_EXTRA_INDEX_URL names where its builds for 12 are.
$(VENV)/.gpu12 $(VENV)/.gpu13: $(VENV)/.gpu%: pyproject.toml constraints.txt | $(VENV)/.made
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test,cuda$*]'
	@touch $@
