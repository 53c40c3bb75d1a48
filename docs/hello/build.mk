# How the example service is built; docs/hello becomes app/. It has no dependencies and no helpers.
HELPERS :=

build/$(NAME): $(wildcard app/hello/*.py scripts/handoff/*.py packaging/*.py) packaging/bundle app/requirements.lock build/version | .venv/.ready
	@echo 'builds $@'
	@$(PYTHON) packaging/bundle --name $(NAME) --version '$(VERSION)' --commit '$(COMMIT)' \
	  --entry hello.cli:main --requirements app/requirements.lock \
	  --source app/hello --source scripts/handoff --output $@
