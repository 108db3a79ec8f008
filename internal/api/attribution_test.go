package api

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	common "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"gatebook/internal/access"
	"gatebook/internal/attribution"
)

// Spans come in every form that OTLP/HTTP has, are their sender's word alone, and are answered in their own form; what is too
// large, or only pretends to be small, is refused.
func TestSpans(t *testing.T) {
	w := open(t)
	var got []string
	w.api.o.Span = func(p access.Principal, s access.SessionID, sp attribution.Span) {
		got = append(got, p.Workload.PodUID+" "+string(s)+" "+sp.Trace+" "+sp.ID+" "+sp.Call)
	}
	const trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	const one = `{"traceId":"` + trace + `","spanId":"` + span + `","attributes":[{"key":"tool_use_id","value":{"stringValue":"toolu_1"}}]}`
	js := []byte(`{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"` + trace + `","spanId":"` + span + `","attributes":[{"key":"tool_use_id","value":{"stringValue":"toolu_1"}}]}]}]}]}`)
	id, _ := hex.DecodeString(trace)
	sid, _ := hex.DecodeString(span)
	pb, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: []*tracepb.ResourceSpans{{ScopeSpans: []*tracepb.ScopeSpans{{Spans: []*tracepb.Span{{TraceId: id, SpanId: sid,
		Attributes: []*common.KeyValue{{Key: "tool_use_id", Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: "toolu_1"}}}}}}}}}}})
	if err != nil {
		t.Fatal(err)
	}
	packed := func(b []byte) []byte {
		var out bytes.Buffer
		z := gzip.NewWriter(&out)
		_, _ = z.Write(b)
		_ = z.Close()
		return out.Bytes()
	}
	post := func(path, kind, encoding string, body []byte) (int, string, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "POST", w.front.URL+"/gatebook/v1/otlp/v1/"+path, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer agent")
		r.Header.Set("Content-Type", kind)
		if encoding != "" {
			r.Header.Set("Content-Encoding", encoding)
		}
		resp, err := w.front.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, resp.Header.Get("Content-Type"), strings.TrimSpace(string(b))
	}
	for _, c := range []struct {
		kind, encoding string
		body           []byte
		answer         string
	}{
		{"application/json", "", js, "{}"}, {"application/json", "gzip", packed(js), "{}"},
		{"application/x-protobuf", "", pb, ""}, {"application/x-protobuf", "gzip", packed(pb), ""},
	} {
		got = nil
		code, kind, body := post("traces", c.kind, c.encoding, c.body)
		if want := "u " + string(session) + " " + trace + " " + span + " toolu_1"; code != 200 || kind != c.kind || body != c.answer || !slices.Equal(got, []string{want}) {
			t.Errorf("%s %s: %d %s %q, %q", c.kind, c.encoding, code, kind, body, got)
		}
	}
	got = nil
	for name, c := range map[string]struct {
		kind, encoding string
		body           []byte
		code           int
	}{
		"bomb":       {"application/json", "gzip", packed(make([]byte, 64<<20)), 413},
		"large":      {"application/json", "", make([]byte, 2<<20), 413},
		"not packed": {"application/json", "gzip", js, 400},
		"br":         {"application/json", "br", js, 415},
		"text":       {"text/plain", "", js, 415},
		"not JSON":   {"application/json", "", pb, 400},
		"many":       {"application/json", "", []byte(`{"resourceSpans":[{"scopeSpans":[{"spans":[` + strings.Repeat(one+",", maxSpans) + one + `]}]}]}`), 413},
	} {
		if code, _, body := post("traces", c.kind, c.encoding, c.body); code != c.code || len(got) > 0 {
			t.Errorf("%s: %d %s, %q", name, code, body, got)
		}
	}
	if code, kind, body := post("metrics", "application/x-protobuf", "", []byte("anything")); code != 200 || kind != "application/x-protobuf" || body != "" {
		t.Errorf("metrics: %d %s %q", code, kind, body)
	}
}
