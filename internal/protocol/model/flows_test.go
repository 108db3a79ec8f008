package model

import (
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatebook/internal/access"
)

var update = flag.Bool("update", false, "write what is read of the recorded conversations anew")

// exchanged is a request and its answer, as they were recorded.
type exchanged struct {
	method, uri string
	header      http.Header
	body        string
	status      int
	media       string
	answer      string
}

// conversation reads a recorded one.
func conversation(t *testing.T, path string) (out []exchanged) {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	for i, part := range strings.Split(string(b), "\n=== request ===\n") {
		if i == 0 {
			continue // where it is from
		}
		request, answer, ok := strings.Cut(part, "\n=== answer ===\n")
		head, body, ok2 := strings.Cut(request, "\n\n")
		status, text, ok3 := strings.Cut(answer, "\n\n")
		if !ok || !ok2 || !ok3 {
			t.Fatalf("%s: request %d is not written as it should be", path, i)
		}
		e := exchanged{body: body, answer: text, header: http.Header{}}
		for j, line := range strings.Split(head, "\n") {
			if j == 0 {
				e.method, e.uri, _ = strings.Cut(line, " ")
				continue
			}
			name, value, _ := strings.Cut(line, ": ")
			e.header.Add(name, value)
		}
		code, media, _ := strings.Cut(status, " ")
		e.status, err = strconv.Atoi(code)
		must(t, err)
		e.media = media
		out = append(out, e)
	}
	return out
}

// read is what is read of one exchange.
type read struct {
	Operation access.Model
	Code      int
	Message   string              `json:",omitempty"`
	Answer    *access.ModelAnswer `json:",omitempty"`
}

// Recorded conversations pass unchanged, and what is read of them is what was read before; see testdata/flows/README.md.
func TestConversations(t *testing.T) {
	files, err := filepath.Glob("testdata/flows/*.txt")
	must(t, err)
	if len(files) < 5 {
		t.Errorf("there are %d conversations", len(files))
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			all := conversation(t, path)
			next := 0
			w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
				e := all[next]
				next++
				reply(e.status, e.media, e.answer)(rw, r)
			}, func(o *Options) {
				o.Prices = []Price{{Model: "*", Input: 3, Output: 15, CacheRead: 0.3, CacheWrite: 3.75}}
			})
			for i, e := range all {
				var kv []string
				for name, values := range e.header {
					for _, v := range values {
						if name != "Content-Type" {
							kv = append(kv, name, v)
						}
					}
				}
				got := w.do(e.method, e.uri, e.body, kv...)
				if got.code != e.status || got.body != e.answer || got.broken != nil {
					t.Errorf("request %d: %d %v\n%s", i, got.code, got.broken, cmp.Diff(e.answer, got.body))
				}
				if sent := w.requests(); len(sent) != i+1 || sent[i].body != e.body || sent[i].RequestURI != e.uri {
					t.Fatalf("request %d is not sent on as it came", i)
				}
			}
			var seen []read
			for _, r := range w.rows() {
				one := read{Operation: *r.Operation.Model, Code: r.Outcome.Code, Message: r.Outcome.Message, Answer: r.Outcome.Answer}
				if one.Answer != nil {
					for _, calls := range [][]access.ToolCall{one.Answer.Calls, one.Answer.ServerCalls} {
						for i := range calls {
							calls[i].Emitted = time.Time{}
						}
					}
				}
				seen = append(seen, one)
			}
			golden(t, strings.TrimSuffix(path, ".txt")+".json", seen)
			for i, e := range all {
				splits(t, i, e)
			}
		})
	}
}

// golden compares with what was written, or writes it.
func golden(t *testing.T, path string, v any) {
	t.Helper()
	got, err := json.MarshalIndent(v, "", "  ")
	must(t, err)
	if got = append(got, '\n'); *update {
		must(t, os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	if d := cmp.Diff(string(want), string(got)); d != "" || err != nil {
		t.Errorf("%v\n%s", err, d)
	}
}

// splits reads a streamed answer in two parts, cut at every offset.
func splits(t *testing.T, i int, e exchanged) {
	t.Helper()
	api, _, _ := apiOf(must1(http.NewRequest(e.method, e.uri, nil)))
	if e.status != 200 || !strings.HasPrefix(e.media, "text/event-stream") || readerOf(api) == nil {
		return
	}
	want, err := readStream(api, strings.NewReader(e.answer))
	must(t, err)
	for at := range len(e.answer) {
		got, err := readStream(api, io.MultiReader(strings.NewReader(e.answer[:at]), strings.NewReader(e.answer[at:])))
		if !slices.Equal(got.Calls, want.Calls) || got.StopReason != want.StopReason || got.Tokens() != want.Tokens() || err != nil {
			t.Fatalf("request %d, cut at %d: %v\n%s", i, at, err, cmp.Diff(want, got))
		}
	}
	// Cut off there, no call is read that was not whole, and none twice; an input that has not begun is empty.
	for at := range len(e.answer) {
		got, err := readStream(api, strings.NewReader(e.answer[:at]))
		if err != nil || len(got.Calls) > len(want.Calls) {
			t.Fatalf("request %d, broken off at %d: %v, %v", i, at, got.Calls, err)
		}
		for j, c := range got.Calls {
			if w := want.Calls[j]; c.ID != w.ID || c.Input != w.Input && c.Input != "" && c.Input != "{}" && !strings.HasPrefix(w.Input, "*** ") {
				t.Fatalf("request %d, broken off at %d: %+v", i, at, c)
			}
		}
	}
}

func must1(r *http.Request, err error) *http.Request {
	if err != nil {
		panic(err)
	}
	return r
}
