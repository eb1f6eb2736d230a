# `make` alone lists what there is to do. Everything works in a fresh clone on a bare Debian 12 or Ubuntu.

# rustup's cargo goes before a distribution's, also in a shell that never read its env file. .ci/setup does the same.
export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)

format := .ci/stage formatting cargo fmt --check
crates := .ci/stage 'yocto crates' .ci/yocto-crates --check
clippy := .ci/stage clippy cargo clippy --locked --all-targets -- -D warnings

.PHONY: help setup build run check test stages bench deb test-package build-arm64 test-arm64 test-device test-appliance yocto-crates licences deny fuzz clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install and fetch what a bare machine lacks (.ci/setup --help)
	@.ci/setup

# No path of this machine gets into the program: the same commit gives the same bytes (SQLite and the cryptography are C).
cargo_home := $(or $(CARGO_HOME),$(HOME)/.cargo)
build run deb build-arm64: export RUSTFLAGS ?= --remap-path-prefix=$(CURDIR)=/src --remap-path-prefix=$(cargo_home)=/cargo
build run deb build-arm64: export CFLAGS ?= -ffile-prefix-map=$(CURDIR)=/src -ffile-prefix-map=$(cargo_home)=/cargo
build run deb build-arm64: export CXXFLAGS ?= $(CFLAGS)

build: setup ## build the program for release
	cargo build --release --locked

# The environment wins: VEHICLE_CLASSIFIER__CAPTURE__SOURCE=v4l2:/dev/video0 make run
run: export VEHICLE_CLASSIFIER__CAPTURE__SOURCE ?= replay:.setup/pictures?fps=2&loop=true
# Not by `cargo run`: tflitec's build script watches headers that it copies itself, so that the second cargo command in a
# fresh clone compiles it and this crate once more.
run: build ## build and start on the built-in defaults, replaying pictures; its state lies in .state/
	$(or $(CARGO_TARGET_DIR),target)/release/vehicle-classifierd serve --state-directory .state

check: setup ## before a commit: formatting, clippy, house rules, unit tests
	@$(format)
	@$(crates)
	@$(clippy)
	@.ci/stage 'house rules' cargo test --locked --test tidy
	@.ci/stage 'unit tests' cargo test --locked --lib

test: ## everything that must hold, with the time of each stage (what .ci/run runs)
	@STAGE_TIMES=$$(mktemp) && export STAGE_TIMES && trap 'rm "$$STAGE_TIMES"' EXIT; \
	code=0; $(MAKE) --no-print-directory stages || code=$$?; \
	echo; .ci/stage --table; exit $$code

# The first that fails ends it. One build serves all tests: the integration tests start the program that it made.
stages:
	@.ci/stage set-up .ci/setup
	@$(format)
	@$(crates)
	@$(clippy)
	@.ci/stage 'yocto layer' yocto/check
	@.ci/stage licences .ci/licences
	@.ci/stage build cargo test --locked --no-run
	@.ci/stage 'unit tests' cargo test --locked --lib --bins
	@.ci/stage 'integration tests' cargo test --locked --test '*'
	@.ci/stage 'doc tests' cargo test --locked --doc

bench: setup ## measure the hot paths
	cargo bench --locked

deb: build ## pack the release build as a Debian package, target/debian/
	.ci/deb

test-package: deb ## install, upgrade and purge the package in a clean Debian with systemd (as root)
	.ci/setup --no-pictures --also package
	tests/package.sh target/debian/*.deb

build-arm64: ## build for aarch64 with Debian's cross tool chain (.ci/cross --help); with containers: cross.toml
	.ci/setup --no-pictures --also aarch64
	.ci/cross aarch64 build --release --locked
	.ci/linkage target/cross/aarch64-unknown-linux-gnu/release/vehicle-classifierd

test-arm64: ## run the unit tests as ARM code under qemu
	.ci/setup --no-pictures --also aarch64
	.ci/cross aarch64 test --locked --lib

# PROGRAM=target/cross/aarch64-unknown-linux-gnu/release/vehicle-classifierd runs the ARM build on an emulated Cortex-A53.
test-device: PROGRAM ?= target/release/vehicle-classifierd
test-device: ## run a release build in an emulated unit whose camera drivers fail on demand
	.ci/setup --no-pictures --also device $(if $(findstring aarch64,$(PROGRAM)),--also aarch64)
	tests/device/run $(PROGRAM)

# PACKAGE=target/debian/vehicle-classifierd_0.1.0-1_arm64.deb CUTS=10 does it with an emulated ARM unit, ten times.
test-appliance: PACKAGE ?= $(wildcard target/debian/*_amd64.deb)
test-appliance: CUTS ?= 3
test-appliance: ## install the package on an emulated machine, hang it and cut its power (as root, after make deb)
	.ci/setup --no-pictures --also device --also package $(if $(findstring arm64,$(PACKAGE)),--also aarch64)
	tests/device/appliance --cuts $(CUTS) $(PACKAGE)

yocto-crates: ## list the crates of Cargo.lock in the Yocto layer
	.ci/yocto-crates

licences: ## list the licences of what is compiled in; fails when one is not allowed (deny.toml)
	@.ci/licences

deny: ## check advisories, licences, banned crates and sources (needs cargo-deny and the network)
	cargo deny check

fuzz: setup ## fuzz every target for a quarter of an hour (fuzz/run --help)
	fuzz/run

clean: ## remove what was built and what `make run` keeps; what set-up fetched stays
	cargo clean
	rm -rf .state
