package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"

	"gatebook/test/lab"
)

// told is what a gateway told an agent of one request: what the agent can hold against the book.
type told struct {
	// id is the operation's, from the answer's head; of an exec it is not known, and its command holds marker.
	id, marker string
	// sent is the request's body, got what arrived of the answer or of the command's output.
	sent, got string
	// whole says that got is all of it.
	whole bool
	// made is the name of the object that was created.
	made string
}

// agents work through a gateway that may die at any moment, and keep their own ledger of what they were told.
type agents struct {
	g     *lab.Gateway
	token string
	ns    string
	http  *http.Client
	ca    []byte

	mu       sync.Mutex
	ledger   []told
	failures int // requests that got no answer
}

func newAgents(t *testing.T, g *lab.Gateway, ns, token string) *agents {
	t.Helper()
	ca, err := os.ReadFile(g.Data("ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &agents{g: g, token: token, ns: ns, ca: ca, http: &http.Client{Transport: tr, Timeout: 20 * time.Second}}
}

// work does one thing after another at random until ctx ends. n tells agents apart.
func (a *agents) work(ctx context.Context, n int) {
	for i := 0; ctx.Err() == nil; i++ {
		name := fmt.Sprintf("run-%d-%d", n, i)
		var seen told
		var answered bool
		switch rand.IntN(8) {
		case 0, 1:
			seen, answered = a.do(ctx, "GET", "/api/v1/namespaces/"+a.ns+"/pods/box", "")
		case 2:
			seen, answered = a.do(ctx, "GET", "/api/v1/namespaces/"+a.ns+"/configmaps", "")
		case 3:
			seen, answered = a.exec(ctx, name, "")
		default:
			body, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "ConfigMap",
				"metadata": map[string]any{"name": name}, "data": map[string]string{"text": strings.Repeat(name+" ", rand.IntN(300))}})
			if err != nil {
				panic(err) // strings
			}
			seen, answered = a.do(ctx, "POST", "/api/v1/namespaces/"+a.ns+"/configmaps", string(body))
			seen.made = name
		}
		a.mu.Lock()
		if answered {
			a.ledger = append(a.ledger, seen)
		} else {
			a.failures++
		}
		a.mu.Unlock()
		if !answered { // most likely there is no gateway
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}
}

// acknowledged counts what the agents were told of.
func (a *agents) acknowledged() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.ledger)
}

// do sends one request, once. It was answered where a good status arrived, though perhaps not all of the body.
func (a *agents) do(ctx context.Context, method, path, body string) (seen told, answered bool) {
	r, err := http.NewRequestWithContext(ctx, method, a.g.Target+path, strings.NewReader(body))
	if err != nil {
		panic(err) // the address is the test's
	}
	r.GetBody = nil // not sent again in silence
	r.Header.Set("Authorization", "Bearer "+a.token)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := a.http.Do(r)
	if err != nil {
		return told{}, false
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return told{}, false
	}
	got, err := io.ReadAll(resp.Body)
	return told{id: resp.Header.Get("Audit-Id"), sent: body, got: string(got), whole: err == nil}, true
}

// exec runs a command that says marker a few times, and some more. It was answered where any output arrived.
// then is what it does at the end.
func (a *agents) exec(ctx context.Context, marker, then string) (seen told, answered bool) {
	q := url.Values{"container": {"c"}, "stdout": {"1"}, "stderr": {"1"}, "command": {"sh", "-c", "for i in 1 2 3 4 5; do echo " + marker + " $i; sleep 0.05; done; " + then}}
	e, err := remotecommand.NewWebSocketExecutor(&rest.Config{Host: a.g.URL, BearerToken: a.token, TLSClientConfig: rest.TLSClientConfig{CAData: a.ca}},
		"GET", a.g.Target+"/api/v1/namespaces/"+a.ns+"/pods/box/exec?"+q.Encode())
	if err != nil {
		panic(err) // the configuration is the test's
	}
	var out bytes.Buffer
	err = e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &out, Stderr: io.Discard})
	return told{marker: marker, got: out.String(), whole: err == nil}, out.Len() > 0
}
