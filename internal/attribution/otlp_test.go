package attribution

import (
	"encoding/hex"
	"slices"
	"testing"

	common "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

const (
	traceID = "0af7651916cd43dd8448eb211c80319c"
	spanID  = "b7ad6b7169203331"
)

func TestParseSpans(t *testing.T) {
	id, _ := hex.DecodeString(traceID)
	span, _ := hex.DecodeString(spanID)
	text := func(k, v string) *common.KeyValue {
		return &common.KeyValue{Key: k, Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: v}}}
	}
	pb, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: []*tracepb.ResourceSpans{{ScopeSpans: []*tracepb.ScopeSpans{{Spans: []*tracepb.Span{
		{TraceId: id, SpanId: span, Name: "claude_code.tool.execution", Attributes: []*common.KeyValue{text("x", "y"), text("tool_use_id", "toolu_1")}},
		{TraceId: id, SpanId: span, Name: "claude_code.interaction", Attributes: []*common.KeyValue{text("user_prompt", "hello")}},
	}}}}}})
	if err != nil {
		t.Fatal(err)
	}
	const js = `{"resourceSpans":[{"resource":{},"scopeSpans":[{"scope":{"name":"x"},"spans":[
		{"traceId":"` + traceID + `","spanId":"` + spanID + `","name":"claude_code.tool.execution","startTimeUnixNano":"1","attributes":[{"key":"n","value":{"intValue":"3"}},{"key":"tool_use_id","value":{"stringValue":"toolu_1"}}]},
		{"traceId":"` + traceID + `","spanId":"` + spanID + `","attributes":[]}]}]}]}`
	want := []Span{{Trace: traceID, ID: spanID, Call: "toolu_1"}}
	for kind, body := range map[string][]byte{"application/json; charset=utf-8": []byte(js), "application/x-protobuf": pb} {
		got, err := ParseSpans(kind, body)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %+v, %v", kind, got, err)
		}
	}
	for kind, body := range map[string]string{"application/json": "{", "application/x-protobuf": "\xff", "text/plain": "{}", ";": "{}"} {
		if got, err := ParseSpans(kind, []byte(body)); err == nil {
			t.Errorf("%s %q: %v", kind, body, got)
		}
	}
}

func FuzzParseSpans(f *testing.F) {
	f.Add([]byte(`{"resourceSpans":[{"scopeSpans":[{"spans":[{}]}]}]}`))
	f.Add([]byte("\x0a\x02\x12\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = ParseSpans("application/json", b)
		_, _ = ParseSpans("application/x-protobuf", b)
	})
}
