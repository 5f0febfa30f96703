# make demo   train LeNet-5 on handwritten digits and show the backends side by side
# make test   prove every backend against torch; PYTEST="-k pool" chooses
# make test-long   the long sweeps: fuzzing, torch's own samples, the simulated GPU, kill tests
# make check  formatting, lint and types
# make bench  hold the contest of backends and write its report; BENCH="--set smoke" chooses, see fastconv bench run --help
# make gpu    on an NVIDIA GPU: test and time the backend `cuda` against cuDNN; GPU="--quick" chooses, see
#             fastconv bench gpu --help; CUDA=12 where nvidia-smi shows a driver for CUDA 12
#
# make docs   build the documentation site into site/; make docs-serve shows it at http://127.0.0.1:8000
# make package   build the wheel and the sdist into dist/, and try the wheel in an environment of its own
# make oldest, make newest   the core tests with the oldest, or the newest, numpy, numba and torch that are allowed
#
# Each makes .venv and installs what it needs there; a second call does its job at once.
# PYTHON names the interpreter, 3.11 or newer.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := fastconv bench models tests .ci
BENCH ?= --set mnist
CORE := tests/test_functions.py tests/test_geometry.py tests/test_layouts.py tests/test_registry.py \
    tests/test_explaining.py tests/torch/test_operators.py tests/torch/test_convert.py
PIP := python -m pip install --quiet --disable-pip-version-check
CUDA ?= 13

.PHONY: demo test test-long check bench gpu docs docs-serve package oldest newest clean

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

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open site/index.html in a browser, or: make docs-serve"

docs-serve: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

# The wheel is tried from another folder: what it lacks must not come from the checkout.
package: $(VENV)/.docs
	rm -rf dist build/try
	$(BIN)/fastconv warmup --bundle
	$(BIN)/pyproject-build --outdir dist .
	$(PYTHON) -m venv build/try
	build/try/bin/$(PIP) --constraint constraints.txt dist/*.whl
	cd build && try/bin/fastconv info && try/bin/fastconv ladder --rung 05 --seconds 0.05 --out try/ladder

oldest newest: $(VENV)/.made
	$(PYTHON) -m venv $(VENV)-$@
	$(VENV)-$@/bin/$(PIP) --upgrade $$($(BIN)/python .ci/bounds.py $@) expecttest greenlet hypothesis pytest --editable .
	$(VENV)-$@/bin/python -m pytest -m "not long" $(CORE)

clean:
	rm -rf $(VENV) $(VENV)-oldest $(VENV)-newest build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit( \
	    f"fastconv needs Python 3.11 or newer, and $(PYTHON) is {v[0]}.{v[1]}: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

# Kernels are compiled beside pip's work. Without them the demo works, too: only pip's exit status counts.
$(VENV)/.train: pyproject.toml constraints.txt | $(VENV)/.made
	$(BIN)/$(PIP) --constraint constraints.txt --editable .
	@echo "compiling the demo's kernels, and installing torch and what else training needs ..."
	@$(BIN)/python .ci/demo_kernels.py & compiling=$$!; \
	    $(BIN)/$(PIP) --constraint constraints.txt --editable '.[train]'; installed=$$?; \
	    wait $$compiling; exit $$installed
	@touch $@

# One stamp for each set of packages, newer than what it was made from.
$(VENV)/.bench $(VENV)/.dev $(VENV)/.docs: $(VENV)/.%: pyproject.toml constraints.txt | $(VENV)/.made
	$(BIN)/$(PIP) --constraint constraints.txt --editable '.[$*]'
	@touch $@

# torch as it is usually found is built for CUDA 13: for 12, PIP_EXTRA_INDEX_URL names where its builds for 12 are.
$(VENV)/.gpu12 $(VENV)/.gpu13: $(VENV)/.gpu%: pyproject.toml constraints.txt | $(VENV)/.made
	$(BIN)/$(PIP) --constraint constraints.txt --editable '.[test,cuda$*]'
	@touch $@
