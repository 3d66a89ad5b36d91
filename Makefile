# Python 3.11 or newer, pip and make are needed; nothing else.
PYTHON  ?= python3
VENV    ?= .venv
PLACE   ?=
BIN     := $(VENV)/bin
WRITTEN := pyproject.toml $(wildcard plugins/*/pyproject.toml)
PLUGINS := $(patsubst %/pyproject.toml,--editable ./%,$(wildcard plugins/*/pyproject.toml))
DEMO    := $(patsubst %,--editable ./plugins/%,audio video chart playground)

.PHONY: demo install test test-slow lint docs dist bench clean

demo: $(VENV)/.demo
	$(BIN)/binder demo

install: $(VENV)/.ready

test: install
	$(BIN)/python -m pytest -n auto

test-slow: install
	$(BIN)/python -m pytest -m slow

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	for tests in "tests tools" plugins/*/tests; do $(BIN)/mypy --config-file tests/mypy.ini $$tests || exit 1; done

# the pages that are made from the code, then the site in site/
docs: install
	$(BIN)/python tools/reference.py docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# with PLACE=https://... the release says itself where its files will lie
dist: install
	$(BIN)/python tools/dist.py $(PLACE)

bench: install
	for name in align preprocess video head_only locked_image negatives index; do \
		$(BIN)/python benchmarks/$$name.py || exit 1; done

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.ready: $(WRITTEN) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[exr,heic,transformers,dev]' $(PLUGINS)
	touch $(VENV)/.demo $@

$(VENV)/.demo: $(WRITTEN) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable . $(DEMO)
	touch $@

clean:
	rm -rf $(VENV) demo dist site
