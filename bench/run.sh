#!/bin/sh
# Measures Gatebook beside its peers, and writes docs/reference/performance.md.
#
#   bench/run.sh                the whole: five rounds of five seconds, a stream of 10 GB; about half an hour
#   bench/run.sh quick          three rounds of one second, a stream of 2 GB; some minutes
#   bench/run.sh [quick] -rows 5,6 -out -     any flags of bench
#
# GATEBOOK_CLUSTER names a cluster that runs (RUN of test/cluster/up.sh); without it one is started.
set -eu
cd "$(dirname "$0")/.."
command="bench/run.sh${*:+ $*}"

missing=
for p in nginx:nginx-light haproxy:haproxy wrk:wrk pgbench:postgresql pgbouncer:pgbouncer; do
	PATH="$PATH:/usr/sbin" command -v "${p%%:*}" >/dev/null || missing="$missing ${p##*:}"
done
if [ -n "$missing" ]; then
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
		echo "bench needs its peers:$missing. Install them (Debian: apt-get install$missing) and run it again." >&2
		exit 1
	fi
	echo "installing the peers that are missing:$missing" >&2
	apt-get update -qq >&2
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >&2
fi
export PATH="$PATH:/usr/sbin"

if [ "${1:-}" = quick ]; then
	shift
	set -- -rounds 3 -seconds 1 -stream-gb 2 "$@"
fi
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
CGO_ENABLED=0 go build -trimpath -o "$bin/gatebook" ./cmd/gatebook
go build -o "$bin/bench" ./bench
(cd bench/peers && go build -o "$bin/peers" .)
(cd tools/gitleaks && go build -o "$bin/gitleaks" .)
BENCH_COMMAND="$command" "$bin/bench" -gatebook "$bin/gatebook" -peers "$bin/peers" -gitleaks "$bin/gitleaks" "$@"
