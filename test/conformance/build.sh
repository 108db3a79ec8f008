#!/bin/bash
# Builds the upstream suite (conform.test) and ginkgo from the Go module proxy into the cache of test/cluster. What is
# there is kept. The first time it takes some minutes.
set -euo pipefail
. "$(dirname "$0")/../cluster/env.sh"
cd "$(dirname "$0")/mod"
stamp=$(cat go.mod go.sum ./*.go images/*.go ../build.sh | sha256sum | cut -c1-16)
[ -x "$LAB/bin/conform.test" ] && [ -x "$LAB/bin/ginkgo" ] && [ "$(cat "$LAB/bin/.conform.stamp" 2>/dev/null)" = "$stamp" ] && exit 0
echo "building the upstream end-to-end suite (once, then cached in $LAB)" >&2
s=$(date +%s)
export CGO_ENABLED=0
nice -n 10 go build -trimpath -ldflags "-s -w" -o "$LAB/bin/ginkgo.new" github.com/onsi/ginkgo/v2/ginkgo
nice -n 10 go test -c -trimpath -ldflags "-s -w" -o "$LAB/bin/conform.test.new" .
mv "$LAB/bin/ginkgo.new" "$LAB/bin/ginkgo"
mv "$LAB/bin/conform.test.new" "$LAB/bin/conform.test"
echo "$stamp" > "$LAB/bin/.conform.stamp"
echo "  $(($(date +%s)-s)) s" >&2
