package attribution

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"mime"
	"slices"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// callAttributes name the tool call that a span is the execution of: Claude Code's, and OpenTelemetry's for GenAI.
var callAttributes = []string{"tool_use_id", "gen_ai.tool.call.id"}

// ParseSpans reads an OTLP trace export (OTLP 1.x, ExportTraceServiceRequest), as JSON or Protobuf by its content type, and
// gives those of its spans that name a tool call. It is the client's word.
func ParseSpans(contentType string, body []byte) ([]Span, error) {
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, fmt.Errorf("content type %q: %w", contentType, err)
	}
	switch kind {
	case "application/json":
		return jsonSpans(body)
	case "application/x-protobuf":
		return protobufSpans(body)
	}
	return nil, fmt.Errorf("content type %q: want application/json or application/x-protobuf", kind)
}

// jsonExport is the part of the JSON form that is read. Its identifiers are hexadecimal, unlike Protobuf's own JSON form.
type jsonExport struct {
	ResourceSpans []struct {
		ScopeSpans []struct {
			Spans []struct {
				TraceID    string `json:"traceId"`
				SpanID     string `json:"spanId"`
				Attributes []struct {
					Key   string `json:"key"`
					Value struct {
						StringValue string `json:"stringValue"`
					} `json:"value"`
				} `json:"attributes"`
			} `json:"spans"`
		} `json:"scopeSpans"`
	} `json:"resourceSpans"`
}

func jsonSpans(body []byte) ([]Span, error) {
	var in jsonExport
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, fmt.Errorf("reading spans: %w", err)
	}
	var out []Span
	for _, r := range in.ResourceSpans {
		for _, s := range r.ScopeSpans {
			for _, sp := range s.Spans {
				for _, a := range sp.Attributes {
					if slices.Contains(callAttributes, a.Key) && a.Value.StringValue != "" {
						out = append(out, Span{Trace: sp.TraceID, ID: sp.SpanID, Call: a.Value.StringValue})
					}
				}
			}
		}
	}
	return out, nil
}

func protobufSpans(body []byte) ([]Span, error) {
	var in tracepb.TracesData // the same fields as ExportTraceServiceRequest, without a gRPC stack
	if err := proto.Unmarshal(body, &in); err != nil {
		return nil, fmt.Errorf("reading spans: %w", err)
	}
	var out []Span
	for _, r := range in.GetResourceSpans() {
		for _, s := range r.GetScopeSpans() {
			for _, sp := range s.GetSpans() {
				for _, a := range sp.GetAttributes() {
					if v := a.GetValue().GetStringValue(); slices.Contains(callAttributes, a.GetKey()) && v != "" {
						out = append(out, Span{Trace: hex.EncodeToString(sp.GetTraceId()), ID: hex.EncodeToString(sp.GetSpanId()), Call: v})
					}
				}
			}
		}
	}
	return out, nil
}
