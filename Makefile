# make demo and make test do all the set-up they need, in .venv and build/ inside the checkout.
PYTHON ?= python3
BIN := .venv/bin
SETUP := .venv/.setup
ANVIL := build/anvil/.setup
ASYNCAPI := build/asyncapi/.setup
PNR := $(BIN)/.pnr
PYTEST := $(BIN)/python -m pytest

.PHONY: setup demo test lint types ci slow abi route route-test fuzz mutate anvil asyncapi requirements clean

demo: $(SETUP)
	$(BIN)/hawse demo

test: $(SETUP) $(PNR) anvil asyncapi lint types
	$(PYTEST) -m "not slow and not ci" -n 2 --dist loadfile --durations 25

setup: $(SETUP)

$(SETUP): requirements/all.txt requirements/capture.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Hawse needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --require-hashes -r requirements/all.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@# Data for the demo only, under a licence of its own: nothing imports it, and the demo says so when it is not there.
	-$(BIN)/pip install --quiet --require-hashes --no-deps -r requirements/capture.txt
	touch $@

# A real EVM node for one integration test, where npm is present; the test says so when it is not.
anvil: $(ANVIL)
$(ANVIL):
	@mkdir -p build/anvil
	@if command -v npm >/dev/null; then \
	  npm install --silent --no-save --no-audit --no-fund --no-package-lock --prefix build/anvil @foundry-rs/anvil@1.7.1 \
	    || echo "anvil could not be installed; its test will be skipped"; \
	else echo "npm not found: the anvil test will be skipped"; fi
	@touch $@

# The standard of AsyncAPI as a JSON schema, likewise.
asyncapi: $(ASYNCAPI)
$(ASYNCAPI):
	@mkdir -p build/asyncapi
	@if command -v npm >/dev/null; then \
	  npm install --silent --no-save --no-audit --no-fund --no-package-lock --prefix build/asyncapi @asyncapi/specs@6.11.1 \
	    || echo "the standard of AsyncAPI could not be had; its test will be skipped"; \
	else echo "npm not found: the test against the standard of AsyncAPI will be skipped"; fi
	@touch $@

lint: $(SETUP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(SETUP)
	$(BIN)/mypy

# The engines behind a public benchmark's C interface: build/libhawse_rtl.so and build/libhawse_soft.so.
abi: $(SETUP)
	$(BIN)/python -m hawse_sim.abi --output build
# make route DEVICE=LFE5UM5G-85F-8 SEEDS="1 2 3" [TOP=book]; goes on seed by seed when it is called again.
DEVICE ?= LFE5UM5G-85F-8
SEEDS ?= 1 2 3
TOP ?= appliance
ROUTE ?=
$(PNR): $(SETUP) requirements/pnr.txt
	$(BIN)/pip install --quiet --require-hashes -r requirements/pnr.txt
	touch $@

route: $(PNR)
	$(BIN)/python -m hawse_build route --device $(DEVICE) --top $(TOP) --seeds $(SEEDS) $(ROUTE) \
	  -o docs/results/route-$(DEVICE)$(if $(filter-out appliance,$(TOP)),-$(TOP)).json

# A part that is small enough to be routed in a minute.
route-test: $(PNR)
	$(PYTEST) tests/hdl/test_route.py

# make fuzz COMMANDS=100000000 SEED=1: gateware beside the native engine on adversarial flow.
COMMANDS ?= 100000000
SEED ?= 1
fuzz: $(SETUP)
	$(BIN)/python -m hawse_sim.fuzz --commands $(COMMANDS) --seed $(SEED) -o docs/results/differential.json

# Single faults in the gateware, and which of them nothing finds.
mutate: $(SETUP)
	$(BIN)/python -m hawse_sim.mutation -o docs/results/mutation.json

# What a commit owes beside make test: bitstreams by the real tools, the gates that synthesis makes, and what
# needs a model of its own that takes minutes to build.
ci: $(PNR)
	$(PYTEST) -m "ci and not slow" -n 2 --dist worksteal

# Long fuzzing, long proofs, kill loops, and a short route; with a seed of its own, which HAWSE_SEED=x repeats.
slow: $(PNR) anvil
	HAWSE_SEED=$${HAWSE_SEED:-$$(date +%s)} $(PYTEST) -m slow

# Pins and hashes of everything, without addresses; uv is needed only here.
requirements:
	$(PYTHON) -m venv build/uv && build/uv/bin/pip install --quiet uv
	build/uv/bin/uv pip compile pyproject.toml requirements/build.in --extra hdl --extra sim --extra chain --extra test \
	  --extra bench --extra formal --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-annotate --no-header --output-file requirements/all.txt --quiet
	build/uv/bin/uv pip compile pyproject.toml --extra pnr --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-annotate --no-header --output-file requirements/pnr.txt --quiet
	echo 'ob-analytics==0.1.0' | build/uv/bin/uv pip compile - --no-deps --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-annotate --no-header --output-file requirements/capture.txt --quiet

clean:
	rm -rf build out .venv
