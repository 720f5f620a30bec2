# The entry points. `make` alone lists them. Needed: Rust, a C compiler, make, apt; root for everything with containers.

CARGO            ?= cargo
CARGO_TARGET_DIR ?= target
HOST             := $(shell rustc -vV | sed -n 's/^host: //p')
OUT              := $(abspath $(CARGO_TARGET_DIR))/$(HOST)
BINARY           := $(OUT)/release/carob
CAROB_BINARY     ?= $(BINARY)
KUBECONFIG_DEMO  := /var/lib/carob/admin.kubeconfig
CLIENT           := $(BINARY) --kubeconfig $(KUBECONFIG_DEMO)

export CARGO_TARGET_DIR := $(abspath $(CARGO_TARGET_DIR))
export CAROB_BINARY

.DEFAULT_GOAL := help
.PHONY: help build up down test test-unit simulate fuzz bench check clean root tools

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

build: ## build the release binary
	$(CARGO) build --release --locked -p carob
	@ls -l $(BINARY) | awk '{ printf "carob: %.1f MB, %s\n", $$5 / 1000000, $$NF }'

root:
	@test "$$(id -u)" = 0 || { echo "error: containers need root: run \`sudo make $(MAKECMDGOALS)\`" >&2; exit 1; }

tools:
	@command -v cc >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends gcc libc6-dev; }

up: root tools build ## start a node and show two Pods running
	$(BINARY) up
	$(CLIENT) apply -f examples/quickstart
	$(CLIENT) wait --for=condition=Ready --timeout=60s pod/hello pod/two || { $(CLIENT) describe pods; exit 1; }
	$(CLIENT) get pods -o wide
	$(CLIENT) logs hello --tail=1
	$(CLIENT) logs two -c reader --tail=1
	@echo
	@echo "try: $(BINARY) describe pod two"
	@echo "     $(BINARY) port-forward pod/hello 8080:8080    (then: curl localhost:8080)"
	@echo "     make down"

down: root ## stop the node and its Pods (the data stays: carob down --purge deletes it)
	$(BINARY) down

test: root tools build ## every test, those with real containers too
	$(CARGO) xtask test

test-unit: ## the tests that need neither root nor network
	$(CARGO) xtask test --unit

simulate: ## whole clusters on one thread, with faults: CAROB_SEEDS=200 new ones, or SEED=7 again
	CAROB_SEEDS=$${CAROB_SEEDS:-$(if $(SEED),1,100)} $(CARGO) test --locked -p simulator --test seeds -- --nocapture nothing_that

fuzz: ## parsers of what comes from outside, with new faults each time: PROPTEST_CASES=100000 of each
	PROPTEST_RNG_SEED=$${PROPTEST_RNG_SEED:-$$(date +%s)} PROPTEST_CASES=$${PROPTEST_CASES:-20000} \
	    $(CARGO) test --locked $(addprefix -p ,agent cli client images resources streams) --test 'hostile*'

bench: root tools build ## the table of docs/performance.md, measured here
	$(CARGO) xtask bench --write

check: ## format, clippy, licences and sources of dependencies, structure
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) xtask check

clean: ## delete what was built
	$(CARGO) clean
