# The two commands of the README are `make demo` and `make test`; `make help` lists the rest.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
PEERS := build/peers
FASHION_MNIST := /usr/share/datasets/fashion-mnist
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Where it is set, each of the many processes compiles the project again, and pytest rewrites each assertion.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo up down methods test integration sweep test-all chaos parity check bench bench-gpu docs lock clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

setup: $(READY) ## create .venv from requirements.lock

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, $(PYTHON) is older; name another with: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo "Creating .venv from requirements.lock (some minutes, 7 GB: torch comes with its GPU libraries) ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet -r requirements.lock 2> >(grep -v '^WARNING: Location' >&2)
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation -e . 2> >(grep -v '^WARNING: Location' >&2)
	@touch $@

demo: setup ## obtain Fashion-MNIST, retrain, and show the registered champion
	@infra/fashion-mnist.sh $(FASHION_MNIST)
	@$(BIN)/cl retrain --recipe infra/recipes/simclr-fashion.json

up: setup ## run Prefect, MLflow and a worker with the deployments of infra/prefect.yaml, until Ctrl-C
	@infra/fashion-mnist.sh $(FASHION_MNIST)
	@$(BIN)/cl up

down: setup ## end what `make up` runs
	@$(BIN)/cl down

methods: setup ## retrain the recipes of Fashion-MNIST, WordNet and emoji that are not up to date, and write infra/methods*.md (about an hour)
	@infra/fashion-mnist.sh $(FASHION_MNIST)
	@for recipe in infra/recipes/*-fashion*.json infra/recipes/*-wordnet-*.json infra/recipes/*-emoji.json; do $(BIN)/cl retrain --recipe $$recipe || exit 1; done
	@$(BIN)/cl compare infra/recipes/*-fashion.json --table infra/methods.md
	@$(BIN)/cl compare infra/recipes/*-fashion-vectors.json --table infra/methods-vectors.md
	@$(BIN)/cl compare infra/recipes/*-wordnet-pairs.json --table infra/methods-text-pairs.md
	@$(BIN)/cl compare infra/recipes/*-wordnet-glosses.json --table infra/methods-texts.md
	@$(BIN)/cl compare infra/recipes/*-emoji.json --table infra/methods-captions.md

test: setup ## unit tests, contracts and one real retraining (under five minutes on two cores)
	@$(BIN)/pytest

# More processes than cores: these tests spend much of their time waiting.
integration: setup ## servers, browser, PostgreSQL, schedules and faults, after installing what they use of Debian
	@infra/debian-packages.sh
	@$(BIN)/pytest --integration -m "integration and not sweep" --numprocesses 3

sweep: setup ## what is too long for every commit: faults everywhere, fetching in a new environment
	@infra/debian-packages.sh
	@$(BIN)/pytest --sweep -m "sweep and not whole" --numprocesses 3

test-all: test integration sweep ## all tests: the sweep too, and `make chaos` at every place (about an hour more)
	@$(BIN)/pytest --sweep -m whole --numprocesses 3

check: setup ## format, lint, types and import rules
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

chaos: setup ## kill deployed retrainings at every failpoint and compare their results; ARGS='--points register.locked --kills 0'
	@cd tests && PYTHONPATH=$(CURDIR):$(CURDIR)/tests ../$(BIN)/python -m chaos $(ARGS)

parity: setup ## compare losses and methods with reference libraries, and write docs/reference/parity.md
	@PYTHONPATH=$(CURDIR):$(CURDIR)/tests $(BIN)/python -m parity docs/reference/parity.md

# Each block is a file of tests/benchmarks. A void one does not keep the others from being measured. Threads that wait
# do not spin, as in every command.
BLOCK ?= cold_start demo orchestration resume read views step feed epoch texts loss evaluation ingest growth
ARGS_feed ?= --steps 3 infra/recipes/simclr-fashion.json

bench: setup $(PEERS)/.ready ## measure this project beside other libraries; BLOCK=views measures one part
	@$(foreach block,$(BLOCK),PYTHONPATH=$(CURDIR)/$(PEERS) OMP_WAIT_POLICY=PASSIVE $(BIN)/python tests/benchmarks/$(block).py $(ARGS_$(block)) || failed=1;) exit $$failed

bench-gpu: setup ## the same for a GPU; ARGS='--cifar10 FOLDER' trains on CIFAR-10; tests/benchmarks/gpu.py says what a bare machine needs
	@OMP_WAIT_POLICY=PASSIVE $(BIN)/python tests/benchmarks/gpu.py $(ARGS)

# Libraries that are only compared with, beside those of .venv.
$(PEERS)/.ready: tests/benchmarks/requirements.lock $(READY)
	@rm -rf $(PEERS)
	@$(BIN)/pip install --quiet --no-deps --target $(PEERS) -r $<
	@touch $@

docs: setup ## build the documentation into build/site, links checked; nothing in it loads from the network
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --config-file infra/mkdocs.yml
	@! grep -rnE --include='*.html' '<(script|link|img|iframe)[^>]+(src|href)="?(https?:)?//' build/site
	@echo "Open build/site/index.html; its search needs a server: python3 -m http.server --directory build/site"

lock: ## write requirements.lock anew from pyproject.toml (needs uv)
	@uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --no-annotate --no-header -o requirements.lock --upgrade

clean: ## remove .venv and what the demo made; CL_HOME elsewhere is left alone
	@rm -rf .venv .counterpoint *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
