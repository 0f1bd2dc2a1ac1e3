# SPDX-License-Identifier: Apache-2.0
# `make help` lists what there is. The targets set up what they need.
#
#   PYTHON=python3.12       interpreter for the virtual environment
#   PTIO_TORCH_INDEX=URL    package index to take torch from (its CPU build is much smaller)
#   REQUIRE_TORCH=1         fail where tests would be skipped because torch is missing
#   PYTEST_ARGS="-k zip"    extra arguments for pytest
#   PYTEST_WORKERS=1        processes that run the Python tests; as many as CPUs if not given
#   TARGET=pickle TIME=60   what to fuzz (see tests/fuzz/README.md), for how many seconds

PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?=
PYTEST_WORKERS ?= logical
TARGET ?= all
TIME ?= 10
SANITIZER ?= address
CASES ?= 100000
LOOPS ?= 1000
PYTEST_PARALLEL = -n $(PYTEST_WORKERS) --maxprocesses 8 --dist worksteal
export PTIO_TORCH_INDEX REQUIRE_TORCH

PY := $(VENV)/bin/python
PACKAGING := setup.py pyproject.toml
C_SOURCES := $(shell find csrc -name '*.[ch]' -o -name '*.def')

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-large ctest coverage check-removal asan fuzz fuzz-replay
.PHONY: differential sweep leaks machines lint analyze bench dist clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.built $(VENV)/.tests ## virtual environment, C libraries, the package, what the tests need

demo: $(VENV)/.built ## load a checkpoint of a real training run, without torch
	@$(PY) demo/show.py

test: ctest $(VENV)/.built $(VENV)/.tests ## the C tests and the Python tests
	@tools/torch_for_tests.sh check $(PY)
	$(PY) -m pytest $(PYTEST_PARALLEL) $(PYTEST_ARGS)

test-large: $(VENV)/.built $(VENV)/.tests ## files beyond 4 GiB, a million tensors: minutes, 10 GiB of disk
	$(PY) -m pytest $(PYTEST_ARGS) tests/large/*.py

ctest: $(VENV)/.system ## the tests of the C core alone: no Python, plain cc
	tests/c/run.sh

check-removal: $(VENV)/.system ## each check of the core off in turn: a test must fail each time
	CHECK_REMOVAL=1 PYTHON=$(PYTHON) tests/c/run.sh

coverage: $(VENV)/.system ## lines and branches of the core that its tests run; fails where a line never does
	COVERAGE=1 PYTHON=$(PYTHON) tests/c/run.sh

asan: $(VENV)/.built $(VENV)/.tests ## both suites under AddressSanitizer and UndefinedBehaviorSanitizer
	tools/asan.sh $(PY) $(PYTEST_PARALLEL) $(PYTEST_ARGS)

fuzz: $(VENV)/.clang $(VENV)/.built ## fuzz one target, or all: make fuzz TARGET=pickle TIME=60 [SANITIZER=memory]
	$(PY) tests/fuzz/fuzz.py --sanitizer $(SANITIZER) --rebuild run $(TARGET) $(TIME)

fuzz-replay: $(VENV)/.clang $(VENV)/.built ## every stored fuzzing input once, under two sanitizers
	$(PY) tests/fuzz/fuzz.py --sanitizer address replay
	$(PY) tests/fuzz/fuzz.py --sanitizer memory replay

differential: $(VENV)/.built $(VENV)/.tests ## pickles beside the unpicklers of Python and torch: CASES=100000
	PYTHONPATH=tests $(PY) -m differential --cases $(CASES) --processes 2

sweep: $(VENV)/.built $(VENV)/.tests ## every changed byte of small files: an hour; totals in tests/sweeps/log.tsv
	cd tests && $(abspath $(PY)) -m sweeps
	PTIO_SWEEP=1 $(PY) -m pytest -q tests/test_hostile_rewrites.py tests/test_damaged_bytes.py

leaks: $(VENV)/.built $(VENV)/.tests ## every hostile file many times over: LOOPS=1000
	LOOPS=$(LOOPS) $(PY) tests/leaks/repeat.py
	PTIO_SWEEP=1 $(PY) -m pytest tests/test_allocation_failures.py

machines: ## the C tests with 32 bits, and on a big-endian machine
	tools/other_machines.sh

lint: $(VENV)/.built $(VENV)/.lint ## style, types, and the rules of the C sources
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/clang-format --dry-run -Werror csrc/*/*.[ch]
	$(PY) tools/check_layers.py
	tests/c/check_ids.sh

analyze: $(VENV)/.built $(VENV)/.analyze ## static analysis of the C sources: gcc -fanalyzer and clang-tidy
	tools/analyze.sh gcc $(PY)
	CLANG_TIDY=$(VENV)/bin/clang-tidy tools/analyze.sh clang-tidy $(PY)

bench: $(VENV)/.built $(VENV)/.bench ## time and memory beside the other tools
	$(PY) -m benchmarks

dist: $(VENV)/.built ## source distribution and wheel, in dist/
	$(VENV)/bin/pip -q install build
	$(PY) -m build --no-isolation --outdir dist

clean: ## everything that was made here, the virtual environments too
	rm -rf $(VENV) $(VENV)-* build dist python/ptio.egg-info python/ptio/_core.*.so
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Each stamp is a step of the set-up that has been done.

$(VENV)/.system: tools/system_packages.sh
	tools/system_packages.sh $(PYTHON)
	@mkdir -p $(VENV) && touch $@

$(VENV)/.clang: | $(VENV)/.system
	tools/system_packages.sh $(PYTHON) fuzz
	@touch $@

$(VENV)/.python: | $(VENV)/.system
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip -q install --upgrade pip "setuptools>=77" "numpy>=2.0"
	@touch $@

$(VENV)/.built: $(PACKAGING) $(C_SOURCES) | $(VENV)/.python
	$(VENV)/bin/pip -q install --no-build-isolation --editable .
	@touch $@

# "ptio[...]" is installed by now: these add only what its extras name.

$(VENV)/.tests: pyproject.toml | $(VENV)/.built
	$(VENV)/bin/pip -q install "ptio[test]"
	tools/torch_for_tests.sh install $(PY)
	@$(PY) -c "import torch" 2>/dev/null && $(VENV)/bin/pip -q install "ptio[test-remote,test-formats]" || \
	  echo "the tests of remote storage and of SARIF are skipped: what they need cannot be installed"
	@touch $@

$(VENV)/.lint: pyproject.toml | $(VENV)/.built
	$(VENV)/bin/pip -q install "ptio[lint]"
	@touch $@

$(VENV)/.analyze: pyproject.toml | $(VENV)/.built
	$(VENV)/bin/pip -q install "ptio[analyze]"
	@touch $@

$(VENV)/.bench: pyproject.toml | $(VENV)/.tests
	$(VENV)/bin/pip -q install "ptio[bench]" || \
	  echo "some of the other tools cannot be installed: the benchmarks leave them out"
	@touch $@
