# Every task. Each works from a bare clone: the first one that needs it makes .venv and installs the package there.
PYTHON ?= python3
BASE   := .venv/.base
VENV   := .venv/.ready
RUN    := .venv/bin/python
DATA   ?= $(or $(FETFAST_DATA),../shared/data)
SRC    ?= demo/surprise.png
TGT    ?= $(shell $(RUN) -c 'from fetfast import assets; print(assets.path("astronaut.png"))')

.PHONY: help demo test faults soak lint parity sheet picture bench bench-check bench-frame bench-start gpu gpu-sanitize gpu-dry aot clean

help:            ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# Two steps: what the package needs to run (about 350 MB), and all that its tests, suites and training need (3.6 GB).
$(BASE): pyproject.toml setup.py $(wildcard csrc/*)
	test -x $(RUN) || $(PYTHON) -m venv .venv
	@echo "fetfast and what it needs go into .venv: about 350 MB, half a minute"
	$(RUN) -m pip install --editable .
	touch $@

$(VENV): $(BASE)
	@echo "what the tests and suites need goes into .venv too: 3.6 GB, some minutes"
	$(RUN) -m pip install --quiet --editable '.[dev,judges,video]'
	touch $@

demo: $(BASE)    ## an expression onto a real photo: out/demo.png (SRC=… TGT=… take yours)
	mkdir -p out
	.venv/bin/fetfast transfer '$(SRC)' "$(TGT)" -o out/demo.png --sheet

test: $(VENV)    ## the whole test suite, on two cores
	$(RUN) -m pytest -n 2

faults: $(VENV)  ## puts each known fault into the code by hand: a test must fail
	$(RUN) tests/faults.py

soak: $(VENV)    ## 20,000 frames: memory stays flat; 4 processes of 4 threads of 100 transfers: each result right
	FETFAST_SOAK=20000 $(RUN) -m pytest tests/live/test_soak.py
	FETFAST_TRANSFERS=100 $(RUN) -m pytest tests/test_threads.py

lint: $(VENV)    ## ruff and mypy
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

parity: $(VENV)  ## our face models against MediaPipe's, in an environment of its own
	test -x .venv-parity/bin/python || $(PYTHON) -m venv .venv-parity
	.venv-parity/bin/python -m pip install --quiet 'mediapipe>=1.2,<1.3' pillow
	.venv-parity/bin/python bench/parity.py dump $(DATA)/portraits out/parity.npz \
		"$$($(RUN) -c 'from fetfast import assets; print(assets.path("face_landmarker.task"))')"
	$(RUN) bench/parity.py compare $(DATA)/portraits out/parity.npz bench/results/parity.json

sheet: $(VENV)   ## 12 faces never trained on, under 6 expressions, 512 x 512: out/sheet.jpg
	mkdir -p out
	.venv/bin/fetfast sheet -o out/sheet.jpg

picture: $(VENV) ## the README's picture: the demo's faces put onto the astronaut
	.venv/bin/fetfast sheet --targets "$(TGT)" --drivers demo -o docs/images/transfer.jpg

bench: $(VENV)    ## every figure of the record, on a quiet machine: bench/results/, the tables and plots made of it
	$(RUN) bench/record.py; failed=$$?; $(RUN) bench/report.py && exit $$failed

bench-check: $(VENV)  ## what got slower, by ratio to eager, against the committed results of this class of machine
	$(RUN) bench/check.py

bench-frame: $(VENV)  ## crop, warp and paste against the same steps in OpenCV
	$(RUN) bench/bench_frame_ops.py

bench-start: $(VENV)  ## what `import fetfast` and a warm `fetfast transfer` take
	$(RUN) bench/bench_start.py

# On the GPU machine the package goes into the Python that has torch. Two calls, each ended by its own clock.
CALL ?= 1
gpu:             ## on a GPU, in under 270 s: checks, ceilings, networks, frames, tests (CALL=2: torch.compile, tuning)
	export FETFAST_CACHE=$${FETFAST_CACHE:-$(CURDIR)/out/cache}; timeout --kill-after=4 265 sh -c '\
		$(PYTHON) -m pip install --quiet --no-deps --no-build-isolation --editable . && \
		$(PYTHON) bench/gpu.py $(CALL) --out $(or $(OUT),out)'

gpu-sanitize:    ## compute-sanitizer's memcheck and racecheck over the kernels' small cases
	$(PYTHON) bench/gpu.py --sanitize --out $(or $(OUT),out)

TRITON ?= 3.6.0
aot:             ## the kernels compiled for six architectures under another Triton (TRITON=3.6.0)
	test -x .venv-triton$(TRITON)/bin/python || $(PYTHON) -m venv .venv-triton$(TRITON)
	.venv-triton$(TRITON)/bin/python -m pip install --quiet triton==$(TRITON) numpy setuptools 'torch>=2.11,<2.14'
	.venv-triton$(TRITON)/bin/python tests/kernels/aot.py

gpu-dry: $(VENV) ## both calls of `make gpu` without a GPU: the same rows, in the interpreter, at tiny shapes
	$(RUN) bench/gpu.py 1 --dry
	$(RUN) bench/gpu.py 2 --dry

clean:           ## removes what the other tasks made
	rm -rf .venv .venv-* out build dist *.egg-info
