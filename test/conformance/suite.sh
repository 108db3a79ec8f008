#!/bin/bash
# suite.sh KUBECONFIG OUT: runs the specs of specs.txt with a kubeconfig. OUT gets one "STATUS<TAB>spec" line per spec, in
# the order of specs.txt; beside it .json (ginkgo's report), .log, .times and .why (the failures). Exit 1: not all passed.
# Environment: PROCS (3), TIMEOUT (30m, the whole suite), SPECS (specs.txt), EXTRA (more flags of the framework).
set -u
KC=$(realpath "$1"); OUT=$(realpath -m "$2")
C=$(cd "$(dirname "$0")" && pwd); . "$C/../cluster/env.sh"; export KUBECONFIG="$KC"
SPECS=${SPECS:-$C/specs.txt}
mkdir -p "$(dirname "$OUT")"; rm -f "$OUT" "$OUT".json "$OUT".log "$OUT".times "$OUT".why
mapfile -t focus < <(python3 "$C/report.py" focus "$SPECS")
[ ${#focus[@]} -gt 0 ] || { echo "no specs in $SPECS" >&2; exit 2; }
s=$(date +%s)
# --keep-going: one failure must not stop the others; no --flake-attempts: a flake is a difference
nice -n 10 "$LAB/bin/ginkgo" run --procs="${PROCS:-3}" --no-color --silence-skips --keep-going --timeout="${TIMEOUT:-30m}" \
  --output-dir="$(dirname "$OUT")" --json-report="$(basename "$OUT").json" "${focus[@]}" "$LAB/bin/conform.test" -- \
  --kubeconfig="$KC" --kubectl-path="$LAB/bin/kubectl" --provider=skeleton --num-nodes=1 --dump-logs-on-failure=false ${EXTRA:-} \
  > "$OUT.log" 2>&1 < /dev/null
python3 "$C/report.py" write "$SPECS" "$OUT" $(($(date +%s)-s))
