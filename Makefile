# make demo: from nothing to a report.  make test: the whole check.  make test-mindspore: that of MindSpore, by itself.
# make docs: the site, in site/.
PYTHON ?= python3
BIN := .venv/bin
MINDSPORE := .venv-mindspore/bin
DOCS := .venv-docs/bin
# Where it is set, every process compiles all of torch anew: ten seconds each.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup setup-mindspore demo test test-mindspore docs lock clean

demo: setup
	$(BIN)/crossreid demo --out demo

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@# The types and the rooms are checked while the tests run, and what that said comes after them.
	@said=$$(mktemp); { $(BIN)/mypy && $(BIN)/lint-imports; } >"$$said" 2>&1 & checks=$$!; \
	  CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1 $(BIN)/pytest -n 3 --dist worksteal; tests=$$?; \
	  wait $$checks; types=$$?; cat "$$said"; rm -f "$$said"; \
	  test $$tests -eq 0 -a $$types -eq 0

setup: .venv/.installed

.venv/.installed: requirements.lock requirements-uv.lock pyproject.toml
	@command -v uv >/dev/null 2>&1 || $(PYTHON) -m uv --version >/dev/null 2>&1 \
	  || $(PYTHON) -m pip install --quiet --user --require-hashes -r requirements-uv.lock \
	  || $(PYTHON) -m pip install --quiet --require-hashes -r requirements-uv.lock
	@UV=$$(command -v uv || echo "$(PYTHON) -m uv"); set -e; \
	  test -x $(BIN)/python || $$UV venv --quiet --python $(PYTHON) .venv; \
	  $$UV pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock; \
	  $$UV pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

# MindSpore needs an older NumPy than the rest, so its tests have an environment of their own.
test-mindspore: setup-mindspore
	CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1 $(MINDSPORE)/pytest -n 2 --dist loadfile tests/mindspore

setup-mindspore: .venv-mindspore/.installed

.venv-mindspore/.installed: requirements-mindspore.lock requirements-uv.lock pyproject.toml
	@command -v uv >/dev/null 2>&1 || $(PYTHON) -m uv --version >/dev/null 2>&1 \
	  || $(PYTHON) -m pip install --quiet --user --require-hashes -r requirements-uv.lock \
	  || $(PYTHON) -m pip install --quiet --require-hashes -r requirements-uv.lock
	@UV=$$(command -v uv || echo "$(PYTHON) -m uv"); set -e; \
	  test -x $(MINDSPORE)/python || $$UV venv --quiet --python $(PYTHON) .venv-mindspore; \
	  $$UV pip install --quiet --python $(MINDSPORE)/python --require-hashes -r requirements-mindspore.lock; \
	  $$UV pip install --quiet --python $(MINDSPORE)/python --no-deps --editable .
	@touch $@

# The site is built strictly, from the sources alone and without a network; then tests read what was built.
docs: .venv-docs/.installed
	NO_MKDOCS_2_WARNING=1 $(DOCS)/mkdocs --quiet build --strict
	$(DOCS)/pytest --confcutdir tests/site tests/site

.venv-docs/.installed: requirements-docs.lock requirements-uv.lock
	@command -v uv >/dev/null 2>&1 || $(PYTHON) -m uv --version >/dev/null 2>&1 \
	  || $(PYTHON) -m pip install --quiet --user --require-hashes -r requirements-uv.lock \
	  || $(PYTHON) -m pip install --quiet --require-hashes -r requirements-uv.lock
	@UV=$$(command -v uv || echo "$(PYTHON) -m uv"); set -e; \
	  test -x $(DOCS)/python || $$UV venv --quiet --python $(PYTHON) .venv-docs; \
	  $$UV pip install --quiet --python $(DOCS)/python --require-hashes -r requirements-docs.lock
	@touch $@

# The locks hold names, versions and hashes, for every platform; never an address.
lock:
	@UV=$$(command -v uv || echo "$(PYTHON) -m uv"); \
	  $$UV pip compile --quiet --universal --python-version 3.11 --extra dev --generate-hashes pyproject.toml -o requirements.lock; \
	  $$UV pip compile --quiet --universal --python-version 3.11 --extra mindspore-dev --generate-hashes pyproject.toml \
	    -o requirements-mindspore.lock; \
	  { echo "# What the container images hold: what serving, Milvus and exporting need of requirements.lock; written by \`make lock\`."; \
	    $$UV pip compile --quiet --universal --python-version 3.11 --extra serve --extra milvus --extra export \
	      --constraint requirements.lock --generate-hashes --no-header pyproject.toml; \
	  } > requirements-serve.lock; \
	  { echo "# What builds the site; written by \`make lock\`."; \
	    $$UV pip compile --quiet --universal --python-version 3.11 --group docs --constraint requirements.lock \
	      --generate-hashes --no-header; \
	  } > requirements-docs.lock; \
	  { echo "# What installs everything else, where it is not there yet; written by \`make lock\`."; \
	    echo uv | $$UV pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -; \
	  } > requirements-uv.lock

clean:
	rm -rf .venv .venv-docs .venv-mindspore demo runs site
