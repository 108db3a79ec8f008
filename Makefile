# Everything is built from source by Go, without C, so that what is built runs anywhere. The Kubernetes of the demo and the
# tests is built once and cached.
GO ?= go
export GOFLAGS := -buildvcs=false
export CGO_ENABLED := 0

.PHONY: build demo test bench lint conformance pgregress cluster

build: ## bin/gatebook
	$(GO) build -trimpath -o bin/gatebook ./cmd/gatebook

cluster: ## a real Kubernetes from source: once, some minutes; then cached
	test/cluster/build.sh

demo: build cluster ## from prompt to effect: Claude Code in a pod, and everything that it reaches, behind Gatebook
	test/demo/run.sh

test: build cluster ## unit, property, fuzz seeds, attack cases and end to end against the real cluster
	$(GO) vet ./...
	$(GO) test -timeout 75m ./...

bench: build
	bench/run.sh

lint:
	test -z "$$(gofmt -l cmd internal test bench 2>/dev/null)"
	$(GO) vet ./...
	$(GO) build -C tools -o ../bin/staticcheck honnef.co/go/tools/cmd/staticcheck
	bin/staticcheck ./...

conformance: build cluster ## the upstream end-to-end specs, directly and through Gatebook
	test/conformance/run.sh

pgregress: build ## all of PostgreSQL's own regression tests, directly and through Gatebook; make test runs most
	PGREGRESS=1 $(GO) test -count=1 -v -timeout 90m ./test/pgregress
