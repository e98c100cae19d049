# Every task a person runs. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

VENV := .venv
PYTHON = $(VENV)/bin/python
ISOLATED = $(PYTHON) -I
# Which deployment. A shell may have variables of such names for something else, and nothing started here gets these.
ENVIRONMENT ?= production
PROJECT_DIRECTORY =
ENV_FILE =
CATALOG =
unexport ENVIRONMENT PROJECT_DIRECTORY ENV_FILE CATALOG
MAKEOVERRIDES =
quoted = '$(subst ','\'',$(1))'
option = $(if $(2),$(1) $(call quoted,$(2)))
DEPLOYMENT = $(call option,--environment,$(ENVIRONMENT)) $(call option,--project-directory,$(PROJECT_DIRECTORY)) \
	$(call option,--env-file,$(ENV_FILE)) $(call option,--catalog,$(CATALOG))
COMPOSE = bash scripts/compose.sh $(call option,--project-directory,$(PROJECT_DIRECTORY)) \
	$(call option,--env-file,$(addprefix .env.,$(filter-out production,$(ENVIRONMENT))))
# A stamp knows nothing of a Python that was upgraded or removed since.
STAMPS = $(VENV)/.installed $(VENV)/.installed-dev
KEPT := $(shell [ ! -e $(VENV)/.installed ] || $(ISOLATED) scripts/check_environment.py 2>/dev/null || rm -f $(STAMPS))
LOCK = $(VENV)/bin/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header \
	--no-emit-index-url --no-emit-find-links $(LOCK_FLAGS)
DEPENDENCIES = requirements.txt requirements-cloud.txt requirements-secrets.txt
SHELL_SCRIPTS = $(shell git ls-files '*.sh' .ci/run)

.PHONY: help install install-dev secrets docker-secrets up down apply doctor database-password test test-fast test-pythons prove bench sbom audit servers lint lint-fix lambda catalog docs pictures lock

help: ## List the tasks
	@awk -F ':.*## ' '/^##@ / {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' \
		$(MAKEFILE_LIST)

##@ To deploy (which one: ENVIRONMENT= PROJECT_DIRECTORY= ENV_FILE= CATALOG=)

install: $(VENV)/.installed ## Make .venv with the pinned dependencies

secrets: install ## Set up the secrets; press Enter for each default
	@$(PYTHON) scripts/setup_secrets.py $(DEPLOYMENT)

docker-secrets: install ## Write the secrets as files for Compose
	@bash scripts/generate_docker_secrets.sh $(DEPLOYMENT)

up: install ## Write the Docker files, start the stack, check it
	@PYTHONPATH= $(PYTHON) -s -m src.ops.commands.shared.before_start $(DEPLOYMENT)
	@bash scripts/generate_docker_secrets.sh $(DEPLOYMENT)
	@$(PYTHON) scripts/manage_secrets.py doctor --offline $(DEPLOYMENT) || \
		echo 'These findings do not stop the stack.'
	@$(COMPOSE) up -d --wait || { PYTHONPATH= $(PYTHON) -s -m src.ops.commands.shared.start_failed $(DEPLOYMENT); }
	@$(PYTHON) scripts/manage_secrets.py apply --yes $(DEPLOYMENT)

down: ## Stop the stack; its data stays
	@$(COMPOSE) down

doctor: install ## Run all checks; each finding says what fixes it
	@$(PYTHON) scripts/manage_secrets.py doctor $(DEPLOYMENT)

apply: install ## Bring what runs up to date with the store
	@$(PYTHON) scripts/manage_secrets.py apply $(DEPLOYMENT)

database-password: install  # what `apply` was, for the database alone
	@$(PYTHON) scripts/manage_secrets.py apply --yes $(DEPLOYMENT)

lambda: install ## Pack the function for AWS's automatic rotation
	@$(PYTHON) scripts/build_lambda.py

##@ To change these tools

# Programs that the tests start elsewhere write their figures here too.
test: export COVERAGE_FILE := $(CURDIR)/.cache/coverage/data
test: install-dev ## Run each test that this machine has the parts for
	@rm -rf .cache/coverage && mkdir -p .cache/coverage
	@$(PYTHON) -m coverage run -m pytest -n 3 $(PYTEST_ARGS)
	@$(PYTHON) -m coverage combine --quiet
	@$(PYTHON) -m coverage report $(if $(REQUIRE_ALL),--fail-under=95)

test-fast: install-dev ## Run what needs a minute: small parts, each store
	@$(PYTHON) -m pytest -n 2 tests/unit tests/contract $(PYTEST_ARGS)

test-pythons: install-dev ## Run these with other Pythons, as other people would
	@$(PYTHON) -m tests.pythons

# All files with a full form.
PROVED = tests/faults tests/fuzz tests/contract $(shell grep -rl --include='test_*.py' 'tests\.support\.forms' tests/e2e tests/unit)
prove: install-dev ## Crashes, power loss, leaks, fuzzing, load (an hour)
	@PROVE=1 $(PYTHON) -m pytest -n 2 $(PROVED) $(PYTEST_ARGS)

bench: $(VENV)/bench/.installed ## Compare speed with peers; writes bench/results.md
	@$(VENV)/bench/bin/python -m bench

sbom: $(VENV)/audit/.installed ## List what is installed, in build/sbom.json (CycloneDX)
	@mkdir -p build
	@awk '/^[a-z]/ {keep = !seen[$$1]++} keep' $(DEPENDENCIES) | $(VENV)/audit/bin/cyclonedx-py requirements - \
		--output-reproducible --output-file build/sbom.json
	@echo 'build/sbom.json'

audit: $(VENV)/audit/.installed ## Ask the registry for known vulnerabilities
	@$(VENV)/audit/bin/pip-audit --disable-pip --require-hashes $(addprefix -r ,$(DEPENDENCIES))

servers: install-dev ## Start a test server for each cloud store
	@$(PYTHON) -m tests.servers

lint: install-dev ## Check style, types, shell scripts, and for secrets
	@$(VENV)/bin/ruff format --check --quiet .
	@$(VENV)/bin/ruff check --quiet .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports --no-cache >/dev/null || { $(VENV)/bin/lint-imports --no-cache; exit 1; }
	@if command -v shellcheck >/dev/null; then shellcheck $(SHELL_SCRIPTS); \
	elif [[ -n "$${REQUIRE_ALL:-}" ]]; then echo 'error: shellcheck is missing' >&2; exit 1; \
	else echo 'shellcheck is not installed: the shell scripts were not checked (apt install shellcheck)'; fi
	@./scripts/scan_secrets.sh

lint-fix: install-dev ## Fix what ruff can fix
	@$(VENV)/bin/ruff format --quiet .
	@$(VENV)/bin/ruff check --quiet --fix .

catalog: install ## Write the files that come from config/catalog.toml
	@$(PYTHON) scripts/render_catalog.py

docs: $(VENV)/docs/.installed ## Build the docs site in build/docs, with strict links
	@said=$$(NO_MKDOCS_2_WARNING=1 $(VENV)/docs/bin/mkdocs build --strict 2>&1) || { echo "$$said" >&2; exit 1; }
	@echo 'build/docs/index.html'

pictures: install-dev ## Regenerate the terminal screenshots
	@$(PYTHON) -m tests.pictures

lock: install-dev ## Lock the dependencies (LOCK_FLAGS=--upgrade: newer)
	@$(LOCK) requirements.in -o requirements.txt
	@$(LOCK) requirements-cloud.in -o requirements-cloud.txt
	@$(LOCK) requirements-secrets.in -o requirements-secrets.txt
	@$(LOCK) requirements-audit.in -o requirements-audit.txt
	@$(LOCK) requirements-docs.in -o requirements-docs.txt
	@$(LOCK) requirements-dev.in -o requirements-dev.txt
	@$(LOCK) tests/servers/ministack.in -o tests/servers/ministack.txt
	@$(LOCK) tests/servers/awscli.in -o tests/servers/awscli.txt
	@$(LOCK) bench/requirements.in -o bench/requirements.txt

install-dev: $(VENV)/.installed-dev

$(VENV)/.installed: requirements.txt requirements-secrets.txt scripts/make_venv.sh scripts/install_packages.py
	@echo 'Installing the pinned Python packages into $(VENV) (once; it takes about a minute)'
	@! grep -lq $$'\r' scripts/*.sh scripts/*.py || { echo 'error: the scripts have Windows line ends' >&2; \
		echo "hint: Change them back: sed -i 's/\r\$$//' scripts/*.sh scripts/*.py" >&2; exit 1; }
	@bash scripts/make_venv.sh $(VENV)
	@$(ISOLATED) scripts/install_packages.py requirements.txt requirements-secrets.txt
	@$(ISOLATED) scripts/check_environment.py || \
		{ echo 'error: $(VENV) lacks packages though pip did not fail; look at: $(PYTHON) -m pip config list' >&2; exit 1; }
	@$(PYTHON) -m compileall -q src scripts  # the first question comes sooner
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt tests/servers/ministack.txt tests/servers/awscli.txt
	@$(ISOLATED) scripts/install_packages.py requirements-dev.txt
	@for name in ministack awscli; do \
		bash scripts/make_venv.sh $(VENV)/$$name; \
		$(VENV)/$$name/bin/python -I scripts/install_packages.py tests/servers/$$name.txt; done
	@touch $@

# The peers stay away from what the project itself runs with.
$(VENV)/bench/.installed: $(VENV)/.installed-dev bench/requirements.txt
	@bash scripts/make_venv.sh $(VENV)/bench
	@$(VENV)/bench/bin/python -I scripts/install_packages.py bench/requirements.txt
	@touch $@

$(VENV)/audit/.installed: $(VENV)/.installed requirements-audit.txt
	@bash scripts/make_venv.sh $(VENV)/audit
	@$(VENV)/audit/bin/python -I scripts/install_packages.py requirements-audit.txt
	@touch $@

$(VENV)/docs/.installed: $(VENV)/.installed requirements-docs.txt
	@bash scripts/make_venv.sh $(VENV)/docs
	@$(VENV)/docs/bin/python -I scripts/install_packages.py requirements-docs.txt
	@touch $@
