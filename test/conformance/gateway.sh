# Sourced by run.sh. gateway_start NAME starts Gatebook with policy/NAME before the cluster of $KUBECONFIG, in $OUT/NAME.gateway,
# and sets GATEWAY_KUBECONFIG, of a service account that may do everything in the cluster; gateway_stop stops it.
gateway_port() { python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])'; }

# A target is reached by a path of the gateway or by a host name of its own. Each policy is tried in one of these ways.
gateway_url() { case $1 in plain) echo "https://127.0.0.1:$2";; *) echo "https://localhost:$2/t/lab";; esac; }

gateway_start() {
  local dir=$OUT/$1.gateway port admin token i
  rm -rf "$dir"; mkdir -p "$dir"
  port=$(gateway_port); admin=$(gateway_port)
  cat > "$dir/config.yaml" <<Y
listen: 127.0.0.1:$port
admin: 127.0.0.1:$admin
data: $dir/data
policy: $C/policy/$1
issuers:
  - {name: lab, url: 'https://issuer.gatebook', audiences: [gatebook], kubernetes: true, cluster: lab, tokenReview: true}
targets:
  - {name: lab, kubeconfig: $KUBECONFIG, hosts: [127.0.0.1]}
drain: 1s
Y
  nice "${GATEBOOK:-$ROOT/bin/gatebook}" serve --config "$dir/config.yaml" > "$dir/log" 2>&1 < /dev/null &
  GATEWAY_PID=$!
  for i in $(seq 300); do
    curl -sf "http://127.0.0.1:$admin/readyz" >/dev/null && break
    kill -0 $GATEWAY_PID 2>/dev/null || { echo "the gateway ended:" >&2; tail -5 "$dir/log" >&2; return 1; }
    sleep 0.1
  done
  # The suite is an administrator. What the gateway forwards is impersonated, so the cluster's RBAC is asked as well.
  kubectl create namespace gatebook-conformance --dry-run=client -o yaml | kubectl apply -f - >/dev/null
  kubectl -n gatebook-conformance create serviceaccount suite --dry-run=client -o yaml | kubectl apply -f - >/dev/null
  kubectl create clusterrolebinding gatebook-conformance --clusterrole=cluster-admin --serviceaccount=gatebook-conformance:suite \
    --dry-run=client -o yaml | kubectl apply -f - >/dev/null
  token=$(kubectl -n gatebook-conformance create token suite --audience=gatebook --duration=4h) || return 1
  GATEWAY_KUBECONFIG=$dir/kubeconfig
  (umask 077; cat > "$GATEWAY_KUBECONFIG" <<Y
apiVersion: v1
kind: Config
clusters: [{name: g, cluster: {server: '$(gateway_url $1 $port)', certificate-authority: '$dir/data/ca.crt'}}]
users: [{name: u, user: {token: '$token'}}]
contexts: [{name: c, context: {cluster: g, user: u}}]
current-context: c
Y
  )
}

gateway_stop() {
  [ -n "${GATEWAY_PID:-}" ] || return 0
  kill "$GATEWAY_PID" 2>/dev/null; wait "$GATEWAY_PID"; GATEWAY_PID=
}
