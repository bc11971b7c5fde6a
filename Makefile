# my_os_server: see README.md. Every target works from a fresh clone with Go and, for `test`, Debian.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  = -s -w -X github.com/geomind/my_os_server/internal/daemon.version=$(VERSION) -X github.com/geomind/my_os_server/internal/cli.linked=$(VERSION)
# HTTP/2 is offered to nobody, over TLS neither: what is left out of net/http is not in memory.
GOBUILD  = CGO_ENABLED=0 go build -trimpath -tags nethttpomithttp2 -ldflags '$(LDFLAGS)'
TOOL     = go tool -modfile=tools/go.mod

# Where `make run` listens: the server's own default, or bin/run for a user without a runtime folder.
RUNTIME := $(shell [ "$$(id -u)" = 0 ] && echo /run || echo "$${XDG_RUNTIME_DIR:-$(CURDIR)/bin/run}")
SOCKET  ?= $(RUNTIME)/my_os_server/rpc.sock

.PHONY: all help build cross run generate test bench fuzz lint check clean

all: build

## help: this list
help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## build: the binaries, in bin/
build:
	$(GOBUILD) -o bin/ ./cmd/...

## cross: the same for both architectures, in bin/ARCH/
cross:
	GOARCH=amd64 $(GOBUILD) -o bin/amd64/ ./cmd/...
	GOARCH=arm64 $(GOBUILD) -o bin/arm64/ ./cmd/...

## run: build, start the native server on this host, print a line to try it with
run: build
	@echo "In another terminal:"
	@echo "  curl -sS --unix-socket $(SOCKET) http://localhost/rpc -d '{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"net.interfaces\"}'"
	@exec bin/my-os-server-native --socket $(SOCKET) $(ARGS)

## generate: everything that comes from api/openrpc.json
generate:
	go generate ./...

# -count=1, since the cache does not know what tests run as programs.
## test: install what the tests need (Debian, as root), run all of them
test:
	scripts/test-deps
	CGO_ENABLED=1 go test -race -count=1 -timeout 20m ./...

## bench: ours and the peer tools in one run, as ratios (as root; ARGS="-n 9 -run routes")
bench: build
	scripts/test-deps dbus nginx
	cd bench && go run . $(ARGS)

## fuzz: every fuzz target for FUZZTIME
FUZZTIME ?= 60s
fuzz:
	scripts/fuzz $(FUZZTIME)

## lint: vet, staticcheck, formatting
lint:
	@test -z "$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go'))" || { gofmt -l $$(git ls-files -co --exclude-standard '*.go'); echo 'gofmt: these files are not formatted'; exit 1; }
	go vet -tags vmtest ./...
	$(TOOL) staticcheck -tags vmtest ./...
	cd bench && go vet ./... && go tool -modfile=../tools/go.mod staticcheck ./...

## check: lint, generated files, module files, both architectures
check: lint cross
	scripts/check-generated

clean:
	rm -rf bin
