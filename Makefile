# Slipway: every verb. `make` alone lists them; config.mk holds what to edit.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules
SHELL := /bin/bash

BEFORE := $(.VARIABLES)
include config.mk
# All that config.mk sets reaches what the recipes call; the command line does by itself.
export $(filter-out $(BEFORE) BEFORE,$(.VARIABLES))

export VERSION := $(or $(VERSION),$(shell packaging/version))
export COMMIT := $(shell git rev-parse --short=12 HEAD 2>/dev/null)
# The commit's time, so that the same commit gives the same bytes.
export SOURCE_DATE_EPOCH := $(or $(shell git log -1 --format=%ct 2>/dev/null),1700000000)
PYTHON := .venv/bin/python
OPERATE := PYTHONPATH=scripts $(PYTHON) -m operate
PACKAGE := build/$(NAME)-server.deb
UPDATER := build/$(NAME)-autoupdate

# `checked` says what a name may be; of these make could not even name a target.
ifneq ($(NAME),$(firstword $(subst ;, ,$(subst :, ,$(subst %, ,$(NAME))))))
$(error NAME is "$(NAME)"; use 2 to 20 lower-case letters, digits and hyphens)
endif

# How the app half is built: build/$(NAME) and $(HELPERS).
include app/build.mk

# A target with a text after ## is a verb.
VERBS := $(shell sed -nE 's/^([a-z-]+):.*\#\# .*/\1/p' Makefile)
.PHONY: $(VERBS) checked FORCE

# Before anything is built, all variables and settings are looked at; it needs no .venv.
$(VERBS) .venv/.ready build/version build/settings: | checked
checked: export GOALS = $(or $(MAKECMDGOALS),help)
checked: export GIVEN = $(foreach each,$(.VARIABLES),$(if $(filter command,$(origin $(each))),$(each)))
checked:
	@PYTHONPATH=scripts /usr/bin/python3 -S -m operate.check $(MAKEFILE_LIST)

help: ## list the verbs
	@echo "usage: make VERB, with the settings of config.mk"; echo
	@sed -nE 's/^([a-z-]+):.*## (.*)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

setup: .venv/.ready ## install what the other verbs need: apt packages, a virtual environment

.venv/.ready: scripts/develop/bootstrap scripts/develop/requirements.lock
	@scripts/develop/bootstrap

build: build/$(NAME) $(UPDATER) $(HELPERS) ## 2: the executables, in build/

# Rewritten only when the version changes: what depends on it is not rebuilt otherwise.
build/version: FORCE
	@mkdir -p build
	@echo '$(VERSION)' | cmp -s - $@ || echo '$(VERSION)' > $@

# The same for what the package holds of the settings, wherever they were given.
build/settings: FORCE
	@mkdir -p build
	@{ printf '%s\n' "$$NAME" "$$BUCKET" "$$REGION" "$$MAINTAINER" && packaging/trusted-keys; } >$@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

$(UPDATER): $(shell find scripts/autoupdate scripts/handoff -type f -name '*.py') $(wildcard packaging/*.py) packaging/bundle build/version | .venv/.ready
	@echo 'builds $@'
	@$(PYTHON) packaging/bundle --name $(NAME)-autoupdate --version '$(VERSION)' --commit '$(COMMIT)' \
	  --entry autoupdate.cli:main --source scripts/autoupdate --source scripts/handoff --output $@

package: $(PACKAGE) ## 3: the .deb, build/NAME-server.deb

$(PACKAGE): build/$(NAME) $(UPDATER) $(HELPERS) build/settings $(shell find packaging upstart -type f -not -name '*.pyc')
	@echo 'builds $@'
	@packaging/deb build/$(NAME) $(UPDATER) $(HELPERS)

deploy: package ## 4: sign it and publish it in the bucket
	@$(OPERATE) deploy $(PACKAGE)

rollback: .venv/.ready ## publish an earlier version again: make rollback [TO=1.0-57]
	@$(OPERATE) rollback

releases: .venv/.ready ## what the bucket keeps, for rollback
	@$(OPERATE) releases

status: .venv/.ready ## what every machine reported, as a table
	@$(OPERATE) status

userdata: .venv/.ready ## build/user-data, which makes a new machine serve: make userdata ROLES=web
	@$(OPERATE) userdata

stack: .venv/.ready ## bucket, queue, roles and groups of machines in AWS: make stack [RENDER=1]
	@$(OPERATE) stack $(if $(RENDER),--render)

scale: .venv/.ready ## give a group N machines: make scale ROLE=web N=4
	@$(OPERATE) scale '$(ROLE)' '$(N)'

machines: .venv/.ready ## the machines of the groups, and what each serves
	@$(OPERATE) machines

demo: build ## the whole life cycle on this computer, without an AWS account
	@cd scripts && ../$(PYTHON) -m develop.demo

run: build ## web and vision in the foreground on this computer; Ctrl-C ends both
	@scripts/develop/run

# As many tests at a time as there are cores; PYTEST_ADDOPTS='-n 0' for one after another.
test: build ## all tests, lint included
	@PYTEST_ADDOPTS="-n auto --maxprocesses 4 --dist loadscope --no-loadscope-reorder $$PYTEST_ADDOPTS" \
	  $(PYTHON) -m pytest

test-boot: build ## the tests that boot real machines alone (2 minutes); they need root
	@$(PYTHON) -m pytest -m boot

lint: build ## the checks of style, types, shell scripts, units and package alone
	@$(PYTHON) -m pytest -m lint

soak: build ## restarts, kills and power cuts drawn by lot: make soak [ROUNDS=1000] [SEED=7]
	@ROUNDS='$(ROUNDS)' SEED='$(SEED)' scripts/develop/soak

bench: build ## speed and memory beside named peers: make bench [RESTARTS=100] [PEER_RESTARTS=20] [IDLE=4]
	@cd scripts && PYTHONPATH=../app ../$(PYTHON) -m develop.bench

lock: ## choose the newest dependencies anew, pinned with their hashes: make lock LOCK=app
	@scripts/develop/lock $(LOCK)

clean: ## remove what was built (the virtual environment stays)
	rm -rf build
