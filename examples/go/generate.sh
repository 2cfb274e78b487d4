#!/bin/sh
# Makes the stubs from ../../proto: `go generate`. Needs protoc on the PATH; its plugins for Go come from go.mod.
set -eu

GOBIN="$PWD/bin" go install tool

# The files name no Go package, because those who generate from them differ; it is said here.
packages=
for file in kv/v1/kv:kv plugin/options:plugin plugin/plugin:plugin; do
    packages="$packages,Mprism/${file%:*}.proto=prism-example/gen/${file#*:}"
done
rm -rf gen
mkdir gen
PATH="$PWD/bin:$PATH" protoc -I ../../proto \
    --go_out=. --go_opt="module=prism-example$packages" \
    --go-grpc_out=. --go-grpc_opt="module=prism-example$packages" \
    prism/kv/v1/kv.proto prism/plugin/options.proto prism/plugin/plugin.proto
