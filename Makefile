# `make shell`, `make test`, `make demo`: each sets .venv up by itself first (.ci/venv).
# Needs GNU make 3.81 or newer, git, and CPython 3.11 or newer.
#
#   PYTHON=/path/to/python   the interpreter for .venv, else the first fitting one on PATH
#   ARGS="--shell zsh"       what `make shell` hands to `devtrace shell`
#   TESTS=tests/store        what `make test` hands to pytest
#   JOBS=1                   in how many processes pytest runs
#   BENCH="--quick"          what `make bench` hands to the benchmarks
#   CLIENTS=all              which coding agents `make clients` installs for the tests; mcp: its peers
#
# stdout belongs to the command that was asked for, and stdin too: setting up talks on stderr and reads
# nothing, so that `make shell < script` works from the first time on.

PYTHON ?=
ARGS ?=
TESTS ?= tests
JOBS ?= 3
BENCH ?=
CLIENTS ?= claude-code codex mcp
BIN := .venv/bin
# make's own variables would reach the commands in the traced shell, the user's make first of all.
AS_TYPED := unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES MAKE_TERMOUT MAKE_TERMERR PYTHON;

.PHONY: help shell demo test lint coverage bench docs clients clean venv dev
.DEFAULT_GOAL := help
.NOTPARALLEL:
.SILENT:

help:
	echo 'make shell     open a shell whose commands DevTrace records (also: make shell < script)'
	echo 'make demo      play a small session in a temporary directory and show its timeline'
	echo 'make test      the whole gate: format, lint, types, laws, hooks, tests'
	echo 'make lint      the gate without the tests'
	echo 'make coverage  the tests, and the lines they do not reach'
	echo 'make bench     side by side with peers, as ratios'
	echo 'make docs      write docs/reference/ from the code'
	echo 'make clients   install coding agents and MCP peers that tests drive (also: make clients CLIENTS=all)'
	echo 'make clean     remove .venv, .clients and every cache; .devtrace/ stays'

shell: venv
	$(AS_TYPED) PATH="$$PATH:$(CURDIR)/$(BIN)" exec $(BIN)/devtrace shell $(ARGS)

# At each empty line of the script somebody takes a breath, as people do.
demo: venv
	$(AS_TYPED) \
	place=$$(mktemp -d) && trap 'rm -rf "$$place"' EXIT && cd "$$place" \
	&& git init -q && git config user.name Ana && git config user.email ana@example.org \
	&& git commit -q --allow-empty -m 'Open the shop' \
	&& PATH='$(CURDIR)/$(BIN)':"$$PATH" && export PATH \
	&& awk '{ print; fflush() } /^$$/ { system("sleep 0.3") }' '$(CURDIR)/examples/demo.sh' \
	| devtrace shell --shell bash && echo && devtrace show

test: lint
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(TESTS) </dev/null

lint: dev
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy --no-error-summary
	$(BIN)/lint-imports --no-cache --no-logo >.venv/laws 2>&1 || { cat .venv/laws; exit 1; }
	sh .ci/lint-shell

coverage: dev
	rm -f .coverage .coverage.*
	status=0; $(BIN)/coverage run -m pytest -q -n $(JOBS) --dist worksteal $(TESTS) </dev/null || status=$$?; \
	$(BIN)/coverage combine --quiet; $(BIN)/coverage report; exit $$status

bench: dev
	$(BIN)/python -m benchmarks $(BENCH) </dev/null

docs: dev
	$(BIN)/python docs/generate.py

clients:
	sh .ci/clients $(CLIENTS)

clean:
	rm -rf .venv .clients .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist
	rm -rf .coverage .coverage.*
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

venv:
	PYTHON='$(PYTHON)' sh .ci/venv

dev:
	PYTHON='$(PYTHON)' sh .ci/venv dev
