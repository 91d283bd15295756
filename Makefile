# make demo and make test do everything; the rest is what they are made of.
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)
PYTEST := $(BIN)/python -m pytest

.PHONY: setup demo test test-full lint bench pictures peers lock clean

setup: $(VENV)/.ready

# The hashes in requirements.lock are checked; the project itself is installed editable, without looking for anything else.
$(VENV)/.ready: requirements.lock pyproject.toml
	@deploy/setup.sh $(VENV) "$(UV)"
	@touch $@

demo: setup
	$(BIN)/ceus-node demo --once --out demo-out

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

test: setup lint
	$(PYTEST) -n 2 --dist loadscope -m "not full"

# The sizes the issues ask for: run before an issue is closed, its figures go into the closing note.
test-full: setup
	$(PYTEST) -n 2 --dist loadscope

bench: setup
	$(BIN)/python -m benchmarks

# The pictures of README and docs, from simulated patients.
pictures: setup
	$(BIN)/python docs/make_pictures.py

# The real peers of the tests (Debian packages; needs root).
peers:
	deploy/peers.sh

# Resolve anew; the exported lock carries hashes and no index address.
lock:
	uv lock --upgrade
	uv export --format requirements-txt --no-emit-project --no-emit-index-url --no-header --extra video --extra postgresql --group dev -o requirements.lock > /dev/null
	uv export --format requirements-txt --no-emit-project --no-emit-index-url --no-header --extra postgresql --no-default-groups -o deploy/service.lock > /dev/null

clean:
	rm -rf $(VENV) demo-out
