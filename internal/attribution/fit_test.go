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

func statement(text string) *access.Operation { return &access.Operation{SQL: &access.SQL{Text: text}} }

func get(host, path string) *access.Operation {
	return &access.Operation{Target: access.Target{Name: "shop"}, Web: &access.Web{Method: "GET", Host: host, Path: path}}
}

func TestFit(t *testing.T) {
	pull := &access.Operation{Git: &access.Git{Repository: "team/app.git", Service: "upload-pack"}}
	for _, c := range []struct {
		shell string
		op    *access.Operation
		want  fit
	}{
		{"kubectl delete pod web -n a", kube("delete", "pods", "a", "web"), fits},
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
		{"kubectl apply -f x.yaml", sub(kube("create", "pods", "a", "p"), "exec"), fits},
		{"kubectl exec web -- ls", sub(kube("create", "pods", "a", "web"), "exec"), fits},
		{"kubectl exec web -- ls", sub(kube("create", "pods", "a", "other"), "exec"), cannot},
		{"kubectl exec deploy/x -- ls", sub(kube("create", "pods", "a", "x-1"), "exec"), fits},
		{"kubectl cp a/web:/etc/x .", sub(kube("create", "pods", "a", "web"), "exec"), fits},
		{"kubectl create ns team", kube("create", "namespaces", "", "team"), fits},
		{"kubectl create ns team", kube("create", "pods", "a", "x"), cannot},
		{"kubectl rollout restart deployment/web", kube("patch", "deployments", "a", "web"), fits},
		{"kubectl rollout restart deployment/web", kube("patch", "deployments", "a", "api"), cannot},
		{"kubectl get pods", as(kube("list", "pods", "a", ""), "kubectl get"), fits},
		{"kubectl get pods", as(kube("list", "pods", "a", ""), "kubectl describe"), cannot},
		{"kubectl config view", kube("list", "pods", "a", ""), cannot},
		{"kubectl neat", kube("list", "pods", "a", ""), may},
		{"helm upgrade x", kube("patch", "deployments", "a", "web"), may},
		{"helm upgrade x", push("refs/heads/main"), cannot},
		{"ls -la; sleep 5", kube("list", "pods", "a", ""), cannot},
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
		{"git commit -m x", push("refs/heads/main"), cannot},
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
		{"pg_dump x", statement("COPY public.t TO stdout"), fits},

		{"curl -s https://shop.example/api/items", get("shop.example", "/api/items"), fits},
		{"curl -s https://shop.example/api/items", get("other.example", "/api/items"), cannot},
		{"curl -X DELETE https://shop.example/api", get("shop.example", "/api"), cannot},
		{"curl https://gw:8443/t/shop/api", get("shop.internal", "/api"), fits},
		{"curl https://shop.example/a", get("shop.example", "/b"), may},
		{"curl $URL", get("shop.example", "/b"), may},
		{`curl -H "Authorization: Bearer $(gatebook token)" "$GATEBOOK_URL/t/shop/b"`, get("shop.example", "/b"), fits},
		{`curl "$GATEBOOK_URL/t/shop/b"`, get("shop.example", "/c"), may},
		{`curl -H "Authorization: Bearer $(gatebook token)" "$GATEBOOK_URL/t/shop/b"`, kube("list", "pods", "a", ""), may},
		{`curl -H "Authorization: Bearer $(gatebook token)" https://shop.example/b`, kube("list", "pods", "a", ""), cannot},
		{"curl https://shop.example/a", kube("list", "pods", "a", ""), cannot},
		{"curl https://gw/t/prod/api/v1/pods", kube("list", "pods", "", ""), may},
	} {
		in, err := json.Marshal(map[string]string{"command": c.shell})
		if err != nil {
			t.Fatal(err)
		}
		if got := parseIntent("Bash", string(in)).holds(c.op); got != c.want {
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
		if got := parseIntent(c.tool, c.input).holds(c.op); got != c.want {
			t.Errorf("%s %s and %+v: %s, want %s", c.tool, c.input, c.op.Detail(), got, c.want)
		}
	}
}
