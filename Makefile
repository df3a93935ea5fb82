# `make run` and `make test` are all that is needed; the rest is for those who change the mesh.
CARGO ?= cargo
MINUTES ?= 10
SEED ?= 1
TARGET = $(or $(CARGO_TARGET_DIR),target)
JKN = $(TARGET)/debug/jkn

.PHONY: run test bench soak lint contracts manifests documents queries accept-contracts clean-data

## Install what is missing, build, start the mesh, walk the journey, stay up until Ctrl-C.
run:
	@tools/install run
	$(CARGO) build --workspace
	$(JKN) up --journey

## Install what is missing, and run every test.
test:
	@tools/install test
	$(CARGO) build --workspace
	$(CARGO) test --workspace
	$(CARGO) run --quiet --bin stop-test-postgres

## Measure the mesh beside its peers: REPS=n repetitions, ROW=name for one row; docs/benchmarks.md tells how to read it.
bench:
	@tools/install bench
	$(CARGO) build --workspace --release
	$(TARGET)/release/bench --nginx "$$(tools/install --path nginx)" $(REPS:%=--reps %) $(ROW:%=--row %)

## Break a mesh in every way while callers write, and prove that nothing is lost and nothing happens twice.
soak:
	@tools/install test
	$(CARGO) build --workspace --release
	$(TARGET)/release/soak --minutes $(MINUTES) --seed $(SEED)

## Format and lints; a warning is an error.
lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

## Lint the contracts and refuse a change that breaks those landed last.
contracts:
	@tools/install contracts
	cd proto && buf=$$(../tools/install --path buf) && $$buf lint && $$buf format --diff --exit-code && $$buf breaking --against landed.binpb

## Make the contracts as they are now the landed ones. Do this in the commit that adds to them.
accept-contracts:
	@tools/install contracts
	cd proto && $$(../tools/install --path buf) build -o landed.binpb

## Build the manifests and check them.
manifests:
	@tools/install manifests
	k8s/check.sh

## Write docs/api.md and docs/errors from the contracts.
documents:
	$(CARGO) run --quiet --example docs -- docs

## Check each SQL statement against the migrations and write what was learnt to .sqlx.
queries:
	@tools/install run
	tools/prepare-queries

## Remove the data of the development mesh.
clean-data:
	rm -rf .jkn
