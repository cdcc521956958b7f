# The tasks of the house. `make` prints them.
# Everything runs from .venv; `make setup` makes it.

BIN := .venv/bin
# Those that drive the pure core in their own process: what runs in another one is not measured.
DRIVES_CORE := $(addprefix tests/,counter tracker loadtest properties conformance simulation)

.DEFAULT_GOAL := help
.PHONY: help setup native test check fmt bench coverage soak sanitize docs

help:  ## print this list
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

setup:  ## make .venv and install the project with its tools
	python3 -m venv .venv
	$(BIN)/pip install -e '.[dev]'

native:  ## compile the native modules anew (`make setup` did it once)
	$(BIN)/python -m tracker.native.build && $(BIN)/counter --version

test:  ## run the tests
	$(BIN)/pytest

check:  ## format, lint, types, layers: what CI checks before the tests
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt:  ## format, and mend what ruff can mend by itself
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench:  ## run the benchmarks; prints floors, goals and what was measured, with the machine
	$(BIN)/python -m benchmarks

coverage:  ## branch coverage of the pure core, on all cores; below 100 % it fails
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n auto --dist worksteal --timeout 600 $(DRIVES_CORE)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

soak:  ## run the tests that take minutes
	$(BIN)/pytest -m soak --timeout 1800

sanitize:  ## run the tests of the native modules with the compiler's sanitizers; takes many minutes
	.ci/sanitize

docs:  ## write the generated files in docs/ and the recorded scenarios anew; review the diff
	$(BIN)/pytest --record
