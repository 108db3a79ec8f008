#!/bin/bash
# run.sh [plain|masked ...]: runs the upstream Kubernetes end-to-end specs of specs.txt through Gatebook, under each policy
# of policy/ that is named (default: both), and checks that all pass but the exceptions that are listed with a reason.
# With DIRECT=1 they run directly first, and each run is compared with that.
# Environment: GATEBOOK_CLUSTER (RUN of a cluster that is up; without it one is started and stopped), OUT (where results
# go; dist/conformance), GATEBOOK (the binary; bin/gatebook), PROCS, TIMEOUT, SPECS as in suite.sh.
set -euo pipefail
C=$(cd "$(dirname "$0")" && pwd); ROOT=$(cd "$C/../.." && pwd)
OUT=${OUT:-$ROOT/dist/conformance}; mkdir -p "$OUT"; OUT=$(realpath "$OUT")
if [ -n "${GATEBOOK_CLUSTER:-}" ]; then export RUN=$GATEBOOK_CLUSTER; else RUN=$(mktemp -d /tmp/gbc.XXXXXX); export RUN; fi # short: socket paths are bounded
. "$C/../cluster/env.sh"
. "$C/gateway.sh"
finish() {
  gateway_stop || true
  [ -n "${GATEBOOK_CLUSTER:-}" ] || "$C/../cluster/down.sh"
}
trap finish EXIT
trap 'exit 130' INT TERM
[ -n "${GATEBOOK_CLUSTER:-}" ] || { "$C/../cluster/build.sh"; "$C/../cluster/up.sh"; . "$C/../cluster/env.sh"; }
"$C/build.sh"

failed=0
if [ -n "${DIRECT:-}" ]; then
  echo "== directly"
  "$C/suite.sh" "$KUBECONFIG" "$OUT/direct" || failed=1
fi
[ $# -gt 0 ] || set -- plain masked
for policy in "$@"; do
  echo "== through Gatebook, policy/$policy"
  gateway_start "$policy"
  "$C/suite.sh" "$GATEWAY_KUBECONFIG" "$OUT/$policy" || true # which may fail is said below
  gateway_stop || failed=1
  exceptions=("$C/exceptions.txt"); [ ! -f "$C/exceptions-$policy.txt" ] || exceptions+=("$C/exceptions-$policy.txt")
  [ -z "${DIRECT:-}" ] || python3 "$C/report.py" compare "$OUT/direct" "$OUT/$policy" || true
  python3 "$C/report.py" check "${SPECS:-$C/specs.txt}" "$OUT/$policy" "${exceptions[@]}" || failed=1
done
echo "results: $OUT"
exit $failed
