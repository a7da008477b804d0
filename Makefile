.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
DEMO_PORT ?= 8000
PORT ?= 8000

.PHONY: help install demo serve test soak lint bench

help: ## list what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

.venv/.installed: pyproject.toml requirements.lock
	@./scripts/install $(PYTHON)
	@touch $@

.venv/.tested: .venv/.installed
	@./scripts/install $(PYTHON) test
	@touch $@

install: .venv/.installed ## the virtual environment with all that the product needs

demo: install ## a portal with a believable history, its worker and a payment sandbox, on loopback
	@$(BIN)/python -m demo --port $(DEMO_PORT)

serve: install ## the production server; settings from the environment
	@./scripts/serve $(PORT)

test: .venv/.tested ## install what the tests need and run all of them
	@./scripts/test-system-packages
	@$(BIN)/python -m pytest -n auto --dist worksteal

soak: .venv/.tested ## the long proofs: hours, not minutes (CLEARMETER_SOAK=0.1 for a tenth)
	@./scripts/test-system-packages
	@CLEARMETER_SOAK=$${CLEARMETER_SOAK:-1} $(BIN)/python -m pytest -m soak -s

lint: .venv/.tested ## style, types, templates, imports, security
	@$(BIN)/ruff format --check . && $(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/djlint --quiet --lint templates sandbox
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/bandit -q -ll -r app.py portal sandbox demo -c pyproject.toml

bench: .venv/.tested ## the benchmarks: ratios, side by side, in one run (PGLEDGER=… its checkout)
	@$(BIN)/python -m bench $(if $(PGLEDGER),--pgledger $(PGLEDGER))
