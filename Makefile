GOLANGCI_LINT := go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

# The platforms that must build and vet besides the one that this runs on.
PLATFORMS := darwin/arm64 windows/amd64 linux/arm

# A count, not a duration: with Go 1.26 a duration that ends while the machine is busy can fail the run with
# "context deadline exceeded" (golang/go#75804). It is 10 to 30 s for each target on two cores; without a bound on the
# minimizing of each interesting input, minutes.
FUZZTIME ?= 500000x
FUZZFLAGS = -fuzztime $(FUZZTIME) -fuzzminimizetime 100x
FUZZPACKAGES := ./stomp/frame ./stomp/sockjs

# Examples of guest modules: each a Go module of its own that uses this one by a replace directive.
EXAMPLES = $(patsubst %/,%,$(dir $(wildcard examples/*/go.mod)))

GOFILES = $(shell find . -name node_modules -prune -o -name '*.go' -print)

# The steps of `test` share the caches and the machine, and some of them measure time.
.NOTPARALLEL:

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9 -]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build Caddy with this module as bin/caddy
	go build -trimpath -o bin/caddy ./cmd/caddy

.PHONY: run
run: ## run Caddyfile.example, the demo
	go run ./cmd/caddy run --config Caddyfile.example

.PHONY: test
test: deps fmt-check vet platforms lint race bench-once bench-check examples fuzz test-js e2e ## run everything, as a change must pass it

.PHONY: test-short
test-short: fmt-check vet ## format, vet and the short Go tests: seconds, for while you write
	go test -short ./...

.PHONY: deps tools
deps tools: ## check for what `test` needs, and install it where that may be done
	@scripts/deps.sh

.PHONY: fmt
fmt: ## format the Go code
	$(GOLANGCI_LINT) fmt

.PHONY: fmt-check
fmt-check:
	@unformatted=$$(gofmt -l $(GOFILES)); \
	if [ -n "$$unformatted" ]; then printf 'not formatted, run "make fmt":\n%s\n' "$$unformatted" >&2; exit 1; fi

.PHONY: vet
vet: ## go build and go vet
	go build ./...
	go vet ./...

.PHONY: platforms
platforms: ## build and vet for the other platforms
	@set -e; for platform in $(PLATFORMS); do \
		echo "build and vet for $$platform"; \
		export GOOS=$${platform%/*} GOARCH=$${platform#*/}; \
		go build ./...; \
		go vet ./...; \
	done

.PHONY: lint
lint: ## run golangci-lint
	$(GOLANGCI_LINT) run

.PHONY: race
race: ## run the Go tests with the race detector
	go test -race -run '^$$' ./... >/dev/null # builds in parallel; what measures time then has the machine to itself
	go test -race -p 1 ./...

.PHONY: fuzz
fuzz: ## fuzz what reads from the wire; longer with FUZZTIME=10m
	@set -e; for package in $(FUZZPACKAGES); do \
		listed=$$(go test -list '^Fuzz' $$package) || { echo "$$listed"; exit 1; }; \
		targets=$$(echo "$$listed" | grep '^Fuzz') || { echo "no fuzz target in $$package" >&2; exit 1; }; \
		for target in $$targets; do \
			echo "go test -fuzz $$target $(FUZZFLAGS) $$package"; \
			go test -run '^$$' -fuzz "^$$target\$$" $(FUZZFLAGS) $$package; \
		done; \
	done

.PHONY: examples
examples: ## build, vet and test the example modules
	@set -e; for module in $(EXAMPLES); do \
		echo "go vet and go test in $$module"; \
		(cd $$module && go vet ./... && go test -timeout 120s ./...); \
	done

.PHONY: bench
bench: ## load Caddy and a floor in turn: bench/results.json, docs/performance.md
	go run ./bench all -json bench/results.json
	go run ./bench report -json bench/results.json

.PHONY: bench-check
bench-check: ## less than a minute of it: allocations, and ratios with generous bounds
	go run ./bench check

.PHONY: compare
compare: ## load Caddy and RabbitMQ in turn, installed if it is missing: bench/compare/results.json, docs/performance.md
	bench/compare/install.sh
	go run ./bench compare -sessions 2000 -duration 2s -json bench/compare/results.json
	go run ./bench report -json bench/compare/results.json

.PHONY: bench-go
bench-go: ## run the Go benchmarks
	go test -run '^$$' -bench . -benchmem ./...

.PHONY: bench-once
bench-once: ## run each Go benchmark once, to see that it still does
	go test -run '^$$' -bench . -benchtime 1x ./...

.PHONY: test-js
test-js: ## run the unit tests of the demo's STOMP client
	node --test examples/presence/test/*.test.mjs

.PHONY: e2e
e2e: ## run real browsers and clients against the real binary
	cd e2e && npm ci && npm test

.PHONY: clean
clean: ## remove what was built
	rm -rf bin e2e/.bin e2e/node_modules e2e/output
