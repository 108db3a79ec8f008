package attack

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"gatebook/test/lab"
)

// tapped is the real API server behind a proxy of the test's own, which sees what the gateway is told.
func tapped(t *testing.T, see func(path string, body []byte)) *lab.Upstream {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", cluster.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	transport, err := rest.TransportFor(config)
	if err != nil {
		t.Fatal(err)
	}
	to, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	p := &httputil.ReverseProxy{Transport: transport, FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to); r.Out.Header.Del("Authorization") },
		ModifyResponse: func(r *http.Response) error {
			if r.Request.Method != http.MethodPost {
				return nil
			}
			b, err := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(b))
			see(r.Request.URL.Path, b)
			return err
		}}
	return lab.StartUpstream(t, true, p.ServeHTTP)
}

// K18: a token that a TokenRequest gave, and that the agent got masked, is recognised wherever its true bytes turn up
// later: in a ConfigMap, an environment, a log, a file, a header's encoding of it.
func TestK18IssuedTokenElsewhere(t *testing.T) {
	var mu sync.Mutex
	var tokens []string
	tap := tapped(t, func(path string, body []byte) {
		var o struct{ Status struct{ Token string } }
		if strings.HasSuffix(path, "/token") && json.Unmarshal(body, &o) == nil && o.Status.Token != "" {
			mu.Lock()
			defer mu.Unlock()
			tokens = append(tokens, o.Status.Token)
		}
	})
	s := newSceneWith(t, lab.Options{Targets: tap.Target("tap", ""), Policy: map[string]string{"all.yaml": allowAll}})
	a := s.do(request{method: "POST", path: "/t/lab/../tap/none"})
	a = over(t, s.g, h1).do(request{method: "POST", path: "/t/tap/api/v1/namespaces/" + s.ns + "/serviceaccounts/claude/token", token: s.agent, header: []string{"Content-Type: " + mediaJSON},
		body: `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"expirationSeconds":3600}}`})
	s.give("a TokenRequest", a.body, headerBytes(a.header))
	if len(tokens) != 1 || a.code != 201 {
		t.Fatalf("%d tokens were issued: %d %s", len(tokens), a.code, a.body)
	}
	s.hidden["token"] = canary{[]byte(tokens[0][strings.LastIndex(tokens[0], ".")+1:])}
	s.search.hide("token", s.hidden["token"])
	all := strings.Join([]string{tokens[0], "Authorization: Bearer " + tokens[0], b64(tokens[0]), b64("x" + tokens[0]), wrapped(b64("xy"+tokens[0]), 76), toJSON(map[string]string{"token": tokens[0]}), url.QueryEscape(tokens[0])}, "\n")
	s.object(toJSON(map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "left", "annotations": map[string]string{"a": all}}, "data": map[string]string{"all": all}, "binaryData": map[string]any{"b": []byte("\xff" + tokens[0])}}))
	s.object(toJSON(map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "box"}, "spec": map[string]any{"terminationGracePeriodSeconds": 0,
		"containers": []any{map[string]any{"name": "c", "image": "lab.local/busybox:1", "imagePullPolicy": "Never", "env": []any{map[string]any{"name": "ALL", "value": all}},
			"command": []string{"sh", "-c", `echo "$ALL"; while sleep 1; do :; done`}}}}}))
	must(t, admin(t, "", "-n", s.ns, "wait", "--for=condition=Ready", "pod/box", "--timeout=180s"))
	for _, args := range [][]string{{"get", "configmap", "left", "-o", "yaml"}, {"describe", "configmap", "left"}, {"get", "pod", "box", "-o", "json"}, {"logs", "box"}, {"logs", "--timestamps", "box"},
		{"exec", "box", "--", "env"}, {"exec", "-it", "box", "--", "sh", "-c", `echo "$ALL"; echo "$ALL" | head -1 | xxd -p; echo "$ALL" | head -1 | base64`}} {
		if r := s.kubectl("", args...); !strings.Contains(r.Stdout, "gbm-") {
			t.Errorf("kubectl %v: nothing is masked: %s", args, r.Out())
		}
	}
	s.check()
}
