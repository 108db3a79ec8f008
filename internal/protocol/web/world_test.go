package web

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"gatebook/internal/access"
	"gatebook/internal/credential"
	"gatebook/internal/protocol/protocoltest"
)

// world is a handler with the real gate, recorder and upstream client; the service behind is the test's.
type world struct {
	*protocoltest.World
	t      *testing.T
	front  *httptest.Server
	back   *httptest.Server
	h      *Handler
	decide func(op *access.Operation) access.Decision

	live     sync.WaitGroup // of requests, hijacked ones too
	mu       sync.Mutex
	upstream http.HandlerFunc
	sent     []sent
	ops      []access.Operation
}

// sent is one request as the service got it.
type sent struct {
	*http.Request
	body string
}

const secret = "hunter2-correct-horse-battery"

var (
	known  = []access.Mask{{Name: access.MaskSecrets}, {Name: access.MaskKnown}}
	caller = protocoltest.Caller
)

func allow(masks ...access.Mask) func(*access.Operation) access.Decision {
	return func(*access.Operation) access.Decision { return access.Decision{Effect: access.Allow, Masks: masks} }
}

// newWorld makes a world in which secret is known to be one, and everything is allowed.
func newWorld(t *testing.T, upstream http.HandlerFunc, change ...func(*Options)) *world {
	t.Helper()
	w := &world{World: protocoltest.New(t), t: t, upstream: upstream, decide: allow(known...)}
	w.World.Decide = w.decided
	w.back = httptest.NewUnstartedServer(http.HandlerFunc(w.serveUpstream))
	w.back.EnableHTTP2 = true
	w.back.StartTLS()
	t.Cleanup(w.back.Close)
	up, err := credential.New(credential.Options{URL: w.back.URL + "/base", CA: certificate(w.back), Shared: true, Impersonate: func(access.Principal) bool { return false },
		Secret: credential.Token(func() (string, error) { return "upstream-token", nil })})
	must(t, err)
	t.Cleanup(up.Close)
	w.Masks.Learn([]byte(secret))
	o := Options{Target: access.Target{Name: "test"}, Gate: w.Gate, Upstream: up, Masks: w.Masks, SpoolDir: t.TempDir(),
		Limits: Limits{RequestBodyBytes: 1 << 20, RequestMemoryBytes: 1 << 10, MessageBytes: 1 << 16}}
	for _, c := range change {
		c(&o)
	}
	w.h, err = New(o)
	must(t, err)
	w.front = httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.live.Add(1)
		defer w.live.Done()
		w.h.Serve(rw, r, caller)
	}))
	w.front.EnableHTTP2 = true
	w.front.StartTLS()
	t.Cleanup(w.front.Close)
	return w
}

func (w *world) serveUpstream(rw http.ResponseWriter, r *http.Request) {
	var b []byte
	if !isGRPC(r) {
		b, _ = io.ReadAll(r.Body)
	}
	w.mu.Lock()
	w.sent = append(w.sent, sent{r, string(b)})
	f := w.upstream
	w.mu.Unlock()
	f(rw, r)
}

// decided is the policy, which remembers what it was asked about.
func (w *world) decided(op *access.Operation) (access.Decision, []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ops = append(w.ops, *op)
	return w.decide(op), nil
}

// op is the last operation that was decided.
func (w *world) op() access.Operation {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.ops) == 0 {
		w.t.Fatal("nothing was decided")
	}
	return w.ops[len(w.ops)-1]
}

// answer is what the client got.
type answer struct {
	code    int
	header  http.Header
	trailer http.Header
	body    string
	broken  error
}

func (w *world) do(method, uri, body string, kv ...string) answer {
	w.t.Helper()
	r, err := http.NewRequest(method, w.front.URL+uri, strings.NewReader(body))
	must(w.t, err)
	for i := 0; i < len(kv); i += 2 {
		r.Header.Add(kv[i], kv[i+1])
	}
	return w.send(r)
}

func (w *world) send(r *http.Request) answer {
	w.t.Helper()
	resp, err := w.front.Client().Transport.RoundTrip(r)
	must(w.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, resp.Trailer, string(b), err}
}

// last is the last request that the service got; nil where it got none.
func (w *world) last() *sent {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.sent) == 0 {
		return nil
	}
	return &w.sent[len(w.sent)-1]
}

// recorded is everything on disk, as the recorder has it when all has ended.
func (w *world) recorded() string {
	w.t.Helper()
	w.front.Close()
	w.live.Wait()
	return string(w.Recorded())
}

// rows are the operations in the index, oldest first, each with its outcome.
func (w *world) rows() []access.Record {
	w.t.Helper()
	w.front.Close()
	w.live.Wait()
	return w.Records()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func reply(code int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(code)
		io.WriteString(w, body)
	}
}

func mustURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	must(t, err)
	return u
}
