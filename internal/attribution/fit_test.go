package attribution

import (
	"encoding/json"
	"testing"

	"gatebook/internal/access"
)

func kube(verb, resource, namespace, name string) *access.Operation {
	k := access.Kubernetes{Verb: verb, Resource: resource, Namespace: namespace, Name: name}
	if resource == "deployments" {
		k.Group = "apps"
	}
	return &access.Operation{Target: access.Target{Name: "prod"}, Kubernetes: &k}
}

func sub(op *access.Operation, subresource string) *access.Operation {
	op.Kubernetes.Subresource = subresource
	return op
}

func as(op *access.Operation, command string) *access.Operation {
	op.Client.InvokedAs = command
	return op
}

func push(ref string) *access.Operation {
	return &access.Operation{Git: &access.Git{Repository: "team/app.git", Service: "receive-pack", Ref: ref}}
}

func statement(text string) *access.Operation {
	return &access.Operation{Target: access.Target{Name: "orders", Protocol: "postgres"}, SQL: &access.SQL{Database: "shop", Text: text}}
}

func get(host, path string) *access.Operation {
	return &access.Operation{Target: access.Target{Name: "shop"}, Web: &access.Web{Method: "GET", Host: host, Path: path}}
}

func holds(tool, input string, op *access.Operation) fit {
	in, _ := parseIntent(tool, input, nil)
	f, _ := in.holds(&subject{op: op})
	return f
}

func TestFit(t *testing.T) {
	pull := &access.Operation{Git: &access.Git{Repository: "team/app.git", Service: "upload-pack"}}
	for _, c := range []struct {
		shell string
		op    *access.Operation
		want  fit
	}{
		{"kubectl delete pod web -n a", kube("delete", "pods", "a", "web"), fits},
		{"zip x.zip y -T -TT 'kubectl delete pod web -n a; true'", kube("delete", "pods", "a", "web"), may},
		{"install -s --strip-program=./any a b", kube("delete", "pods", "a", "web"), may},
		{"hash -p /usr/bin/kubectl ls; ls delete pod web -n a", kube("delete", "pods", "a", "web"), may},
		{"hash -r; ls", kube("delete", "pods", "a", "web"), cannot},
		{"kubectl delete pod web -n a", kube("get", "pods", "a", "web"), fits},
		{"kubectl delete pod web -n a", kube("delete", "pods", "b", "web"), cannot},
		{"kubectl delete pod web -n a", kube("delete", "pods", "a", "other"), cannot},
		{"kubectl delete pod web -n a", kube("delete", "secrets", "a", "web"), cannot},
		{"kubectl delete pod web -n a", kube("create", "pods", "a", "web"), cannot},
		{"kubectl delete pod $P -n a", kube("delete", "pods", "a", "web"), fits},
		{"kubectl get pods", kube("delete", "pods", "a", "web"), cannot},
		{"kubectl get pods", kube("get", "", "", ""), fits}, // discovery
		{"kubectl get po,svc", kube("list", "services", "a", ""), fits},
		{"kubectl get deploy/web", kube("get", "deployments", "a", "web"), fits},
		{"kubectl get deployments.apps web", kube("get", "deployments", "a", "web"), fits},
		{"kubectl -n a get po web -o yaml", kube("get", "pods", "a", "web"), fits},
		{"kubectl get po -nb", kube("list", "pods", "a", ""), cannot},
		{"kubectl get po -A -n b", kube("list", "pods", "", ""), fits},
		{"kubectl get policies", kube("list", "policies", "", ""), fits},
		{"kubectl apply -f x.yaml", kube("patch", "configmaps", "a", "c"), fits},
		{"kubectl apply -f x.yaml", sub(kube("create", "pods", "a", "p"), "exec"), cannot},
		{"kubectl exec web -- ls", sub(kube("create", "pods", "a", "web"), "exec"), fits},
		{"kubectl exec web -- ls", sub(kube("create", "pods", "a", "other"), "exec"), cannot},
		{"kubectl exec deploy/x -- ls", sub(kube("create", "pods", "a", "x-1"), "exec"), fits},
		{"kubectl cp a/web:/etc/x .", sub(kube("create", "pods", "a", "web"), "exec"), fits},
		{"kubectl create ns team", kube("create", "namespaces", "", "team"), fits},
		{"kubectl create ns team", kube("create", "pods", "a", "x"), cannot},
		{"kubectl rollout restart deployment/web", kube("patch", "deployments", "a", "web"), fits},
		{"kubectl rollout restart deployment/web", kube("patch", "deployments", "a", "api"), cannot},
		{"kubectl get pods", as(kube("list", "pods", "a", ""), "kubectl get"), fits},
		{"kubectl config view", kube("list", "pods", "a", ""), cannot},
		{"kubectl neat", kube("list", "pods", "a", ""), may},
		{"kubectl get --raw /api/v1/nodes/n/proxy/pods | head", sub(kube("proxy", "nodes", "", "n"), "proxy"), fits},
		{"kubectl get --raw '/api/v1/namespaces/a/pods?limit=1'", kube("list", "pods", "a", ""), fits},
		{"kubectl get --raw /api/v1/namespaces/b/pods", kube("list", "pods", "a", ""), may},
		{"helm upgrade x", kube("patch", "deployments", "a", "web"), may},
		{"helm upgrade x", push("refs/heads/main"), cannot},
		{"ls -la; sleep 5", kube("list", "pods", "a", ""), cannot},
		{"touch a; until [ -e b ]; do sleep 1; done; [ -s b ] && cat b", kube("list", "pods", "a", ""), cannot},
		{"python3 x.py", kube("list", "pods", "a", ""), may},
		{"make test", push("refs/heads/main"), may},
		{"awk '{system(\"git push\")}' f", push("refs/heads/main"), may},
		{"kubectl get po | awk '{print $1}'", push("refs/heads/main"), cannot},

		{"git push origin main", push("refs/heads/main"), fits},
		{"git push origin main", push("refs/heads/domain"), cannot},
		{"git push origin HEAD:refs/heads/x", push("refs/heads/x"), fits},
		{"git -C repo push --force origin +a:b", push("refs/heads/b"), fits},
		{"git push", push("refs/heads/any"), fits},
		{"git push origin main", pull, cannot},
		{"git pull", pull, fits},
		{"git clone https://gw/t/git/team/app.git x", pull, fits},
		{"git clone https://gw/t/git/team/other", pull, cannot},
		{"git frobnicate", push("refs/heads/main"), may},
		{"cd r && git add . && git commit -m 'x' && git push origin main", push("refs/heads/main"), fits},

		{`psql -c "select  *  from t;"`, statement("select * from t"), fits},
		{`psql -c "select 1"`, statement("delete from t"), cannot},
		{`psql -tAc 'select 1'`, statement("select 1"), fits},
		{`psql -c '\d t'`, statement("SELECT c.oid FROM pg_catalog.pg_class c"), may},
		{`psql -f x.sql`, statement("delete from t"), fits},
		{`echo "select 1" | psql`, statement("select 1"), fits},
		{"psql <<E\nselect 1;\ndelete from t;\nE", statement("delete from t"), fits},
		{"psql <<E\nselect 1;\nE", statement("delete from t"), cannot},
		{"gatebook connect db -- psql -c 'select 1'", statement("select 1"), fits},
		{"pg_dump orders", statement("COPY public.t TO stdout"), fits},

		{"curl -s https://shop.example/api/items", get("shop.example", "/api/items"), fits},
		{"curl -s https://shop.example/api/items", get("other.example", "/api/items"), cannot},
		{"curl -X DELETE https://shop.example/api", get("shop.example", "/api"), cannot},
		{"curl https://gw:8443/t/shop/api", get("shop.internal", "/api"), fits},
		{"curl https://shop.example/a", get("shop.example", "/b"), cannot},
		{"curl -sL https://shop.example/a", get("shop.example", "/b"), may},
		{"curl $URL", get("shop.example", "/b"), may},
		{`curl -H "Authorization: Bearer $(gatebook token)" "$GATEBOOK_URL/t/shop/b"`, get("shop.example", "/b"), fits},
		{`curl "$GATEBOOK_URL/t/shop/b"`, get("shop.example", "/c"), may},
		{`curl -H "Authorization: Bearer $(gatebook token)" "$GATEBOOK_URL/t/shop/b"`, kube("list", "pods", "a", ""), may},
		{`curl -H "Authorization: Bearer $(gatebook token)" https://shop.example/b`, kube("list", "pods", "a", ""), cannot},
		{"curl https://shop.example/a", kube("list", "pods", "a", ""), cannot},
		{"curl https://gw/t/prod/api/v1/pods", kube("list", "pods", "", ""), may},

		{"kubectl delete pod web-{1,2}", kube("delete", "pods", "a", "web-3"), cannot},
		{"for p in a b; do kubectl delete pod $p; done", kube("delete", "pods", "a", "b"), fits},
		{"for p in a b; do kubectl delete pod $p; done", kube("delete", "pods", "a", "c"), cannot},
		{"for p in $(cat list); do kubectl delete pod $p; done", kube("delete", "pods", "a", "c"), fits},
		{"N=a; for i in 1 2; do N=b; break; done; kubectl delete pod $N", kube("delete", "pods", "n", "a"), fits},
		{"M=a; N=x; for i in b c; do kubectl delete pod $M-$N; M=$i; [ -f s ] && continue; N=$i; done", kube("delete", "pods", "n", "b-x"), fits},
		{"N=a; while read x; do kubectl delete pod $N; N=$x; done", kube("delete", "pods", "n", "z"), fits},
		{"f() { kubectl delete pod $1 -n $2; }; f web a", kube("delete", "pods", "b", "web"), cannot},
		{"f() { kubectl delete pod $1 -n $2; }; f web a", kube("delete", "pods", "a", "web"), fits},
		{"f() { local N=b; }; N=a; f; kubectl delete pod $N", kube("delete", "pods", "n", "a"), fits},
		{"f() { N=b; }; N=a; f; kubectl delete pod $N", kube("delete", "pods", "n", "a"), cannot},
		{"cd x && export NS=a && kubectl delete pod web -n $NS", kube("delete", "pods", "b", "web"), cannot},
		{"NS=a; false && NS=b; kubectl delete pod web -n $NS", kube("delete", "pods", "a", "web"), fits},
		{"NS=a; source ./env; kubectl delete pod web -n $NS", kube("delete", "pods", "b", "web"), fits},
		{"eval \"$(cat x)\"; ls", kube("delete", "pods", "b", "web"), may},
		{"IFS=,; A=delete,pod,web; kubectl $A", kube("delete", "pods", "b", "web"), may},
		{"PATH=$PWD/bin:$PATH; ls", push("refs/heads/main"), may},
		{"export PATH=$PATH:/usr/local/go/bin; ls", push("refs/heads/main"), cannot},
		{"sleep 5 & wait; ls | tee x", push("refs/heads/main"), cannot},
		{"echo a b | xargs kubectl delete pod", kube("delete", "pods", "n", "b"), fits},
		{"echo a b | xargs kubectl delete pod", kube("delete", "pods", "n", "c"), cannot},
		{"echo a b | xargs -n1 kubectl delete pod", kube("delete", "pods", "n", "b"), fits},
		{"printf '%s\\n' a b | xargs -I{} kubectl delete pod {} -n {}", kube("delete", "pods", "b", "b"), fits},
		{"printf '%s\\n' a b | xargs -I{} kubectl delete pod {} -n {}", kube("delete", "pods", "b", "a"), cannot},
		{"kubectl get po -o name | xargs -I % kubectl delete %", kube("delete", "pods", "b", "a"), fits},
		{"find . -name '*.yaml' -exec kubectl apply -f {} \\; -print", kube("patch", "pods", "b", "a"), fits},
		{"watch -n 1 'kubectl get po'", kube("list", "pods", "b", ""), fits},
		{"flock /tmp/l git push", push("refs/heads/main"), fits},
		{"env -S 'git push'", push("refs/heads/main"), fits},
		{"sudo A=b git push", push("refs/heads/main"), fits},
		{"timeout 10s bash <<'E'\ngit push origin a\nE", push("refs/heads/a"), fits},
		{"timeout 10s bash <<'E'\ngit push origin a\nE", push("refs/heads/b"), cannot},
		{"git commit -m \"$(cat <<'E'\nit's\nE\n)\" && git push origin a", push("refs/heads/a"), fits},
		{"bash -c 'kubectl delete pod $1' _ web", kube("delete", "pods", "n", "web"), fits},
		{"case $1 in a) NS=x;; esac; kubectl delete pod web -n $NS", kube("delete", "pods", "y", "web"), fits},
		{"X=a; ((X++)); kubectl delete pod $X", kube("delete", "pods", "y", "b"), fits},
		{"git submodule foreach 'kubectl get po'", kube("list", "pods", "y", ""), fits},
		{"kubectl apply -f - <<E\nkind: ConfigMap\nmetadata: {name: c, namespace: a}\n---\nkind: Pod\nmetadata: {name: p}\nE", kube("patch", "configmaps", "a", "c"), fits},
		{"kubectl apply -f - <<E\nkind: ConfigMap\nmetadata: {name: c, namespace: a}\nE", kube("patch", "configmaps", "a", "d"), cannot},
		{"kubectl apply -f - <<E\nkind: ConfigMap\nmetadata: {name: $X}\nE", kube("patch", "configmaps", "a", "d"), fits},
		{"kubectl --context prod get po", kube("list", "pods", "a", ""), fits},
		{"kubectl --context other get po", kube("list", "pods", "a", ""), may},
		{"kubectl get po -A", kube("list", "pods", "a", ""), cannot},
		{"kubectl get po -n a", kube("list", "pods", "", ""), cannot},
		{"kubectl get no -n a", kube("list", "nodes", "", ""), fits},
		{"kubectl get --raw /healthz", &access.Operation{Kubernetes: &access.Kubernetes{Verb: "get", Path: "/healthz"}}, fits},
		{"kubectl get po", &access.Operation{Kubernetes: &access.Kubernetes{Verb: "get", Path: "/healthz"}}, cannot},
		{"kubectl get po", &access.Operation{Kubernetes: &access.Kubernetes{Verb: "get", Path: "/apis"}}, fits},
		{"kubectl logs web", sub(kube("get", "pods", "a", "web"), "log"), fits},
		{"kubectl logs web", sub(kube("get", "pods", "a", "api"), "log"), cannot},
		{"kubectl logs deploy/web", kube("get", "deployments", "a", "web"), fits},
		{"kubectl cordon n1", kube("patch", "nodes", "", "n2"), cannot},
		{"kubectl create token robot", sub(kube("create", "serviceaccounts", "a", "robot"), "token"), fits},
		{"kubectl describe pod web", kube("list", "events", "a", ""), fits},
		{"kubectl describe pod web", kube("get", "secrets", "a", "db"), may},
		{"kubectl label pod web a=b", kube("patch", "pods", "a", "web"), fits},
		{"git push origin tag v1", push("refs/heads/v1"), cannot},
		{"git push origin 'refs/heads/*:refs/heads/*'", push("refs/heads/v1"), fits},
		{"git push git@host:team/app.git main", push("refs/heads/main"), fits},
		{"git push --tags", push("refs/tags/v1"), fits},
		{"git -c core.sshCommand=x status", push("refs/heads/main"), may},
		{"psql -d orders -c 'select 1'", statement("select 1"), fits},
		{"psql service=billing -c 'select 1'", statement("select 1"), may},
		{"PGDATABASE=billing psql -c 'select 1'", statement("select 1"), may},
		{"psql postgres://gw/orders?x=1 -tAc 'select 1'", statement("select 1"), fits},
		{"psql -v n=1 -c 'select :n'", statement("select 1"), may},
		{"psql -c 'select 1::int'", statement("select 2"), cannot},
		{"psql -c 'select 1 -- x' -c 'select /* y */ 2'", statement("select 2"), fits},
		{"psql -c \"select ';'\"", statement("select ';'"), fits},
		{"psql -1 -c 'select 1'", &access.Operation{Target: access.Target{Name: "orders"}, SQL: &access.SQL{Text: "begin", Kinds: []string{"begin"}}}, may},
		{"psql < x.sql", statement("select 1"), fits},
		{"mysql -e 'select 1'", statement("select 1"), cannot},
		{"mariadb -D orders -e 'select 1'", &access.Operation{Target: access.Target{Name: "orders", Protocol: "mysql"}, SQL: &access.SQL{Text: "select 1"}}, fits},
		{"pgbench -S orders", statement("select 1"), fits},
		{"createdb x", statement("delete from t"), cannot},
		{"curl -d a=b https://shop.example/a", get("shop.example", "/a"), cannot},
		{"curl -G -d a=b https://shop.example/a", get("shop.example", "/a"), fits},
		{"curl 'https://shop.example/a?id=1'", get("shop.example", "/a"), cannot},
		{"curl shop.example/a", get("shop.example", "/a"), fits},
		{"curl -d '{\"u\":\"https://shop.example/a\"}' https://other.example/x", get("shop.example", "/a"), cannot},
		{"curl -K conf", get("shop.example", "/a"), may},
		{"wget -q -O - https://shop.example/a", get("shop.example", "/a"), fits},
		{"wget --post-data=x https://shop.example/a", get("shop.example", "/a"), may},
		{"http shop.example/a q==1", get("shop.example", "/a"), fits},
		{"http POST shop.example/a q=1", get("shop.example", "/a"), cannot},
		{"gh pr list", get("api.github.com", "/x"), may},
		{"kustomize build x", kube("list", "pods", "", ""), cannot},
		{"python3 -c 'import urllib.request as u; u.urlopen(\"https://shop.example/a\")'", get("shop.example", "/a"), fits},
		{"python3 -c 'print(1)'", get("shop.example", "/a"), may},
		{"python3 - <<'E'\ncur.execute(\"delete from t where id = 3\")\nE", statement("delete from t where id = 3"), fits},
		{"npm run deploy", get("shop.example", "/a"), may},
		{"kubectl delete pod web-{1,2}", kube("delete", "pods", "a", "web-1"), fits},
		{"(NS=b); NS=a; (NS=b); kubectl delete pod web -n $NS", kube("delete", "pods", "a", "web"), fits},
		{"NS=a; if [ -f x ]; then NS=b; fi; kubectl delete pod web -n $NS", kube("delete", "pods", "a", "web"), fits},
		{"NS=a; read NS; kubectl delete pod web -n $NS", kube("delete", "pods", "b", "web"), fits},
		{"trap 'git push' EXIT", push("refs/heads/main"), fits},
		{"command -v kubectl", kube("list", "pods", "a", ""), cannot},
		{"git push origin main", push("refs/heads/feature/main"), cannot},
		{"git push https://gw/t/git/team/other main", push("refs/heads/main"), cannot},
		{"git remote -v", &access.Operation{Git: &access.Git{Repository: "team/app", Service: "upload-pack"}}, cannot},
		{"curl -H 'Referer: https://shop.example/a' https://other.example/x", get("shop.example", "/a"), cannot},
		{"curl -XDELETE https://shop.example/a", get("shop.example", "/a"), cannot},
		{"curl -L https://other.example/a", get("shop.example", "/a"), may},
		{`psql -c "select 10; select 2"`, statement("select 1"), cannot},
		{"kubectl top pods", kube("list", "secrets", "a", ""), cannot},
		{"kubectl auth can-i list pods", kube("create", "pods", "a", ""), cannot},
		{"kubectl run x --image y", kube("create", "pods", "a", "z"), cannot},
		{"pg_dump orders", statement("delete from t"), cannot},
		{"ls() { git push; }; ls", push("refs/heads/main"), fits},
		{"/tmp/ls", push("refs/heads/main"), may},
		{"sed 's/a/git push/ge' f", push("refs/heads/main"), may},
		{`A="delete pod web -n a"; kubectl $A`, kube("delete", "pods", "a", "web"), fits},
		{"git -c alias.p='push origin main' p", push("refs/heads/main"), fits},
		{"git -c alias.p='!kubectl get po' p", kube("list", "pods", "a", ""), fits},
		{"git commit -m x", push("refs/heads/main"), may},
		{"cat </dev/tcp/gw/80", get("shop.example", "/a"), may},
	} {
		in, err := json.Marshal(map[string]string{"command": c.shell})
		if err != nil {
			t.Fatal(err)
		}
		if got := holds("Bash", string(in), c.op); got != c.want {
			t.Errorf("%s and %+v: %s, want %s", c.shell, c.op.Detail(), got, c.want)
		}
	}
}

func TestFitOfOtherTools(t *testing.T) {
	mcp := func(tool string, args map[string]any) *access.Operation {
		return &access.Operation{Web: &access.Web{Host: "mcp", MCP: &access.MCP{Method: "tools/call", Tool: tool, Arguments: args}}}
	}
	for _, c := range []struct {
		tool, input string
		op          *access.Operation
		want        fit
	}{
		{"Read", `{"file_path":"/etc/passwd"}`, kube("list", "pods", "", ""), cannot},
		{"Task", `{"prompt":"kubectl get pods"}`, kube("list", "pods", "", ""), cannot},
		{"shell", `{"command":["bash","-lc","kubectl get pods"]}`, kube("list", "pods", "", ""), fits},
		{"shell", `{"command":["git","push","it's"]}`, push("refs/heads/it's"), fits},
		{"WebFetch", `{"url":"https://shop.example/x"}`, get("shop.example", "/x"), fits},
		{"WebFetch", `{"url":"https://shop.example/x"}`, kube("list", "pods", "", ""), cannot},
		{"mcp__crm__delete", `{"id":7}`, mcp("delete", map[string]any{"id": 7.0}), fits},
		{"mcp__crm__delete", `{"id":7}`, mcp("delete", map[string]any{"id": 8.0}), cannot},
		{"mcp__crm__delete", `{"id":7}`, mcp("read", map[string]any{"id": 7.0}), cannot},
		{"mcp__crm__delete", `{"id":7}`, kube("list", "pods", "", ""), may},
		{"Frobnicate", `{"x":1}`, kube("list", "pods", "", ""), may},
		{"Bash", `not json`, kube("list", "pods", "", ""), may},
	} {
		if got := holds(c.tool, c.input, c.op); got != c.want {
			t.Errorf("%s %s and %+v: %s, want %s", c.tool, c.input, c.op.Detail(), got, c.want)
		}
	}
}
