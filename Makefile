# Every target does its own set-up: the first one makes .venv and installs into it, later ones find it done.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready
OUT ?= out/demo
PROMPT ?= a drumstick hits a metal object three times
GPU_PYTHON ?= 3.12

export OMP_NUM_THREADS ?= 1
export HF_HUB_OFFLINE ?= 1
export RAY_USAGE_STATS_ENABLED ?= 0

.DEFAULT_GOAL := help
.PHONY: help install clip app demo test test-ray test-plain test-fast test-gpu bench-gpu gpu-wheels docs screenshots lint types format clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1|/' | column -t -s '|'

$(READY): pyproject.toml constraints.txt
	@echo "installing into $(VENV) (two to three minutes, once)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -q -c constraints.txt -e '.[dev]'
	@touch $@

install: $(READY)  ## .venv with everything that the project needs

clip: $(READY)  ## one clip from text by the shipped model: make clip PROMPT="a drumstick hits a metal object twice"
	$(BIN)/python pipelines/generate.py --config pipelines/configs/tiny/generate.yaml --output out/clips --prompt "$(PROMPT)"

app: $(READY)  ## the web page on http://127.0.0.1:7860 with the shipped model: text to clip, video to audio
	$(BIN)/python pipelines/app.py --config pipelines/configs/tiny/app.yaml

demo: $(READY)  ## the whole way on synthetic clips: data, three stages, generation, scores, report
	$(BIN)/python pipelines/demo.py --output $(OUT)

test: lint  ## lint, then every test that needs no GPU and no pretrained weights
	$(MAKE) -j2 test-ray test-plain

test-ray: $(READY)  ## the tests that start Ray, in a process of their own
	$(BIN)/python -m pytest -m "ray and not gpu and not weights" --ignore tests/infra/launch/test_stage.py
	$(BIN)/python -m pytest tests/infra/launch/test_stage.py

test-plain: $(READY)  ## all others
	$(BIN)/python -m pytest -m "not ray and not gpu and not weights"

test-fast: $(READY)  ## in a minute on two cores: all tests but those that tests/longer_tests.txt lists
	$(BIN)/python -m pytest --fast -n 2 --dist loadfile

test-gpu: $(READY)  ## those that need a CUDA device
	$(BIN)/python -m pytest -m gpu

bench-gpu: $(READY)  ## what one GPU reaches, beside what was foretold: 8 minutes, a table and out/bench_gpu.json
	PYTHONPATH=. $(BIN)/python benchmarks/bench_gpu.py

gpu-wheels: $(READY)  ## out/wheels: what bench-gpu needs on a machine with PyTorch, transformers and no network
	$(BIN)/python -m pip download -q --no-deps --only-binary=:all: --python-version $(GPU_PYTHON) -d out/wheels \
		--platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 --platform any \
		$$($(BIN)/python -m pip list --format freeze | grep -E '^(annotated-types|diffusers|docstring_parser|ffmpeg-python|future|hjson|pydantic|pydantic_core|typeguard|typing-inspection|tyro)==')
	DS_BUILD_OPS=0 $(BIN)/python -m pip wheel -q --no-deps --no-build-isolation -w out/wheels \
		$$($(BIN)/python -m pip list --format freeze | grep '^deepspeed==')

docs: $(READY)  ## the pages as a site, out/site, with references generated from the code; a warning fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

screenshots: $(READY)  ## the pictures of docs/app.md, taken in an installed Chromium
	PYTHONPATH=. $(BIN)/python benchmarks/page_screenshots.py

lint: $(READY)  ## ruff, codespell and pyright
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/pyright

format: $(READY)  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove what the demo wrote; .venv stays
	rm -rf out
