package attack

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"

	"gatebook/test/lab"
)

// hideKeys makes the private keys of the cluster's administrator, as whom the gateway acts, canaries: the lines of their
// PEM files, but for what all keys of a kind share.
func (s *scene) hideKeys() (file string, pem []byte) {
	s.t.Helper()
	config, err := clientcmd.LoadFromFile(cluster.Kubeconfig)
	if err != nil {
		s.t.Fatal(err)
	}
	for name, u := range config.AuthInfos {
		pem = u.ClientKeyData
		if file = u.ClientKey; file != "" {
			if pem, err = os.ReadFile(file); err != nil {
				s.t.Fatal(err)
			}
		}
		lines := strings.Split(strings.TrimSpace(string(pem)), "\n")
		for i, line := range lines {
			switch {
			case i == 0 || i == len(lines)-1:
				continue
			case len(lines) < 7 && i > 1: // of an elliptic curve: the rest is the public key
				continue
			case i == 1 && len(line) == 64:
				line = line[48:]
				if len(lines) < 7 {
					line = lines[1][14:50]
				}
			}
			s.hidden[fmt.Sprint(name, i)] = canary{[]byte(line)}
			s.search.hide(fmt.Sprint(name, i), canary{[]byte(line)})
		}
	}
	if len(s.hidden) == 0 {
		s.t.Fatal("the gateway's credential was not found, so that nothing would be proved")
	}
	return file, pem
}

// M45: an agent that may do everything finds copies of the gateway's own credentials for two clusters, a key and a token, in
// the places where people leave such: ConfigMaps, Secrets, environments, a node's files, logs, kubeconfigs. None comes out.
func TestM45CopiesOfTheGatewaysCredentials(t *testing.T) {
	ns := namespace(t)
	must(t, admin(t, "", "-n", ns, "create", "sa", "gateway"))
	token := strings.TrimSpace(must(t, admin(t, "", "-n", ns, "create", "token", "gateway", "--duration=1h")).Stdout)
	other := lab.StartUpstream(t, false, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Got", r.Header.Get("Authorization"))
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprintf(w, "your headers: %v\n", r.Header)
	})
	tokenFile := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(tokenFile, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	target := strings.Replace(other.Target("other", ""), "token: {file: ", "token: {file: "+tokenFile+"} #", 1)
	s := newSceneWith(t, lab.Options{Targets: target, Policy: map[string]string{"all.yaml": allowAll}})
	file, pem := s.hideKeys()
	s.hidden["token"] = canary{[]byte(token[strings.LastIndex(token, ".")+1:])}
	s.search.hide("token", s.hidden["token"])
	kubeconfig := toJSON(map[string]any{"apiVersion": "v1", "kind": "Config", "users": []any{
		map[string]any{"name": "a", "user": map[string]any{"client-key-data": pem}}, map[string]any{"name": "b", "user": map[string]any{"token": token}}}})
	s.object(toJSON(map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "left", "annotations": map[string]string{"token": token}},
		"data": map[string]string{"config": kubeconfig, "key": string(pem), "token": token, "env": "TOKEN=" + token}, "binaryData": map[string]any{"config2": []byte(kubeconfig), "key2": pem}}))
	s.object(toJSON(map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": "left", "annotations": map[string]string{"token": token}}, "data": map[string]any{"config": []byte(kubeconfig)}}))
	dir := filepath.Dir(cluster.Kubeconfig)
	if file != "" {
		dir = filepath.Dir(file)
	}
	s.object(toJSON(map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "box"}, "spec": map[string]any{"terminationGracePeriodSeconds": 0, "hostPID": true,
		"volumes": []any{map[string]any{"name": "node", "hostPath": map[string]any{"path": dir}}, map[string]any{"name": "left", "configMap": map[string]any{"name": "left"}}},
		"containers": []any{map[string]any{"name": "c", "image": "lab.local/busybox:1", "imagePullPolicy": "Never", "env": []any{map[string]any{"name": "TOKEN", "value": token}, map[string]any{"name": "KEY", "value": string(pem)}},
			"command":      []string{"sh", "-c", `echo started; echo "$TOKEN"; echo "$KEY"; cat /left/config; while sleep 1; do :; done`},
			"volumeMounts": []any{map[string]any{"name": "node", "mountPath": "/node"}, map[string]any{"name": "left", "mountPath": "/left"}}}}}}))
	must(t, admin(t, "", "-n", s.ns, "wait", "--for=condition=Ready", "pod/box", "--timeout=180s"))
	a := s.do(request{path: "/t/lab/../other/anything"})
	over := over(t, s.g, h1).do(request{path: "/t/other/api/v1/echo", token: s.agent})
	s.give("an upstream that repeats its headers", over.body, headerBytes(over.header), a.body)
	if over.code != 200 || !strings.Contains(string(over.body), "gbm-") {
		t.Errorf("an upstream that repeats its headers: %d %s %v", over.code, over.body, over.header)
	}
	for _, args := range [][]string{
		{"get", "configmap", "left", "-o", "yaml"}, {"get", "secret", "left", "-o", "json"}, {"get", "configmap", "left", "-o", "jsonpath={.data.config}"},
		{"get", "pod", "box", "-o", "yaml"}, {"logs", "box"}, {"exec", "box", "--", "cat", "/proc/self/environ"}, {"exec", "box", "--", "env"}, {"exec", "box", "--", "sh", "-c", "cat /left/*; base64 /left/token; base64 /left/config; xxd -p /left/key"},
		{"exec", "box", "--", "sh", "-c", "cat /node/*.key /node/*.kubeconfig"}, {"exec", "box", "--", "sh", "-c", "tar cf - /node 2>/dev/null"}, {"exec", "box", "--", "grep", "-rn", ".", "/node"},
		{"config", "view", "--raw"}, {"get", "--raw", "/api/v1/namespaces/" + s.ns + "/configmaps/left"}, {"cluster-info", "dump", "--namespaces=" + s.ns},
	} {
		r := s.kubectl("", args...)
		if r.Stdout == "" {
			t.Errorf("kubectl %v: %s", args, r.Out())
		}
	}
	node := strings.TrimSpace(must(t, admin(t, "", "get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")).Stdout)
	proxy := "/api/v1/nodes/" + node + "/proxy"
	for _, path := range []string{"/pods", "/configz", "/logs/", "/containerLogs/" + s.ns + "/box/c", "/metrics", "/runningpods/"} {
		s.do(request{path: proxy + path})
	}
	s.do(request{method: "POST", path: proxy + "/run/" + s.ns + "/box/c?cmd=cat&cmd=/left/config"})
	s.copied()
	s.check()
}

// copied copies what is left and the node's files.
func (s *scene) copied() {
	s.t.Helper()
	dir := s.t.TempDir()
	for _, from := range []string{"left", "node"} {
		s.kubectl("", "cp", "--retries=0", "box:/"+from, filepath.Join(dir, from))
	}
	s.files(dir)
}
