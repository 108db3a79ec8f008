package kubernetes

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestSecretsOf(t *testing.T) {
	o, err := decodeObject([]byte(`{"volumes":[{"name":"n","secret":{"secretName":"mounted"}},{"projected":{"sources":[{"secret":{"name":"projected"}},{"configMap":{"name":"no"}}]}},
		{"csi":{"nodePublishSecretRef":{"name":"csi"}}},{"azureFile":{"secretName":"azure"}},{"configMap":{"name":"no"}}],"imagePullSecrets":[{"name":"pull"}],
		"containers":[{"name":"c","env":[{"name":"e","valueFrom":{"secretKeyRef":{"name":"env","key":"k"}}},{"name":"secret","value":"no"}],"envFrom":[{"secretRef":{"name":"from"}},{"secretRef":{"name":"env"}}]}],
		"initContainers":[{"env":[{"valueFrom":{"secretKeyRef":{"name":"init"}}}]}],"ephemeralContainers":[{"envFrom":[{"secretRef":{"name":"ephemeral"}}]}]}`))
	must(t, err)
	want := []string{"azure", "csi", "env", "ephemeral", "from", "init", "mounted", "projected", "pull"}
	if got := secretsOf(o); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// What gives a pod's output reads its Secrets first, each once for a pod that stays as it is; a pod with too many is refused.
func TestLearnBefore(t *testing.T) {
	for _, path := range []string{"/api/v1/namespaces/a/pods/p/log", "/api/v1/namespaces/a/pods/p/proxy/x", "/api/v1/namespaces/a/pods/https:p:80/proxy/", "/api/v1/nodes/n/proxy/containerLogs/a/p/c"} {
		version, secrets := "1", []string{"one", "two"}
		w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == "/api/v1/namespaces/a/pods/p":
				var volumes []string
				for _, s := range secrets {
					volumes = append(volumes, `{"secret":{"secretName":"`+s+`"}}`)
				}
				reply(200, typeJSON, `{"kind":"Pod","metadata":{"uid":"u","resourceVersion":"`+version+`"},"spec":{"volumes":[`+strings.Join(volumes, ",")+`]}}`)(rw, r)
			case strings.HasPrefix(r.URL.Path, "/api/v1/namespaces/a/secrets/") && r.Header.Get("Impersonate-User") != "":
				reply(403, typeJSON, `{"kind":"Status","code":403}`)(rw, r)
			case strings.HasPrefix(r.URL.Path, "/api/v1/namespaces/a/secrets/"):
				reply(200, typeJSON, `{"kind":"Secret","metadata":{"annotations":{"a":"`+hiddenValue+`"}},"data":{"v":"`+b64(hiddenValue)+`"}}`)(rw, r)
			default:
				reply(200, "text/plain", "it says "+hiddenValue)(rw, r)
			}
		})
		w.pods = true
		get := func(code, requests int) {
			t.Helper()
			before := w.requests()
			a := w.do("GET", path, "")
			if a.code != code || leaks([]byte(a.body), hiddenValue) != nil || w.requests()-before != requests {
				t.Errorf("%s: answered %d %s with %d requests, want %d with %d", path, a.code, a.body, w.requests()-before, code, requests)
			}
		}
		get(200, 6) // the pod, two Secrets twice, what was asked for
		get(200, 2)
		version = "2"
		get(200, 6)
		for i := range maxPodSecrets {
			secrets = append(secrets, fmt.Sprint("s", i))
		}
		get(406, 1)
		if l := leaks(w.recorded(), hiddenValue); l != nil {
			t.Errorf("%s: recorded as %v", path, l)
		}
	}
}
