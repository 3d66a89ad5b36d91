# `make demo` and `make test` need Python 3.11 or newer, pip and make; nothing else.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: demo test lint install bench clean

demo: install
	$(BIN)/binder demo

test: install
	$(BIN)/python -m pytest

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: install
	$(BIN)/python benchmarks/align.py
	$(BIN)/python benchmarks/preprocess.py
	$(BIN)/python benchmarks/video.py
	$(BIN)/python benchmarks/head_only.py
	$(BIN)/python benchmarks/locked_image.py
	$(BIN)/python benchmarks/negatives.py
	$(BIN)/python benchmarks/index.py

install: $(READY)

$(READY): pyproject.toml $(wildcard plugins/*/pyproject.toml)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[playground,dev]' $(foreach p,$(wildcard plugins/*/pyproject.toml),--editable ./$(dir $(p)))
	touch $(READY)

clean:
	rm -rf $(VENV) demo
