# Two commands do everything on a fresh machine: `make lab` and `make test`. Both can be run again after an interruption.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
INVENTORY := inventories/lab
# The newest there is; pyenv's are not on the PATH.
PYTHON ?= $(shell for p in python3.14 python3.13 $$(ls -d $$HOME/.pyenv/versions/3.1[2-9]*/bin/python 2>/dev/null | sort -rV) python3.12 python3; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && { command -v $$p; break; }; done)
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Ansible's own temporary files and output look the same on every machine.
export ANSIBLE_FORCE_COLOR ?= 0
export PY_COLORS ?= 0

# $(call step,NAME,COMMAND): say what runs, run it, say how long it took.
step = @echo "==> $(1)"; begin=$$(date +%s); { $(2); } || { echo "==> $(1): FAILED after $$(( $$(date +%s) - begin )) s" >&2; exit 1; }; echo "==> $(1): $$(( $$(date +%s) - begin )) s"

help: ## What can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

# ---- the lab ----
lab: $(VENV)/.ready ## Three nodes, the cluster, two demo courses and a demo LMS on this machine
	@lab/lab up
	$(call step,site.yml on the lab,ansible-playbook -i $(INVENTORY) site.yml)
	$(call step,demo LMS,ansible-playbook -i $(INVENTORY) lab/lms.yml)

lab-status: ## What of the lab is up
	@lab/lab status

lab-down: ## Remove the lab and put the machine's settings back
	@lab/lab down

# ---- tests ----
# What takes too long for CI has the marker `full`; the marker `short` has its short form, where there is one.
MARKERS := not full
test-full: MARKERS := not short
# Runs on bare nodes that are killed before the lab is brought up.
KILLS := 1
test-full: KILLS := 3
# The lab of a machine with internet.
test-full: MORE := lab-upstream

test: ## Everything, as CI runs it (the lab's nodes are made anew)
test-full: ## As test, and what takes too long for CI
# The tests' nodes have what is built here, and no outside.
test test-full e2e bare-lab bench: export LAB_SOURCE := build
# What the lab needs is built meanwhile, with the time that the other tests leave.
test test-full: $(VENV)/.ready test-tools
	@mkdir -p build; nice -n 19 lab/lab build >build/lab.log 2>&1 & build=$$!; trap 'kill $$build 2>/dev/null || :' EXIT; \
	$(MAKE) --no-print-directory MARKERS='$(MARKERS)' KILLS=$(KILLS) lint unit ansible-cores sanity e2e $(MORE)

lint: $(VENV)/.ready ## ansible-lint, yamllint, ruff, mypy, shellcheck, changelog
	$(call step,yamllint,yamllint .)
	$(call step,ruff,ruff check . && ruff format --check .)
	$(call step,mypy,tests/mypy)
	$(call step,shellcheck,git ls-files -z lab tests .ci | xargs -0 grep -lZE '^#!(/usr/bin/env bash|/bin/bash|/bin/sh)' | xargs -0 shellcheck -x)
	$(call step,ansible-lint,ansible-lint)
	$(call step,changelog fragments,antsibull-changelog lint)

# The oldest release that meta/runtime.yml takes, and the last one before that of requirements-dev.txt.
ANSIBLE_CORES := 2.19.0 2.20.10
ansible-cores: $(VENV)/.ready test-tools ## Unit tests of the plugins under the other releases of ansible-core
	$(call step,unit tests under ansible-core $(ANSIBLE_CORES),$(foreach version,$(ANSIBLE_CORES),tests/ansible_core $(version) &&) true)

unit: $(VENV)/.ready test-tools ## Unit and chart tests
	$(call step,unit tests,pytest -q -n logical --dist loadfile --durations 25 --durations-min 3 tests/unit -m "$(MARKERS)")

sanity: $(VENV)/.ready ## ansible-test sanity and the docs build, on a copy of what git tracks
	$(call step,ansible-test sanity and docs,tests/sanity/run)

e2e: bare-lab ## The lab end to end: check, kill, apply, apply, check, then launches and the rest
	$(call step,molecule,E2E_MARKERS='$(MARKERS)' INTERRUPT_KILLS=$(KILLS) molecule test --destroy never)

lab-upstream: $(VENV)/.ready test-tools ## The lab with LAB_SOURCE=upstream, from bare nodes to courses, where a container plays the internet
	$(call step,lab with LAB_SOURCE=upstream,tests/lab_upstream)

test-tools:
	@{ command -v chromium && command -v chromedriver && command -v buildah && command -v skopeo && command -v nft && command -v iptables; } >/dev/null || \
	  { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium chromium-driver buildah skopeo nftables iptables >/dev/null; }

bare-lab: $(VENV)/.ready test-tools
	@lab/lab mirror
	@lab/lab destroy-nodes
	@lab/lab nodes

bench: $(VENV)/.ready ## Benchmarks, each beside what it is compared to
	@tests/bench/run

docs: $(VENV)/.ready ## README.md of each role and of the chart
	@python tests/readmes.py

# ---- tools ----
$(VENV)/.ready: requirements-dev.txt
	@test -n "$(PYTHON)" || { echo "Python 3.12 or newer is needed, none was found; set PYTHON=/path/to/python3.13" >&2; exit 1; }
	$(call step,Python environment,$(PYTHON) -m venv $(VENV) && $(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.txt && touch $@)

# With the oldest Python that is supported: what it can install, the newer ones can.
requirements: $(VENV)/.ready ## Lock requirements-dev.in anew (run it with Python 3.12)
	@pip-compile -q --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-options -o requirements-dev.txt requirements-dev.in

clean: ## Remove what was built in the checkout (the lab stays)
	@rm -rf build $(VENV) .ansible .mypy_cache .ruff_cache .pytest_cache tests/output

.PHONY: help lab lab-status lab-down test test-full lint unit ansible-cores sanity e2e lab-upstream test-tools bare-lab bench docs requirements clean
