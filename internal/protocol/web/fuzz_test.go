package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"gatebook/internal/access"
	"gatebook/internal/mask"
	"gatebook/internal/wire/sse"
)

// cut gives a reader's bytes in pieces of n at most.
type cut struct {
	r io.Reader
	n int
}

func (c *cut) Read(p []byte) (int, error) { return c.r.Read(p[:min(len(p), c.n)]) }

// Messages are the same however the bytes arrive; all of them, one after the other, are the stream; and none is compressed or too
// long.
func FuzzGRPCMessages(f *testing.F) {
	f.Add([]byte(framed("hello") + framed("")))
	f.Add([]byte("\x01" + framed("x")[1:]))
	f.Add([]byte("\x00\xff\xff\xff\xffx"))
	f.Add([]byte(framed("abc")[:6]))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 512 {
			return
		}
		read := func(n int) (all []byte, err error) {
			r := &cut{bytes.NewReader(b), n}
			for {
				m, err := readMessage(r, 64)
				if err != nil {
					return all, err
				}
				if m[0] != 0 || len(m) > 64+prefixBytes {
					t.Fatalf("%q is a message", m)
				}
				all = append(all, m...)
			}
		}
		want, werr := read(len(b) + 1)
		if !bytes.HasPrefix(b, want) || errors.Is(werr, io.EOF) != (len(want) == len(b)) {
			t.Fatalf("%q of %q, then %v", want, b, werr)
		}
		for n := 1; n <= len(b); n++ {
			if got, err := read(n); !bytes.Equal(got, want) || errors.Is(err, io.EOF) != errors.Is(werr, io.EOF) {
				t.Fatalf("in pieces of %d: %q, then %v; whole %q, then %v", n, got, err, want, werr)
			}
		}
	})
}

// A body is decoded as encoding/json does, where it is at all; and what of a message is in no digest are values alone, which can be
// others without the message saying anything else.
func FuzzRPC(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"rm","arguments":{"id":[1]},"_meta":{"progressToken":"p","x":1}}}`))
	f.Add([]byte(`{"params":{"_meta":{"traceparent":{},"baggage":[{"id":1}]}},"id" : "a","jsonrpc":"2.0"}`))
	f.Add([]byte(`[{"jsonrpc":"2.0"}]`))
	f.Add([]byte(`{"jsonrpc":"2.0","METHOD":"x"}`))
	h := &Handler{}
	f.Fuzz(func(t *testing.T, raw []byte) {
		v, err := decodeJSON(raw)
		if err != nil {
			return
		}
		x := &exchange{h: h, r: httptest.NewRequest("POST", "/", nil), op: &access.Operation{}, web: &access.Web{}}
		why := x.readRPC(v, raw)
		m, _ := v.(map[string]any)
		if (x.rpc != nil) != (m["jsonrpc"] == "2.0") || why == nil && x.rpc == nil && looksLikeRPC(m) && len(x.op.Uninspectable) == 0 {
			t.Fatalf("%s: %+v, %v, %+v", raw, x.rpc, why, x.op.Uninspectable)
		}
		if x.rpc == nil || why != nil {
			return
		}
		if c := x.web.MCP; c.Method == "tools/call" && c.Tool == "" {
			t.Fatalf("%s calls no tool", raw)
		}
		var other []byte
		at := int64(0)
		for _, n := range x.rpc.noise {
			if n[0] < at || n[1] <= n[0] || !jsontext.Value(raw[n[0]:n[1]]).IsValid() {
				t.Fatalf("%s: noise is %v", raw, x.rpc.noise)
			}
			other = append(append(other, raw[at:n[0]]...), "77"...)
			at = n[1]
		}
		other = append(other, raw[at:]...)
		got, err := decodeJSON(other)
		if err != nil {
			t.Fatalf("%s: %v", other, err)
		}
		if d := cmp.Diff(withoutNoise(v), withoutNoise(got)); d != "" {
			t.Fatalf("%s is %s: %s", raw, other, d)
		}
	})
}

func withoutNoise(v any) any {
	m := v.(map[string]any)
	delete(m, "id")
	p, _ := m["params"].(map[string]any)
	if meta, _ := p["_meta"].(map[string]any); meta != nil {
		for _, k := range []string{"progressToken", "traceparent", "tracestate", "baggage", "claudecode/toolUseId"} {
			delete(meta, k)
		}
	}
	return m
}

// What a path masks is in no answer, be it JSON or events, however it is split.
func FuzzMasksByPath(f *testing.F) {
	f.Add(`{"user":{"mail":"X"},"n":[1,"X"]}`, true)
	f.Add(`{"u\u0073er":{"mail":{"a":["X"]}}}`, false)
	f.Add("{\"user\":\r\n{\"mail\":\"X\"}}", true)
	f.Add(`[{"user":null}]`, false)
	masks, err := mask.New(mask.Options{Key: bytes.Repeat([]byte{7}, 32)})
	must(f, err)
	shape, err := mask.Compile([]mask.Rule{{Path: "user.mail", Encoding: mask.Text}})
	must(f, err)
	f.Fuzz(func(t *testing.T, doc string, ended bool) {
		const value = "ada@example.com, all of it"
		doc = strings.ReplaceAll(doc, "X", value)
		v, err := decodeJSON([]byte(doc))
		if err != nil || len(doc) > 400 {
			return
		}
		m, _ := v.(map[string]any)
		user, _ := m["user"].(map[string]any)
		hidden, _ := user["mail"].(string)
		if !strings.Contains(hidden, value) || strings.Count(doc, value) > 1 {
			return
		}
		scope := masks.Scope("s")
		stream := "id: 1\ndata: " + strings.NewReplacer("\r\n", "\ndata: ", "\n", "\ndata: ", "\r", "\ndata: ").Replace(doc) + "\n"
		if ended {
			stream += "\n"
		}
		var first []string
		for n := 1; n <= len(stream); n++ {
			var plain, inEvents bytes.Buffer
			w := scope.JSON(&plain, shape, false)
			for b := range slices.Chunk([]byte(doc), n) {
				if _, err := w.Write(b); err != nil {
					t.Fatalf("%q: %v", doc, err)
				}
			}
			must(t, w.Close())
			e := &events{scope: scope, m: masking{shape: shape, strict: true}, dst: &inEvents}
			in := sse.NewScanner(&cut{strings.NewReader(stream), n}, maxEvent)
			ev, err := in.Next()
			for ; err == nil; ev, err = in.Next() {
				if err := e.event(ev); err != nil {
					t.Fatalf("%q: %v", stream, err)
				}
			}
			out := []string{plain.String(), inEvents.String()}
			if first == nil {
				first = out
			}
			if !json.Valid(plain.Bytes()) || strings.Contains(out[0]+out[1], value) || !slices.Equal(out, first) {
				t.Fatalf("in pieces of %d: %q, whole %q", n, out, first)
			}
		}
	})
}
