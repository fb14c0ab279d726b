# Every task. Each works from a bare clone: the first one that needs it makes .venv and installs the package there.
PYTHON ?= python3
VENV   := .venv/.ready
RUN    := .venv/bin/python
SRC    ?= demo/surprise.png
TGT    ?= $(shell $(RUN) -c 'from fetfast import assets; print(assets.path("astronaut.png"))')

.PHONY: help demo test lint parity bench clean

help:            ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(VENV): pyproject.toml setup.py $(wildcard csrc/*)
	test -x $(RUN) || $(PYTHON) -m venv .venv
	$(RUN) -m pip install --quiet --editable '.[dev,judges,video]'
	touch $@

demo: $(VENV)    ## an expression onto a real photo: out/demo.png (SRC=… TGT=… take yours)
	mkdir -p out
	.venv/bin/fetfast transfer '$(SRC)' "$(TGT)" -o out/demo.png --sheet

test: $(VENV)    ## the whole test suite
	$(RUN) -m pytest

lint: $(VENV)    ## ruff and mypy
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

clean:           ## removes what the other tasks made
	rm -rf .venv .venv-* out build dist *.egg-info
