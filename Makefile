# Weir's entry points, for people and for .ci/run alike. Each target may be run again at any time.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup build demo test bench lint clean

# One profile for build, demo and test, so that everything is compiled once; only bench is a release build.
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
# Namespaces, bpffs and tc need root. Without it and without sudo, kernel tests skip and say so.
SUDO := $(if $(filter-out 0,$(shell id -u)),$(if $(shell command -v sudo),sudo -E))
RUNNER := CARGO_TARGET_$(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')_RUNNER
# Arguments for the demo: make demo ARGS=--keep
ARGS :=

help:
	@echo 'make setup   install what is needed beyond Rust (apt, bpf-linker); the targets below do it too'
	@echo 'make build   kernel programs and the weir binary, in $(TARGET_DIR)/debug/weir'
	@echo 'make demo    two nodes of network namespaces, real traffic, real denials; ARGS=--keep to play on'
	@echo 'make test    all tests, those that need root too'
	@echo 'make bench   what packets, policies, records, traffic and large clusters cost, on this machine'
	@echo 'make lint    rustfmt, house rules, clippy, cargo-deny where installed'
	@echo 'make clean   remove all build output'

setup:
	@.ci/setup

build: setup
	@echo '==> build: kernel programs'
	@cargo xtask build-ebpf --log
	@echo '==> build: user space'
	@cargo build --workspace

demo: build
	@echo '==> demo: weir demo $(ARGS)'
	@$(SUDO) $(TARGET_DIR)/debug/weir demo $(ARGS)

# The runner's totals come last: documentation tests, which nextest does not know, go first.
test: build
	@echo '==> test: documentation'
	@cargo test --workspace --doc
	@echo '==> test: units, properties, kernel programs, namespaces'
	@export $(RUNNER)='$(SUDO)'; [ -n "$$$(RUNNER)" ] || unset $(RUNNER); \
	if cargo nextest --version >/dev/null 2>&1; then \
		cargo nextest run --workspace; \
	else \
		cargo test --workspace --all-targets --no-fail-fast; \
	fi

bench: setup
	@echo '==> bench: kernel programs'
	@cargo xtask build-ebpf
	@echo '==> bench: a packet'
	@cargo xtask bench
	@echo '==> bench: policies'
	@cargo bench -p weir-policy --bench compile
	@echo '==> bench: records'
	@cargo bench -p weir-collector --bench records
	@echo '==> bench: traffic, floods, memory'
	@export $(RUNNER)='$(SUDO)'; [ -n "$$$(RUNNER)" ] || unset $(RUNNER); \
	cargo bench -p weir-cli --bench traffic
	@echo '==> bench: a large cluster, followed over HTTP'
	@export $(RUNNER)='$(SUDO)'; [ -n "$$$(RUNNER)" ] || unset $(RUNNER); \
	cargo bench -p weir-cli --bench kube

lint: setup
	@echo '==> lint: rustfmt'
	@cargo fmt --all --check
	@cd ebpf && cargo fmt --check
	@echo '==> lint: house rules'
	@cargo xtask lint
	@echo '==> lint: clippy, kernel programs'
	@cargo xtask clippy-ebpf
	@echo '==> lint: clippy, user space'
	@cargo clippy --workspace --all-targets -- -D warnings
	@if cargo deny --version >/dev/null 2>&1; then \
		echo '==> lint: cargo deny'; \
		cargo deny --all-features check bans licenses sources; \
	else \
		echo '==> lint: cargo deny skipped (cargo install cargo-deny)'; \
	fi

clean:
	@echo '==> clean: build output'
	@cargo clean
	@rm -rf target/bpf target/ebpf
