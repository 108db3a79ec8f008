#!/bin/bash
# The main job, in one terminal: a real Kubernetes, Gatebook before it, and an agent in a pod that has no other credential
# than a service-account token for Gatebook. Ctrl-C stops all of it. With DEMO_ONCE=1 it answers everything itself and ends.
set -euo pipefail
cd "$(dirname "$0")/../.."
DEMO=$PWD/test/demo BIN=${GATEBOOK_BIN:-$PWD/bin/gatebook}
export RUN; RUN=$(mktemp -d /tmp/gbdemo.XXXX)
D=$RUN/demo; mkdir -p "$D"
GW=
stop() {
  trap - EXIT INT TERM
  [ -z "$GW" ] || { kill "$GW" 2>/dev/null && wait "$GW" 2>/dev/null; } || true
  test/cluster/down.sh || true
  echo "stopped."
}
trap stop EXIT; trap 'echo; exit 0' INT TERM
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

say "1  A real Kubernetes: etcd, kube-apiserver, controllers, scheduler and a node"
test/cluster/up.sh
. test/cluster/env.sh
CACHE=$LAB
kadmin() { "$CACHE/bin/kubectl" --kubeconfig "$RUN/pki/admin.kubeconfig" "$@"; }
kadmin apply -f "$DEMO/cluster.yaml" >/dev/null
. "$DEMO/people.sh"; people_init "$D"

say "2  Gatebook before it"
PORT=$(freeport); ADMIN=$(freeport)
export GATEBOOK_URL=https://$NODE_IP:$PORT GATEBOOK_CA=$D/data/ca.crt
cat > "$D/gatebook.yaml" <<Y
listen: $NODE_IP:$PORT
url: $GATEBOOK_URL
admin: 127.0.0.1:$ADMIN
data: $D/data
issuers:
  - {name: lab, url: https://issuer.gatebook, audiences: [gatebook], kubernetes: true, cluster: lab, tokenReview: true}
  - {name: people, url: https://people.example, audiences: [gatebook], jwksFile: $D/people.jwks}   # your company's identity provider
targets:
  - {name: lab, kubeconfig: $RUN/pki/admin.kubeconfig}
roles:
  approvers: {groups: [approvers]}
  auditors: {groups: [security]}
  admins: {groups: [security]}
Y
"$BIN" serve --config "$D/gatebook.yaml" >"$D/gatebook.log" 2>&1 & GW=$!
for _ in $(seq 100); do curl -fs "http://127.0.0.1:$ADMIN/readyz" >/dev/null && break; kill -0 $GW || { cat "$D/gatebook.log"; exit 1; }; sleep 0.1; done
people_token ada approvers > "$D/ada.token"; people_token grace security > "$D/grace.token"
ada() { GATEBOOK_TOKEN_FILE=$D/ada.token "$BIN" "$@"; }
grace() { GATEBOOK_TOKEN_FILE=$D/grace.token "$BIN" "$@"; }
grace kubeconfig --agent --agent-token-file /var/run/gatebook/token > "$D/agent.kubeconfig"
echo "serving $GATEBOOK_URL with the default policy"

say "3  An agent in a pod. Its only credential is a projected token with audience gatebook"
if [ "$NODE" = real ]; then
  kadmin -n agents create configmap agent --from-file=kubeconfig="$D/agent.kubeconfig" --from-file=agent.sh="$DEMO/agent.sh" >/dev/null
  sed "s#KUBECTL_FOLDER#$CACHE/bin#" "$DEMO/agent.yaml" | kadmin apply -f - >/dev/null
  kadmin -n agents wait --for=condition=Ready pod/claude --timeout=60s >/dev/null
  kadmin -n agents logs -f claude & AGENT=$!
else
  echo "### no containers here: the agent runs as a process of this host, with the same token ###"
  kadmin -n agents create token claude --audience=gatebook --duration=8h > "$D/agent.token"
  sed -i "s#/var/run/gatebook/token#$D/agent.token#" "$D/agent.kubeconfig"
  PATH=$CACHE/bin:$PATH KUBECONFIG=$D/agent.kubeconfig sh "$DEMO/agent.sh" & AGENT=$!
fi

# held TEXT: waits until an operation with TEXT in it is held, and prints its approval's id
held() {
  for _ in $(seq 300); do
    id=$(ada approvals 2>/dev/null | grep -B1 -F -- "$1" | grep -oE '^[0-9a-z]{26}' | head -1) && [ -n "$id" ] && { echo "$id"; return; }
    sleep 0.2
  done
  echo "nothing was held for: $1" >&2; return 1
}
id=$(held "exec"); say "   ada is asked about an exec, and sees all of it:"; ada approvals "$id"
ada approve "$id" --reason "debugging the web pod is its task"
id=$(held "flags"); say "   ada is asked about a change:"; ada approvals "$id" | sed -n '1,40p'
ada approve "$id" --reason "fine"
id=$(held "ClusterRoleBinding"); ada deny "$id" --reason "agents get no cluster-wide rights; ask for a role in your namespace"
id=$(held "delete namespace")

if [ -n "${DEMO_ONCE:-}" ]; then ada approve "$id" --reason "team-old is gone"; wait $AGENT || true
else
  say "4  Now you. The agent waits for leave to delete a namespace. In another terminal, here:"
  cat <<N
    export GATEBOOK_URL=$GATEBOOK_URL GATEBOOK_CA=$GATEBOOK_CA GATEBOOK_TOKEN_FILE=$D/ada.token
    bin/gatebook approvals $id
    bin/gatebook approve $id --reason "team-old is gone"        # or: deny $id --reason ...
N
  wait $AGENT || true
fi
op=$(grace search --resource pods/exec --refused false | grep -oE '^[0-9a-z]{26}' | head -1)
grace checkpoint > "$D/checkpoint" 2>/dev/null || true
say "5  What the agent did (an auditor asks)"
grace sessions; grace search | cut -c1-160
say "6  Its exec, replayed from the recording; the secret in it is masked there, too"
grace replay "$op" --key "$D/data/auditor.key" --skip 300ms
if [ -n "${DEMO_ONCE:-}" ]; then
  kill $GW; wait $GW || true; GW=
  say "7  The proof, offline"; "$BIN" verify --data "$D/data" --key "$D/data/auditor.key"
  exit 0
fi
say "7  Try it"
cat <<N
    export GATEBOOK_TOKEN_FILE=$D/grace.token GATEBOOK_KEY=$D/data/auditor.key
    bin/gatebook show $op            # everything that was recorded of it
    bin/gatebook search secret       # who touched secrets
    bin/gatebook tail                # live
    bin/gatebook verify --data $D/data
    bin/gatebook revoke --subject 'lab|system:serviceaccount:agents:claude' --reason "the contract has ended"
  Ctrl-C stops all of it.
N
while :; do sleep 3600 & wait $!; done
