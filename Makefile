# Thin on purpose: every target calls the real tool, configured in pyproject.toml.
# Needs Python 3.11 to 3.14 with venv; what else there is to install goes to .venv.

# The first Python that fits; say PYTHON=/path/to/python to choose another.
PYTHON ?= $(or $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null && echo $$python && break; done),python3)
COMPILE = .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header --no-annotate --upgrade pyproject.toml

.PHONY: help demo test lint fuzz bench schema lock clean venv

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' $(MAKEFILE_LIST)

demo: venv  ## stream 20,000 order events through two warm scripts, then bill customers with a flow
	.venv/bin/python -m examples.demo

test: venv  ## all tests; TEST="tests/store -k claim" for some
	.venv/bin/pytest $(TEST)

lint: venv  ## ruff, mypy --strict, import-linter
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo

fuzz: venv  ## thousands of odd requests to every route of the API; EXAMPLES=5000 for more
	MILL_TEST_FUZZ=$(or $(EXAMPLES),500) .venv/bin/pytest tests/api/test_schemathesis.py --timeout 7200

bench: venv  ## every bench, three runs each; BENCH="drain --json f.json" for one
	.venv/bin/python -m bench $(or $(BENCH),all)

schema: venv  ## write migrations/schema.sql as the migrations make it
	.venv/bin/python -m mill_actors.store.schema

lock: venv  ## newest allowed versions into the lock files
	.venv/bin/python -m pip install --quiet uv
	$(COMPILE) --output-file requirements.lock
	$(COMPILE) --group dev --output-file requirements-dev.lock

clean:  ## remove what the other targets made, the embedded database with it
	[ ! -L .mill/postgres/data ] || rm -rf "$$(dirname "$$(readlink .mill/postgres/data)")"
	rm -rf .venv .venv.lock .mill .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

venv:
	@$(PYTHON) .ci/venv
