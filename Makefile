# `make demo` and `make test` are all a newcomer needs; each makes the environment first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-faults test-cluster lint bench clean

demo: .venv/installed
	$(BIN)/raw2s demo

test: .venv/installed lint
	$(BIN)/python -m pytest -q -m "not slow"

test-faults: .venv/installed
	$(BIN)/python -m pytest -q -m slow tests/integration/test_faults.py

# Two hosts, then three, on this machine; needs root.
test-cluster: .venv/installed
	$(BIN)/python tests/cluster/three_hosts.py --faults

# Of tests, jobs and benchmarks mypy checks names and calls; what it says of values there is mostly
# about numpy's and torch's own types.
lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	MYPYPATH=benchmarks:tests/integration $(BIN)/mypy --explicit-package-bases --no-warn-unused-ignores \
	  --disable-error-code=arg-type --disable-error-code=misc --disable-error-code=union-attr \
	  --disable-error-code=operator --disable-error-code=index --disable-error-code=list-item \
	  --disable-error-code=call-overload --disable-error-code=func-returns-value \
	  --disable-error-code=method-assign --disable-error-code=var-annotated \
	  benchmarks jobs tests/unit tests/integration

bench: .venv/installed
	$(BIN)/python benchmarks/run.py

.venv/installed: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

clean:
	rm -rf .venv raw2s_storage
