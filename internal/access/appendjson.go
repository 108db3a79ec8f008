package access

import (
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// What is written for every operation is written by hand: byte for byte what encoding/json gives, at a tenth of its cost.
// The test holds each method here to that, field by field.

// AppendJSON appends the operation as encoding/json writes it.
func (o *Operation) AppendJSON(b []byte) ([]byte, error) {
	w := BeginJSON(b)
	w.Text("id", string(o.ID))
	w.Text("session", string(o.Session))
	w.Some("parent", string(o.Parent))
	w.always("time", o.Time)
	w.key("principal")
	w.b = o.Principal.appendJSON(w.b)
	w.key("target")
	w.b = o.Target.appendJSON(w.b)
	w.key("client")
	w.b = o.Client.appendJSON(w.b)
	w.Text("verb", o.Verb)
	w.Text("command", o.Command)
	w.digest("digest", o.Digest)
	if len(o.Uninspectable) > 0 {
		w.list("uninspectable", len(o.Uninspectable), func(i int) {
			u := BeginJSON(w.b)
			u.Text("field", o.Uninspectable[i].Field)
			u.Text("why", o.Uninspectable[i].Why)
			w.b = u.End()
		})
	}
	w.texts("fetched", o.Fetched)
	if err := o.appendDetail(&w); err != nil {
		return nil, err
	}
	return w.End(), nil
}

// appendDetail leaves to encoding/json what is too varied to be written by hand.
func (o *Operation) appendDetail(w *JSONObject) (err error) {
	if o.Cause != nil {
		w.key("cause")
		w.b = o.Cause.appendJSON(w.b)
	}
	if o.Kubernetes != nil && err == nil {
		w.key("kubernetes")
		w.b, err = o.Kubernetes.appendJSON(w.b)
	}
	if o.Model != nil && err == nil {
		err = w.marshal("model", o.Model)
	}
	if o.Git != nil && err == nil {
		err = w.marshal("git", o.Git)
	}
	if o.SQL != nil && err == nil {
		w.key("sql")
		w.b = o.SQL.appendJSON(w.b)
	}
	if o.Web != nil && err == nil {
		err = w.marshal("web", o.Web)
	}
	return err
}

func (p *Principal) appendJSON(b []byte) []byte {
	w := BeginJSON(b)
	w.Text("issuer", p.Issuer)
	w.Text("subject", p.Subject)
	w.Text("name", p.Name)
	w.texts("groups", p.Groups)
	w.texts("aliases", p.Aliases)
	if !p.Workload.IsZero() {
		w.key("workload")
		w.b = p.Workload.appendJSON(w.b)
	}
	w.Some("tokenId", p.TokenID)
	w.Time("expires", p.Expires)
	return w.End()
}

func (p *Workload) appendJSON(b []byte) []byte {
	w := BeginJSON(b)
	w.Some("namespace", p.Namespace)
	w.Some("serviceAccount", p.ServiceAccount)
	w.Some("serviceAccountUid", p.ServiceAccountUID)
	w.Some("pod", p.Pod)
	w.Some("podUid", p.PodUID)
	w.Some("node", p.Node)
	w.Some("nodeUid", p.NodeUID)
	return w.End()
}

func (t *Target) appendJSON(b []byte) []byte {
	w := BeginJSON(b)
	w.Text("name", t.Name)
	w.Text("protocol", t.Protocol)
	if len(t.Labels) > 0 {
		w.key("labels")
		l := BeginJSON(w.b)
		for _, k := range slices.Sorted(maps.Keys(t.Labels)) {
			l.named(k, t.Labels[k])
		}
		w.b = l.End()
	}
	return w.End()
}

func (c *Client) appendJSON(b []byte) []byte {
	w := BeginJSON(b)
	w.Text("address", c.Address)
	w.Some("userAgent", c.UserAgent)
	w.Some("invocation", c.Invocation)
	w.Some("invokedAs", c.InvokedAs)
	w.Some("reason", c.Reason)
	w.Some("trace", c.Trace)
	w.Some("call", c.Call)
	return w.End()
}

func (k *Kubernetes) appendJSON(b []byte) ([]byte, error) {
	w := BeginJSON(b)
	w.Text("verb", k.Verb)
	w.Text("group", k.Group)
	w.Text("version", k.Version)
	w.Text("resource", k.Resource)
	w.Text("subresource", k.Subresource)
	w.Text("namespace", k.Namespace)
	w.Text("name", k.Name)
	w.Some("kind", k.Kind)
	w.Some("path", k.Path)
	w.Yes("dryRun", k.DryRun)
	w.Some("fieldManager", k.FieldManager)
	w.Some("fieldSelector", k.FieldSelector)
	w.Some("labelSelector", k.LabelSelector)
	w.Some("patchType", k.PatchType)
	for _, d := range []struct {
		name  string
		value map[string]any
	}{{"object", k.Object}, {"stored", k.Stored}} {
		if len(d.value) > 0 {
			if err := w.marshal(d.name, d.value); err != nil {
				return nil, err
			}
		}
	}
	if k.Exec != nil {
		w.key("exec")
		w.b = k.Exec.appendJSON(w.b)
	}
	if len(k.Ports) > 0 {
		w.list("ports", len(k.Ports), func(i int) { w.b = strconv.AppendInt(w.b, k.Ports[i], 10) })
	}
	w.Some("proxyPath", k.ProxyPath)
	return w.End(), nil
}

func (e *Exec) appendJSON(b []byte) []byte {
	w := BeginJSON(b)
	w.Some("container", e.Container)
	w.texts("command", e.Command)
	w.Yes("stdin", e.Stdin)
	w.Yes("stdout", e.Stdout)
	w.Yes("stderr", e.Stderr)
	w.Yes("tty", e.TTY)
	return w.End()
}

func (s *SQL) appendJSON(b []byte) []byte {
	w := BeginJSON(b)
	w.Text("database", s.Database)
	w.Some("role", s.Role)
	w.Some("application", s.Application)
	w.Some("text", s.Text)
	w.texts("kinds", s.Kinds)
	w.Some("effect", s.Effect)
	w.texts("tables", s.Tables)
	w.texts("writes", s.Writes)
	w.texts("columns", s.Columns)
	w.texts("functions", s.Functions)
	w.texts("volatile", s.Volatile)
	w.Yes("noWhere", s.NoWhere)
	w.texts("parameters", s.Parameters)
	return w.End()
}

func (c *Cause) appendJSON(b []byte) []byte {
	w := BeginJSON(b)
	w.Some("operation", string(c.Operation))
	w.Time("time", c.Time)
	w.Text("rung", c.Rung.String())
	w.Text("method", c.Method)
	if len(c.Evidence) > 0 {
		w.list("evidence", len(c.Evidence), func(i int) {
			e := BeginJSON(w.b)
			e.Text("what", c.Evidence[i].What)
			e.key("seen")
			e.b = strconv.AppendBool(e.b, c.Evidence[i].Seen)
			w.b = e.End()
		})
	}
	if len(c.Calls) > 0 {
		w.list("calls", len(c.Calls), func(i int) {
			r := BeginJSON(w.b)
			r.Text("call", c.Calls[i].Call)
			r.Some("tool", c.Calls[i].Tool)
			r.Text("turn", string(c.Calls[i].Turn))
			w.b = r.End()
		})
	}
	w.texts("flags", c.Flags)
	return w.End()
}

// AppendJSON appends the decision as encoding/json writes it.
func (d *Decision) AppendJSON(b []byte) ([]byte, error) {
	w := BeginJSON(b)
	w.Text("effect", d.Effect.String())
	if d.Observed != nil {
		w.Text("observed", d.Observed.String())
	}
	w.Text("risk", d.Risk.String())
	if len(d.Rules) > 0 {
		w.list("rules", len(d.Rules), func(i int) { w.b = d.Rules[i].appendJSON(w.b) })
	}
	w.Text("reason", d.Reason)
	w.Some("advice", d.Advice)
	if len(d.Masks) > 0 {
		w.list("masks", len(d.Masks), func(i int) {
			m := BeginJSON(w.b)
			m.Text("name", d.Masks[i].Name)
			m.texts("paths", d.Masks[i].Paths)
			m.texts("detectors", d.Masks[i].Detectors)
			w.b = m.End()
		})
	}
	if d.Approval != nil {
		if err := w.marshal("approval", d.Approval); err != nil {
			return nil, err
		}
	}
	w.digest("policy", d.Policy)
	return w.End(), nil
}

func (h *RuleHit) appendJSON(b []byte) []byte {
	w := BeginJSON(b)
	w.Text("id", h.ID)
	w.Text("effect", h.Effect.String())
	w.Some("reason", h.Reason)
	w.Some("advice", h.Advice)
	w.texts("unknown", h.Unknown)
	w.Some("error", h.Error)
	return w.End()
}

// AppendJSON appends the outcome as encoding/json writes it.
func (o *Outcome) AppendJSON(b []byte) ([]byte, error) {
	w := BeginJSON(b)
	w.Int("code", int64(o.Code))
	w.Some("message", o.Message)
	w.Int("exitCode", int64(o.ExitCode))
	w.Int("requestBytes", o.RequestBytes)
	w.Int("responseBytes", o.ResponseBytes)
	if o.Masked != 0 {
		w.Int("masked", o.Masked)
	}
	w.Some("truncated", o.Truncated)
	w.Int("durationNs", int64(o.Duration))
	if o.Rows != 0 {
		w.Int("rows", o.Rows)
	}
	if o.Answer != nil {
		if err := w.marshal("answer", o.Answer); err != nil {
			return nil, err
		}
	}
	return w.End(), nil
}

// JSONObject appends the members of one object in the order of the calls. Its methods are named by what is written; Some,
// Yes, Count, Time and Digest leave out what is empty, as omitempty and omitzero do.
type JSONObject struct {
	b    []byte
	more bool
}

// BeginJSON begins an object behind b.
func BeginJSON(b []byte) JSONObject { return JSONObject{b: append(b, '{')} }

// End gives all that was appended.
func (w *JSONObject) End() []byte { return append(w.b, '}') }

func (w *JSONObject) key(name string) {
	if w.more {
		w.b = append(w.b, ',')
	}
	w.more = true
	w.b = append(append(append(w.b, '"'), name...), '"', ':') // names are ours, and plain
}

// Text writes a string, also an empty one.
func (w *JSONObject) Text(name, v string) {
	w.key(name)
	w.b = AppendJSONString(w.b, v)
}

// named is Text under a name that is not ours.
func (w *JSONObject) named(name, v string) {
	if w.more {
		w.b = append(w.b, ',')
	}
	w.more = true
	w.b = AppendJSONString(append(AppendJSONString(w.b, name), ':'), v)
}

// Some writes a string.
func (w *JSONObject) Some(name, v string) {
	if v != "" {
		w.Text(name, v)
	}
}

// Yes writes true.
func (w *JSONObject) Yes(name string, v bool) {
	if v {
		w.key(name)
		w.b = append(w.b, "true"...)
	}
}

// Int writes a number, also 0.
func (w *JSONObject) Int(name string, v int64) {
	w.key(name)
	w.b = strconv.AppendInt(w.b, v, 10)
}

// Count writes a number.
func (w *JSONObject) Count(name string, v uint64) {
	if v != 0 {
		w.key(name)
		w.b = strconv.AppendUint(w.b, v, 10)
	}
}

// Time writes a time, as encoding/json does for the years that have four digits.
func (w *JSONObject) Time(name string, t time.Time) {
	if !t.IsZero() {
		w.always(name, t)
	}
}

func (w *JSONObject) always(name string, t time.Time) {
	w.key(name)
	w.b = append(t.AppendFormat(append(w.b, '"'), time.RFC3339Nano), '"')
}

// Digest writes a digest.
func (w *JSONObject) Digest(name string, d Digest) {
	if !d.IsZero() {
		w.digest(name, d)
	}
}

func (w *JSONObject) digest(name string, d Digest) {
	w.key(name)
	w.b = append(hex.AppendEncode(append(w.b, '"'), d[:]), '"')
}

// texts leaves out a list of none.
func (w *JSONObject) texts(name string, list []string) {
	if len(list) > 0 {
		w.list(name, len(list), func(i int) { w.b = AppendJSONString(w.b, list[i]) })
	}
}

func (w *JSONObject) list(name string, n int, each func(i int)) {
	w.key(name)
	w.b = append(w.b, '[')
	for i := range n {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		each(i)
	}
	w.b = append(w.b, ']')
}

func (w *JSONObject) marshal(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.key(name)
	w.b = append(w.b, data...)
	return nil
}

const hexDigits = "0123456789abcdef"

// plain are the bytes that stand in a JSON string as they are.
var plain = func() (t [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		t[c] = c != '"' && c != '\\' && c != '<' && c != '>' && c != '&'
	}
	return t
}()

// AppendJSONString appends s as encoding/json writes it: what is not UTF-8 as U+FFFD, and nothing in it that HTML takes
// for markup.
func AppendJSONString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if plain[c] {
			i++
			continue
		}
		if c < utf8.RuneSelf {
			b = appendEscaped(append(b, s[start:i]...), c)
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			b = append(append(b, s[start:i]...), `\ufffd`...)
			start = i + size
		case r == '\u2028' || r == '\u2029':
			b = append(append(b, s[start:i]...), '\\', 'u', '2', '0', '2', hexDigits[r&0xf])
			start = i + size
		}
		i += size
	}
	return append(append(b, s[start:]...), '"')
}

func appendEscaped(b []byte, c byte) []byte {
	switch c {
	case '\\', '"':
		return append(b, '\\', c)
	case '\b':
		return append(b, '\\', 'b')
	case '\f':
		return append(b, '\\', 'f')
	case '\n':
		return append(b, '\\', 'n')
	case '\r':
		return append(b, '\\', 'r')
	case '\t':
		return append(b, '\\', 't')
	}
	return append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
}
