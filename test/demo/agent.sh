# What the agent does, in its pod. Its kubectl knows nothing but Gatebook.
k() { echo; echo "agent\$ kubectl $*"; kubectl "$@"; }
k -n web get pods
k -n web get secret db -o jsonpath='{.data.password}{"\n"}'
k -n web exec shop -- sh -c 'echo "DB_PASSWORD is $DB_PASSWORD"; date'
echo; echo "agent\$ kubectl -n web get pods --watch   (for two seconds)"; timeout 2 kubectl -n web get pods --watch
echo; echo "agent\$ kubectl apply -f replicas.yaml"
kubectl apply -f - <<'Y'
apiVersion: v1
kind: ConfigMap
metadata: {name: flags, namespace: web}
data: {replicas: "3", banner: "on"}
Y
k create clusterrolebinding me --clusterrole=cluster-admin --serviceaccount=agents:claude
k delete namespace team-old --wait=false
echo; echo "agent: done"
