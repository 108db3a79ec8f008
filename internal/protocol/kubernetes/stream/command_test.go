package stream_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
	client "k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	utilexec "k8s.io/client-go/util/exec"

	cri "k8s.io/cri-streaming/pkg/streaming/remotecommand"

	"gatebook/internal/access"
	"gatebook/internal/protocol/kubernetes/stream"
)

// executor makes the client that kubectl uses, for one protocol.
func executor(t testing.TB, base, protocol, pod string, o client.StreamOptions, command ...string) client.Executor {
	t.Helper()
	u, err := url.Parse(base + "/api/v1/namespaces/n/pods/" + pod + "/exec")
	if err != nil {
		t.Fatal(err)
	}
	q := url.Values{"command": command}
	for name, on := range map[string]bool{"stdin": o.Stdin != nil, "stdout": o.Stdout != nil, "stderr": o.Stderr != nil, "tty": o.Tty} {
		if on {
			q.Set(name, "true")
		}
	}
	u.RawQuery = q.Encode()
	config := &rest.Config{Host: base}
	if version, ok := strings.CutPrefix(protocol, "ws/"); ok {
		e, err := client.NewWebSocketExecutorForProtocols(config, "GET", u.String(), version)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	rt, up, err := spdy.RoundTripperFor(config)
	if err != nil {
		t.Fatal(err)
	}
	e, err := client.NewSPDYExecutorForProtocols(rt, up, "POST", u, strings.TrimPrefix(protocol, "spdy/"))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

var protocols = []string{"ws/v5.channel.k8s.io", "ws/v4.channel.k8s.io", "spdy/v4.channel.k8s.io", "spdy/v3.channel.k8s.io",
	"spdy/v2.channel.k8s.io", "spdy/channel.k8s.io"}

// In version 1 a client half-closes nothing, and stops reading when its input ends (k8s #13394, #13395).
func isFirst(protocol string) bool { return protocol == "spdy/channel.k8s.io" }

func halfCloses(protocol string) bool {
	return protocol != "ws/v4.channel.k8s.io" && !isFirst(protocol)
}

// K28: what goes in and comes out of a command is recorded byte for byte, whatever the client speaks and the upstream
// understands, and the client sees what it would without a gateway.
func TestCommandIsRecordedByteForByte(t *testing.T) {
	for _, upstream := range []string{"apiserver", "runtime"} {
		for _, protocol := range protocols {
			if isFirst(protocol) {
				continue
			}
			t.Run(upstream+"/"+protocol, func(t *testing.T) {
				noLeaks(t)
				rt := runtime(t, host{}, nil)
				if upstream == "apiserver" {
					rt = apiServer(t, rt)
				}
				g := newGateway(t, rt, stream.Masks{})
				var out, errOut bytes.Buffer
				in := bytes.Repeat([]byte("\x00\xff0123456789\r\n"), 20_000)
				o := client.StreamOptions{Stdin: bytes.NewReader(in), Stdout: &out, Stderr: &errOut}
				command := "head -c 280000; echo to stderr >&2; exit 3"
				err := executor(t, g.URL, protocol, "pod", o, "sh", "-c", command).StreamWithContext(t.Context(), o)
				got := <-g.outcomes
				if strings.HasSuffix(protocol, "/v4.channel.k8s.io") || strings.HasSuffix(protocol, "/v5.channel.k8s.io") {
					var exit utilexec.CodeExitError
					if !errors.As(err, &exit) || exit.Code != 3 {
						t.Errorf("client's error: %v", err)
					}
				} else if err == nil {
					t.Error("the client was not told of the failure")
				}
				if !bytes.Equal(out.Bytes(), in) || errOut.String() != "to stderr\n" {
					t.Errorf("client got %d bytes of %d, stderr %q", out.Len(), len(in), errOut.String())
				}
				if g.book.get("stdin from-client") != string(in) || g.book.get("stdout to-client") != string(in) ||
					g.book.get("stderr to-client") != "to stderr\n" || g.book.get("error to-client") == "" {
					t.Errorf("recorded in %d, out %d, err %q, status %q", len(g.book.get("stdin from-client")),
						len(g.book.get("stdout to-client")), g.book.get("stderr to-client"), g.book.get("error to-client"))
				}
				if got.ExitCode != 3 || got.Code != 101 || got.RequestBytes != int64(len(in)) || got.Truncated != "" {
					t.Errorf("outcome %+v", got)
				}
			})
		}
	}
}

func TestVersionOne(t *testing.T) {
	noLeaks(t)
	g := newGateway(t, apiServer(t, runtime(t, host{}, nil)), stream.Masks{})
	o := client.StreamOptions{Stdout: io.Discard, Stderr: io.Discard} // the client does not wait for all of its output
	err := executor(t, g.URL, "spdy/channel.k8s.io", "pod", o, "sh", "-c", "echo out; echo err >&2; exit 3").StreamWithContext(t.Context(), o)
	if err != nil && !strings.Contains(err.Error(), "exit code 3") { // nor, always, for how it ended
		t.Errorf("the client was told %v", err)
	}
	if got := <-g.outcomes; got.ExitCode != 3 || g.book.get("stdout to-client") != "out\n" || g.book.get("stderr to-client") != "err\n" {
		t.Errorf("%+v", got)
	}
}

// A half-closed stdin reaches the command, which ends by itself.
func TestHalfCloseOfStdin(t *testing.T) {
	for _, protocol := range protocols {
		if !halfCloses(protocol) {
			continue
		}
		t.Run(protocol, func(t *testing.T) {
			noLeaks(t)
			g := newGateway(t, apiServer(t, runtime(t, host{}, nil)), stream.Masks{})
			var out bytes.Buffer
			o := client.StreamOptions{Stdin: strings.NewReader("to the end"), Stdout: &out}
			if err := executor(t, g.URL, protocol, "pod", o, "cat").StreamWithContext(t.Context(), o); err != nil {
				t.Error(err)
			}
			if got := <-g.outcomes; out.String() != "to the end" || got.ExitCode != 0 {
				t.Errorf("%q, %+v", out.String(), got)
			}
		})
	}
}

// sizeQueue gives sizes to the client, as a terminal would.
type sizeQueue chan client.TerminalSize

func (q sizeQueue) Next() *client.TerminalSize {
	s, ok := <-q
	if !ok {
		return nil
	}
	return &s
}

func TestResizeIsRecordedAndForwarded(t *testing.T) {
	for _, protocol := range []string{"ws/v5.channel.k8s.io", "ws/v4.channel.k8s.io", "spdy/v4.channel.k8s.io", "spdy/v3.channel.k8s.io"} {
		t.Run(protocol, func(t *testing.T) {
			noLeaks(t)
			h := host{sizes: make(chan cri.TerminalSize, 4)}
			g := newGateway(t, apiServer(t, runtime(t, h, nil)), stream.Masks{})
			queue := make(sizeQueue, 2)
			queue <- client.TerminalSize{Width: 132, Height: 43}
			in, stop := io.Pipe()
			var out bytes.Buffer
			o := client.StreamOptions{Stdin: in, Stdout: &out, Tty: true, TerminalSizeQueue: queue}
			done := make(chan error, 1)
			go func() {
				done <- executor(t, g.URL, protocol, "pod", o, "sh", "-c", "read x; echo $x").StreamWithContext(t.Context(), o)
			}()
			if s := <-h.sizes; s.Width != 132 || s.Height != 43 {
				t.Errorf("the runtime got %+v", s)
			}
			close(queue)
			io.WriteString(stop, "go\n")
			if err := <-done; err != nil {
				t.Error(err)
			}
			stop.Close()
			<-g.outcomes
			if g.book.get("stdin from-client") != "go\n" || len(g.book.sizes) != 1 || g.book.sizes[0] != "132x43" {
				t.Errorf("recorded %q, sizes %q", g.book.get("stdin from-client"), g.book.sizes)
			}
		})
	}
}

// M42, M43: a known secret in the output is hidden from client and book, wherever the pieces break; one in the input
// reaches the command and not the book.
func TestSecretsAreHidden(t *testing.T) {
	const canary = "canary-5f1e7a90"
	for split := range len(canary) + 1 {
		noLeaks(t)
		g := newGateway(t, apiServer(t, runtime(t, host{}, nil)), hiding(canary))
		var out bytes.Buffer
		pieces := []io.Reader{strings.NewReader("a=" + canary[:split]), strings.NewReader(canary[split:] + ";")}
		o := client.StreamOptions{Stdin: io.MultiReader(pieces...), Stdout: &out}
		// The command proves that it got the true bytes, and writes them back in two pieces.
		script := "x=$(cat); [ \"$x\" = 'a=" + canary + ";' ] && printf '%s' \"$x\" | cut -c1-8 | tr -d '\\n' && printf '%s' \"$x\" | cut -c9-"
		err := executor(t, g.URL, "ws/v5.channel.k8s.io", "pod", o, "sh", "-c", script).StreamWithContext(t.Context(), o)
		got := <-g.outcomes
		if err != nil || out.String() != "a="+placeholder+";\n" || got.Masked != 1 {
			t.Errorf("split at %d: %v, client got %q, %+v", split, err, out.String(), got)
		}
		for k, b := range g.book.bytes {
			if strings.Contains(string(b), canary) {
				t.Errorf("split at %d: the book holds the canary in %s: %q", split, k, b)
			}
		}
		if g.book.get("stdin from-client") != "a="+placeholder+";" {
			t.Errorf("split at %d: recorded input %q", split, g.book.get("stdin from-client"))
		}
	}
}

// Input reaches the command although it could be the beginning of a secret.
func TestInputIsNotHeldForEver(t *testing.T) {
	noLeaks(t)
	g := newGateway(t, apiServer(t, runtime(t, host{}, nil)), hiding("yes-secret"))
	in, keyboard := io.Pipe()
	var out bytes.Buffer
	o := client.StreamOptions{Stdin: in, Stdout: &out}
	done := make(chan error, 1)
	go func() {
		done <- executor(t, g.URL, "ws/v5.channel.k8s.io", "pod", o, "sh", "-c", "head -c 3; echo").StreamWithContext(t.Context(), o)
	}()
	io.WriteString(keyboard, "yes")
	if err := <-done; err != nil || out.String() != "yes\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
	keyboard.Close()
	<-g.outcomes
}

// No record, no action: when the book is full, nothing more reaches either side, and the client is told.
func TestNothingFlowsUnrecorded(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			noLeaks(t)
			g := newGateway(t, apiServer(t, runtime(t, host{}, nil)), stream.Masks{})
			in, keyboard := io.Pipe()
			screen, out := io.Pipe()
			o := client.StreamOptions{Stdin: in, Stdout: out}
			done := make(chan error, 1)
			go func() {
				done <- executor(t, g.URL, protocol, "pod", o, "cat").StreamWithContext(t.Context(), o)
				out.Close()
			}()
			io.WriteString(keyboard, "one")
			first := make([]byte, 3)
			if _, err := io.ReadFull(screen, first); err != nil || string(first) != "one" {
				t.Fatalf("%q, %v", first, err)
			}
			g.book.fill(errors.New("no space left"))
			go io.WriteString(keyboard, "two")
			rest, _ := io.ReadAll(screen)
			if len(rest) > 0 {
				t.Errorf("the client got %q unrecorded", rest)
			}
			<-done
			in.Close()
			if got := <-g.outcomes; got.Truncated == "" || got.RequestBytes != 3 {
				t.Errorf("outcome %+v", got)
			}
		})
	}
}

// I80: a revocation cuts the stream, and the client is told why where its protocol can say.
func TestRevocationCuts(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			noLeaks(t)
			g := newGateway(t, apiServer(t, runtime(t, host{}, nil)), stream.Masks{})
			screen, out := io.Pipe()
			o := client.StreamOptions{Stdout: out}
			done := make(chan error, 1)
			go func() {
				done <- executor(t, g.URL, protocol, "pod", o, "sh", "-c", "echo up; exec sleep 60").StreamWithContext(t.Context(), o)
				out.Close()
			}()
			up := make([]byte, 3)
			if _, err := io.ReadFull(screen, up); err != nil {
				t.Fatal(err)
			}
			g.cut(access.Refuse(access.CodeRevoked, nil, "the session was revoked by ada"))
			if err := <-done; !isFirst(protocol) && (err == nil || !strings.Contains(err.Error(), "revoked by ada")) {
				t.Errorf("the client was told %v", err)
			}
			if got := <-g.outcomes; !strings.Contains(got.Truncated, "revoked by ada") {
				t.Errorf("outcome %+v", got)
			}
		})
	}
}

// I80: a client that reads nothing cannot hold up its cut.
func TestRevocationCutsAStuckClient(t *testing.T) {
	for _, protocol := range []string{"ws/v5.channel.k8s.io", "spdy/v4.channel.k8s.io"} {
		t.Run(protocol, func(t *testing.T) {
			noLeaks(t)
			g := newGateway(t, apiServer(t, runtime(t, host{}, nil)), stream.Masks{})
			screen, out := io.Pipe()
			o := client.StreamOptions{Stdout: out}
			ctx, leave := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() {
				done <- executor(t, g.URL, protocol, "pod", o, "cat", "/dev/zero").StreamWithContext(ctx, o)
			}()
			if _, err := io.ReadFull(screen, make([]byte, 1<<20)); err != nil {
				t.Fatal(err)
			}
			g.cut(access.Refuse(access.CodeRevoked, nil, "revoked"))
			if got := <-g.outcomes; got.Truncated == "" {
				t.Errorf("outcome %+v", got)
			}
			screen.Close()
			leave()
			<-done
		})
	}
}

// A client that goes ends the command's connection, and says so in the outcome.
func TestClientGoes(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			noLeaks(t)
			g := newGateway(t, apiServer(t, runtime(t, host{}, nil)), stream.Masks{})
			screen, out := io.Pipe()
			o := client.StreamOptions{Stdout: out}
			ctx, leave := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() {
				done <- executor(t, g.URL, protocol, "pod", o, "sh", "-c", "echo up; exec sleep 60").StreamWithContext(ctx, o)
			}()
			if _, err := io.ReadFull(screen, make([]byte, 3)); err != nil {
				t.Fatal(err)
			}
			leave()
			<-done
			if got := <-g.outcomes; got.Truncated != "the client went away" {
				t.Errorf("outcome %+v", got)
			}
		})
	}
}

// K1: where the upstream declines, the client gets its very answer, and the connection is closed.
func TestDeclinedUpgradeClosesTheConnection(t *testing.T) {
	for _, protocol := range []string{"ws/v5.channel.k8s.io", "spdy/v4.channel.k8s.io"} {
		noLeaks(t)
		g := newGateway(t, apiServer(t, runtime(t, host{}, nil)), stream.Masks{})
		o := client.StreamOptions{Stdout: io.Discard}
		err := executor(t, g.URL, protocol, "missing", o, "true").StreamWithContext(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), `pods "missing" not found`) {
			t.Errorf("%s: the client was told %v", protocol, err)
		}
		if got := <-g.outcomes; got.Code != http.StatusNotFound {
			t.Errorf("%s: outcome %+v", protocol, got)
		}
		req := rawUpgrade(t, g.URL+"/api/v1/namespaces/n/pods/missing/exec?command=true&stdout=1", protocol)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if !resp.Close {
			t.Errorf("%s: the connection stays open after %d", protocol, resp.StatusCode)
		}
		<-g.outcomes
	}
}

// K2: an upgrade answered 200 or 302 is refused, and nothing of the answer reaches the client.
func TestAnswerThatIsNoUpgradeIsRefused(t *testing.T) {
	for _, protocol := range []string{"ws/v5.channel.k8s.io", "spdy/v4.channel.k8s.io"} {
		for _, code := range []int{200, 204, 302, 307} {
			noLeaks(t)
			asked := 0
			g := newGateway(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked++
				w.Header().Set("Location", "http://"+r.Host+"/elsewhere")
				w.WriteHeader(code)
			})), stream.Masks{})
			rt := &http.Transport{}
			resp, err := rt.RoundTrip(rawUpgrade(t, g.URL+"/api/v1/namespaces/n/pods/p/exec?command=true&stdout=1", protocol))
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != http.StatusForbidden || resp.Header.Get("Location") != "" || !resp.Close || asked != 1 {
				t.Errorf("%s %d: got %d %q, location %q, close %v, asked %d times", protocol, code, resp.StatusCode, body,
					resp.Header.Get("Location"), resp.Close, asked)
			}
			<-g.outcomes
		}
	}
}

func rawUpgrade(t *testing.T, u, protocol string) *http.Request {
	t.Helper()
	method := "POST"
	h := http.Header{"Connection": {"Upgrade"}, "Upgrade": {"SPDY/3.1"}, "X-Stream-Protocol-Version": {"v4.channel.k8s.io"}}
	if version, ok := strings.CutPrefix(protocol, "ws/"); ok {
		method = "GET"
		h = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
			"Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="}, "Sec-Websocket-Protocol": {version}}
	}
	req, err := http.NewRequestWithContext(t.Context(), method, u, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = h
	return req
}
