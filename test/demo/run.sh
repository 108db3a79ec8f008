#!/bin/bash
# From prompt to effect, in one terminal: a real Kubernetes, git host, PostgreSQL and HTTP service, Gatebook before all of
# them, and the real Claude Code in a pod that has no other credential than a service-account token for Gatebook. Its model
# is a script; with ANTHROPIC_API_KEY it is the real one, and the key is the gateway's alone. Ctrl-C stops all of it. With
# DEMO_ONCE=1 it answers everything itself and ends.
set -euo pipefail
cd "$(dirname "$0")/../.."
DEMO=$PWD/test/demo BIN=${GATEBOOK_BIN:-$PWD/bin/gatebook}
KEY=${ANTHROPIC_API_KEY:-}; unset ANTHROPIC_API_KEY
PROMPT="Green tea costs 41.90 in our shop. That must be wrong: find out, put it right, and tell me who has paid too much."
export RUN; RUN=$(mktemp -d /tmp/gbdemo.XXXX)
D=$RUN/demo; mkdir -p "$D"
GW= SHOP= AGENT=
stop() {
  trap - EXIT; trap '' INT TERM HUP; set +e   # whatever comes, and though the terminal may have gone
  echo "stopping …"
  for p in $AGENT $GW $SHOP; do { kill $(pgrep -P "$p") "$p" && wait "$p"; } 2>/dev/null || true; done
  test/cluster/down.sh || true
  echo "stopped."
}
trap stop EXIT; trap 'echo; exit 0' INT TERM HUP
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
until_() { local n=$1; shift; for _ in $(seq "$n"); do "$@" && return; sleep 0.1; done; return 1; }   # until_ TENTHS COMMAND …

say "1  A real Kubernetes; beside it a git host, PostgreSQL, an HTTP service$([ -n "$KEY" ] || echo ", and a scripted model")"
go build -buildvcs=false -o "$D/shop" ./test/demo/shop
SCRIPTED=true; [ -z "$KEY" ] || SCRIPTED=false
"$D/shop" -dir "$D" -model=$SCRIPTED >"$D/shop.log" 2>&1 & SHOP=$!
test/cluster/up.sh
. test/cluster/env.sh
kadmin() { "$LAB/bin/kubectl" --kubeconfig "$RUN/pki/admin.kubeconfig" "$@"; }
kadmin apply -f "$DEMO/cluster.yaml" >/dev/null
shop_ready() { grep -q ready "$D/shop.log" || { kill -0 $SHOP || { cat "$D/shop.log"; exit 1; }; false; }; }
until_ 3000 shop_ready
. "$DEMO/people.sh"; people_init "$D"

say "2  Gatebook before all of them"
read -r PORT SQL ADMIN <<<"$(freeports 3)"
export GATEBOOK_URL=https://$NODE_IP:$PORT GATEBOOK_CA=$D/data/ca.crt
cat > "$D/gatebook.yaml" <<Y
listen: $NODE_IP:$PORT
listenPostgres: $NODE_IP:$SQL
url: $GATEBOOK_URL
admin: 127.0.0.1:$ADMIN
data: $D/data
drain: 2s
issuers:
  - {name: lab, url: https://issuer.gatebook, audiences: [gatebook], kubernetes: true, cluster: lab, tokenReview: true}
  - {name: people, url: https://people.example, audiences: [gatebook], jwksFile: $D/people.jwks}   # your company's identity provider
targets:
  - {name: lab, kubeconfig: $RUN/pki/admin.kubeconfig}
$(cat "$D/targets.yaml")
roles:
  approvers: {groups: [approvers]}
  auditors: {groups: [security]}
  admins: {groups: [security]}
Y
ANTHROPIC_API_KEY=$KEY "$BIN" serve --config "$D/gatebook.yaml" >"$D/gatebook.log" 2>&1 & GW=$!
gateway_ready() { curl -fs "http://127.0.0.1:$ADMIN/readyz" >/dev/null || { kill -0 $GW || { cat "$D/gatebook.log"; exit 1; }; false; }; }
until_ 600 gateway_ready
people_token ada approvers > "$D/ada.token"; people_token grace security > "$D/grace.token"
ada() { GATEBOOK_TOKEN_FILE=$D/ada.token "$BIN" "$@"; }
grace() { GATEBOOK_TOKEN_FILE=$D/grace.token GATEBOOK_KEY=$D/data/auditor.key "$BIN" "$@"; }
sed -n 's/^  - {*name: \([a-z]*\).*/\1/p' "$D/gatebook.yaml" | sed 1,2d | xargs echo "serving $GATEBOOK_URL with the default policy, before:"

say "3  An agent: the real Claude Code. Its only credential is a projected token that is good at Gatebook alone"
CLAUDE=$(dirname "$(dirname "$(dirname "$(cat "$D/claude")")")") NODE_BIN=$(readlink -f "$(command -v node)")
if [ "$NODE" = real ]; then
  kadmin -n agents create configmap gatebook --from-file=ca.crt="$GATEBOOK_CA" --from-file=CLAUDE.md="$D/CLAUDE.md" --from-file="$DEMO/agent.sh" --from-file="$DEMO/print.mjs" >/dev/null
  sed "s#@POD@#claude#; s#@ACCOUNT@#claude#; s#@NAMESPACE@#agents#; s#@GATEWAY@#$GATEBOOK_URL#; s#@GATEBOOK@#$(dirname "$BIN")#
    s#@KUBERNETES@#$LAB/bin#; s#@CLAUDE@#$CLAUDE#; s#@NODE@#$(dirname "$(dirname "$NODE_BIN")")#" test/lab/agent.yaml | kadmin apply -f - >/dev/null
  kadmin -n agents wait --for=condition=Ready pod/claude --timeout=100s >/dev/null
  kadmin -n agents exec claude -- sh -c 'cp /etc/gatebook/CLAUDE.md . && exec sh /etc/gatebook/agent.sh "$0" /etc/gatebook/print.mjs' "$PROMPT" & AGENT=$!
else
  echo "### NO CONTAINERS HERE: the agent is a plain process of this host, isolated from nothing, with a token of the same account. ###"
  kadmin -n agents create token claude --audience=gatebook --duration=8h > "$D/agent.token"
  mkdir -p "$D/home"; cp "$D/CLAUDE.md" "$D/home"
  (cd "$D/home"; exec env -i HOME="$D/home" PATH="$(dirname "$BIN"):$LAB/bin:$CLAUDE/node_modules/.bin:$PATH" IS_SANDBOX=1 DISABLE_AUTOUPDATER=1 GATEBOOK_URL="$GATEBOOK_URL" GATEBOOK_CA="$GATEBOOK_CA" \
    GATEBOOK_TOKEN_FILE="$D/agent.token" GIT_AUTHOR_NAME=claude GIT_AUTHOR_EMAIL=claude@agents GIT_COMMITTER_NAME=claude GIT_COMMITTER_EMAIL=claude@agents \
    sh "$DEMO/agent.sh" "$PROMPT" "$DEMO/print.mjs") & AGENT=$!
fi
echo; echo "you: $PROMPT"

# What the agent may not do by itself waits for a person: for you, who are ada.
while kill -0 $AGENT 2>/dev/null; do
  id=$(ada approvals 2>/dev/null | grep -oE '^[0-9a-z]{26}' | tail -1) || { sleep 0.2; continue; }
  say "ada\$ gatebook approvals $id"; printf '\033[33m'; ada approvals "$id" | grep -vE '^(session|from|digest|needs) ' | cut -c1-150; printf '\033[0m'
  answer=y
  if [ -z "${DEMO_ONCE:-}" ] && [ -t 0 ]; then read -rp "ada, shall it be done? [Y/n] " answer || answer=n; fi
  case $answer in
    n* | N*) ada deny "$id" --reason "not now" ;;
    *) ada approve "$id" --reason "that is the task" ;;
  esac
done
wait $AGENT || echo "the agent has ended with $?"
AGENT=

commit=$(git -C "$D/git/repos/shop.git" rev-parse --short=10 main)
ask() {   # a verb, as grace would type it, and its answer
  local a line=; for a; do case $a in *" "*) line+=" \"$a\"" ;; *) line+=" $a" ;; esac; done
  say "grace\$ gatebook$line"; grace "$@" | cut -c1-170
}
say "4  Which prompt caused this push? Who let it happen? An auditor asks"
ask why "$commit"
say "5  Who has seen the customer's record, and on whose behalf?"
ask why "Rosa Luz"
say "6  The other way round: what came of the prompt"
session=$(grace sessions --principal system:serviceaccount:agents:claude | grep -oE '^[0-9a-z]{26}' | head -1)
ask timeline "$session"
grace checkpoint > "$D/checkpoint" 2>/dev/null || true
op=$(grace search --resource pods/exec --refused false | grep -oE '^[0-9a-z]{26}' | head -1)
say "7  What its command in the shop's pod printed, replayed. The password in it was never seen by the agent, nor by the book"
say "grace\$ gatebook replay $op"; grace replay "$op" --skip 300ms
if [ -n "${DEMO_ONCE:-}" ]; then
  kill $GW; wait $GW || true; GW=
  say "8  The proof that nothing of it was changed, offline"; "$BIN" verify --data "$D/data" --key "$D/data/auditor.key" --checkpoint "$D/checkpoint"
  exit 0
fi
say "8  Try it, in another terminal, in this folder"
cat <<N
    export GATEBOOK_URL=$GATEBOOK_URL GATEBOOK_CA=$GATEBOOK_CA GATEBOOK_TOKEN_FILE=$D/grace.token GATEBOOK_KEY=$D/data/auditor.key
    bin/gatebook sessions            # the runs of agents
    bin/gatebook search secret       # who touched secrets
    bin/gatebook why secrets db      # and which prompt made them
    bin/gatebook tail                # live
    bin/gatebook verify --data $D/data
    bin/gatebook revoke --subject 'lab|system:serviceaccount:agents:claude' --reason "the contract has ended"
  Ctrl-C stops all of it.
N
while :; do sleep 3600 & wait $!; done
