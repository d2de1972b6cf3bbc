# The one task runner: people and CI call the same targets.
SHELL := bash
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
DATA ?= .data/sample
JOBS ?= 2

.PHONY: help run test test-all kills hostile lint types proto lock bench clean install dev

help:           ## Show the targets.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

install: $(VENV)/.installed      ## Install what the worker needs (hash-pinned).
dev: $(VENV)/.installed-dev      ## Install what the tests need as well.

$(VENV)/.installed: requirements/runtime.txt requirements/model.txt requirements/uv.txt pyproject.toml
	@PYTHON="$(PYTHON)" VENV="$(VENV)" requirements/install.sh requirements/runtime.txt requirements/model.txt
	@touch $@

$(VENV)/.installed-dev: requirements/dev.txt requirements/model.txt requirements/ranks.txt requirements/uv.txt pyproject.toml
	@PYTHON="$(PYTHON)" VENV="$(VENV)" requirements/install.sh requirements/dev.txt requirements/model.txt requirements/ranks.txt
	@touch $@ $(VENV)/.installed

run: install    ## Put the sample's conversations into a memory graph and show the result.
	@BIN="$(BIN)" DATA="$(DATA)" deploy/sample/run.sh

test: dev       ## Run the tests (all but the long ones).
	@$(BIN)/pytest -q -n $(JOBS) --dist loadscope -m "not slow"

test-all: dev   ## Run every test, the long ones (kills, fuzzing, 20,000 events) included.
	@$(BIN)/pytest -q -n $(JOBS) --dist loadscope

kills: dev      ## Kill the worker 100 times on 20,000 events (KILLS=, SEED=).
	@KILLS=$${KILLS:-100} $(BIN)/pytest -q -s tests/faults/test_kill.py

hostile: dev    ## Send 100,000 hostile events through the worker (HOSTILE=, SEED=).
	@HOSTILE=$${HOSTILE:-100000} $(BIN)/pytest -q -s tests/faults/test_hostile.py

lint: dev       ## Check style and the layers.
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports

types: dev      ## Check the types of our packages.
	@$(BIN)/mypy

proto: dev      ## Generate the gRPC code from schemas/proto/*.proto.
	@$(BIN)/python -m grpc_tools.protoc --proto_path=. --python_out=. --pyi_out=. --grpc_python_out=. schemas/proto/registry.proto

bench: dev      ## Run the benchmarks; results go to benchmarks/results/.
	@$(BIN)/python -m benchmarks

lock:           ## Resolve the dependencies anew and pin them with hashes.
	@requirements/lock.sh

clean:          ## Remove the environment and the sample's data.
	rm -rf $(VENV) .data
