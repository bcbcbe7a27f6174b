# `make` lists the targets: each has its text after "##".

GOLANGCI_LINT_VERSION := v2.15.0
BIN := $(CURDIR)/bin

export GOTOOLCHAIN ?= auto

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: ## run the bundled server on 127.0.0.1:8080 (ARGS="-h" explains)
	@go build -o $(BIN)/server ./examples/server
	@exec $(BIN)/server $(ARGS)

# A binary with the race detector sleeps for a second before it exits: there is one for
# each package.
export GORACE ?= atexit_sleep_ms=0

.PHONY: test
test: ## run the tests, with the race detector where there is a C compiler
	cd examples/nethttp && go test $(RACE) -shuffle=on -timeout 10m ./...
	cd ecosystem && go test $(RACE) -shuffle=on -timeout 10m ./...
	go test $(RACE) -shuffle=on -timeout 10m ./...

# The race detector needs cgo. Without it the tests are the same, less sharp.
RACE := $(shell test "$$(go env CGO_ENABLED)" = 1 && command -v "$$(go env CC)" >/dev/null && echo -race)

# Each test that sets no ParkAfter and no Preface of its own, with a small one, and one
# that reads nothing. What is skipped has no server with them.
.PHONY: test-parked
test-parked: ## run the tests with parking and prefaces on
	LASTCALL_PREFACE=1 LASTCALL_PARK_AFTER=1ms PARK_AFTER=2ms go test -shuffle=on -timeout 10m -skip '^(Fuzz|Example|TestTable|TestNoDescriptors$$|TestShutdownOfAProcess$$)' ./lifecycle/... ./examples/server

.PHONY: check
check: tidy format vet lint test test-parked alloc fuzz-seconds ## all that CI checks

.PHONY: tidy
tidy: ## check that go.mod and go.sum are tidy
	go mod tidy -diff
	cd benchmarks && go mod tidy -diff
	cd examples/nethttp && go mod tidy -diff
	cd ecosystem && go mod tidy -diff
	cd e2e && go mod tidy -diff

.PHONY: format
format: ## check the formatting
	@files=$$(gofmt -l .); test -z "$$files" || { echo "not formatted:" $$files; exit 1; }

.PHONY: vet
vet: ## vet for every platform
	go vet ./...
	GOOS=darwin go vet ./...
	GOOS=freebsd go vet ./...
	GOOS=windows go vet ./...
	cd benchmarks && go vet ./...
	cd examples/nethttp && go vet ./...
	cd ecosystem && go vet ./...
	cd e2e && go vet ./...

.PHONY: lint
lint: $(BIN)/golangci-lint-$(GOLANGCI_LINT_VERSION) ## run the linter
	$< run ./...
	cd examples/nethttp && $< run ./...
	cd ecosystem && $< run ./...
	cd e2e && $< run ./...

$(BIN)/golangci-lint-$(GOLANGCI_LINT_VERSION):
	GOBIN=$(BIN) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	@mv $(BIN)/golangci-lint $@

.PHONY: alloc
alloc: ## check that requests allocate nothing, and events little (without the race detector, which allocates)
	go test -run 'Alloc' ./lifecycle ./toolkit ./toolkit/nethttp ./toolkit/metrics ./toolkit/debug

FUZZTIME ?= 30s

.PHONY: fuzz
fuzz: ## fuzz each target for FUZZTIME (30s)
	go test -run '^$$' -fuzz FuzzConnStates -fuzztime $(FUZZTIME) ./lifecycle
	go test -run '^$$' -fuzz FuzzTable -fuzztime $(FUZZTIME) -fuzzminimizetime 100x ./lifecycle
	go test -run '^$$' -fuzz FuzzServer -fuzztime $(FUZZTIME) -fuzzminimizetime 100x ./toolkit
	go test -run '^$$' -fuzz FuzzBuilder -fuzztime $(FUZZTIME) ./toolkit
	go test -run '^$$' -fuzz FuzzClientIP -fuzztime $(FUZZTIME) ./toolkit
	go test -run '^$$' -fuzz FuzzProxyHeader -fuzztime $(FUZZTIME) ./toolkit
	go test -run '^$$' -fuzz FuzzNegotiate -fuzztime $(FUZZTIME) ./toolkit
	go test -run '^$$' -fuzz FuzzRoutes -fuzztime $(FUZZTIME) -fuzzminimizetime 100x ./toolkit/nethttp
	go test -run '^$$' -fuzz FuzzFrames -fuzztime $(FUZZTIME) ./toolkit/nethttp

.PHONY: fuzz-seconds
fuzz-seconds:
	$(MAKE) fuzz FUZZTIME=3s

ROUNDS ?= 200

.PHONY: rehearse
rehearse: ## count the requests that ROUNDS (200) shutdowns lose, beside fasthttp and net/http (ARGS="-h" explains)
	@go build -o $(BIN)/rehearse ./examples/rehearse
	@$(BIN)/rehearse -rounds $(ROUNDS) $(ARGS)

RESTARTS ?= 20

.PHONY: e2e
e2e: ## RESTARTS (20) rolling restarts behind real proxies, and no request may fail; the live page in Chromium; the Kubernetes manifest
	go test -count=1 -v -run RollingRestarts ./examples/haproxy -restarts $(RESTARTS)
	cd e2e && go test -count=1 ./...

.PHONY: screenshots
screenshots: ## take those of the live page that are in docs/, for two minutes
	@dir=$$(mktemp -d) && (cd e2e && SCREENSHOTS=$$dir SCENE=100s go test -count=1 -run Screenshots .) && \
		cp $$dir/live-page-*.png docs/ && echo "all of them are in $$dir"

DURATION ?= 10m

.PHONY: soak
soak: ## restart a server for DURATION (10m) under good and bad clients, and account for every request (Linux)
	@go build -o $(BIN)/soak ./examples/soak
	@$(BIN)/soak -duration $(DURATION) $(ARGS)

.PHONY: conformance
conformance: ## compare what servers of net/http handlers show with net/http, behaviour by behaviour (ARGS="-h" explains)
	@go build -o $(BIN)/conformance ./examples/conformance
	@$(BIN)/conformance $(ARGS)

.PHONY: bench
bench: ## measure ours beside its peers, for some five minutes (ARGS="-h" explains)
	cd benchmarks && go run ./cmd/bench -out results/short -skip '$(BENCH_LONG)' $(ARGS)

# What takes long, or differs little from what remains.
BENCH_LONG := ^(plain/(1kB|16kB|64kB)/(1|1000)|idle/100000|exit/idle-now)$$

.PHONY: bench-full
bench-full: ## measure all of it, with longer slots and more rounds: most of an hour
	cd benchmarks && go run ./cmd/bench -out results -rounds 12 -slot 1s $(ARGS)
