# Sourced by up.sh: chooses the kind of node, free ports and a free subnet, and keeps the choice in $RUN/env.
# NODE=real: kubelet, containerd and runc; needs root. NODE=fake: a node without containers, that isolates nothing.
if [ -z "${NODE:-}" ]; then
  NODE=real; why=
  [ "$(id -u)" = 0 ] || why="not root"
  for c in containerd runc ip; do command -v $c >/dev/null || PATH=$PATH:/usr/sbin:/sbin command -v $c >/dev/null || why="${why:+$why, }no $c"; done
  [ -x /usr/lib/cni/bridge ] || [ -x "$LAB/bin/cni/bridge" ] || why="${why:+$why, }no CNI plugins"
  if [ -n "$why" ]; then
    NODE=fake
    echo "### NO CONTAINERS HERE ($why): pods run as plain processes of this host, isolated from nothing. ###" >&2
    echo "### As root: apt-get install containerd runc containernetworking-plugins busybox-static iptables ###" >&2
  fi
fi
SUB=
if [ "$NODE" = real ]; then
  for i in $(seq 60); do
    n=$((RANDOM % 200 + 20)); mkdir "/tmp/.gatebook-subnet-$n" 2>/dev/null || continue
    ip -4 addr | grep -q "10\.244\.$n\." && { rmdir "/tmp/.gatebook-subnet-$n"; continue; }
    SUB=$n; break
  done
  [ -n "$SUB" ] || { echo "no free subnet below 10.244.0.0/16" >&2; exit 1; }
fi
port=($(freeports 6))
mkdir -p "$RUN"
cat > "$RUN/env" <<V
export NODE=$NODE SUB=$SUB NODE_NAME=labnode NODE_IP=${SUB:+10.244.$SUB.1}
export POD_CIDR=${SUB:+10.244.$SUB.0/24} BRIDGE=gb$SUB CGROUP=gatebook$SUB
export API_PORT=${port[0]} ETCD_PORT=${port[1]} ETCD_PEER=${port[2]} KUBELET_PORT=${port[3]} KCM_PORT=${port[4]} SCHED_PORT=${port[5]}
V
[ -n "$SUB" ] || sed -i 's/NODE_IP=$/NODE_IP=127.0.0.1/' "$RUN/env"
. "$RUN/env"
