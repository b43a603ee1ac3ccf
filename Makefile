# Short names for the commands of dev.py, which do the work and need no make.
.DEFAULT_GOAL := help
.PHONY: help voice test lint bench soak model faults sanitize litmus format generate lock clean

help: ## list these targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

voice: ## set up and run the voice example
	python3 dev.py voice

test: ## set up and run every check and test
	python3 dev.py test

lint: ## style, types and layers only
	python3 dev.py lint

bench: ## measure, beside the peers
	python3 dev.py bench

soak: ## half an hour of media and faults; writes docs/soak.md
	python3 dev.py soak

model: ## check the models of the shared-memory protocol (an hour; needs spin)
	python3 model/run.py

faults: ## ten thousand kills, three million mutations (an hour or two)
	python3 dev.py faults

sanitize: ## the C extension under AddressSanitizer, UBSan and ThreadSanitizer
	python3 dev.py sanitize

litmus: ## memory order of each pair of steps, here and on an emulated arm64
	python3 dev.py litmus

format: ## let ruff format and repair what it can
	.venv/bin/ruff check --fix --quiet . ; .venv/bin/ruff format .

generate: ## rewrite generated files: catalogue, reference, settings table
	python3 dev.py generate

lock: ## write the versions of .venv to constraints.txt
	python3 dev.py lock

clean: ## remove everything that is not in the repository but made by it
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build out
	find node_runtime \( -name __pycache__ -o -name '*.egg-info' -o -name '_core*.so' \) -prune -exec rm -rf {} +
