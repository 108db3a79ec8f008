package postgres

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"gatebook/internal/access"
	"gatebook/internal/gate"
	"gatebook/internal/protocol"
	"gatebook/internal/protocol/postgres/grammar"
	wire "gatebook/internal/wire/postgres"
)

// maxToken bounds the message with the token, before its sender is known.
const maxToken = 64 << 10

// traceparent is the form of W3C Trace Context, section 3.2.
var traceparent = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)

// logIn asks for the token, and connects to the target as an operation of its own.
func (s *session) logIn(first wire.First, d protocol.Door) *access.Refusal {
	token, why := s.askToken()
	if why != nil {
		return why
	}
	by, err := d.Authenticate(s.ctx, token)
	if err != nil {
		return asRefusal(err, access.CodeUnauthenticated)
	}
	by.Address = s.raw.RemoteAddr().String()
	s.by, s.application = by, first.Params["application_name"]
	if s.by.Trace == "" && traceparent.MatchString(s.application) {
		s.by.Trace = s.application
	}
	host := ""
	if t, ok := s.client.(*tls.Conn); ok {
		host = t.ConnectionState().ServerName
	}
	if s.t, s.database, why = s.h.route(host, first.Params["database"]); why != nil {
		return why
	}
	s.role, s.login, s.scope = s.t.Upstream.Role(), s.t.Upstream.Role(), s.h.o.Masks.Scope(by.Session)
	s.sent = s.scope.Claimed()
	if err := s.raw.SetDeadline(time.Time{}); err != nil {
		return access.Refuse(access.CodeInternal, err, "the connection failed")
	}
	go d.Watch(s.ctx, token, s.cut)
	if why := s.connect(first); why != nil {
		return why
	}
	s.greet(first)
	return nil
}

// askToken takes the token as a password in clear, which TLS hides.
func (s *session) askToken() (string, *access.Refusal) {
	var b wire.Builder
	b.Begin(wire.Authentication).Int32(3).End() // AuthenticationCleartextPassword
	if _, err := s.client.Write(b.Bytes); err != nil {
		return "", access.Refuse(access.CodeUnauthenticated, err, "the client went away")
	}
	s.in.SetMax(maxToken)
	m, err := s.in.Next()
	if err == nil && m.Type != wire.Password {
		err = errors.New("the client did not send a password")
	}
	token := ""
	if err == nil {
		token, err = wire.ReadText(m.Body)
	}
	if err != nil {
		return "", access.Refuse(access.CodeUnauthenticated, err, "the gateway token is to be sent as the password")
	}
	s.in.SetMax(s.h.o.Limits.MessageBytes)
	return token, nil
}

// connect makes the connection an operation, and dials under its permit, which lasts as long as the connection.
func (s *session) connect(first wire.First) *access.Refusal {
	params, why := startupSettings(first.Params)
	text := connectText(s.t.Target.Name, s.database, first.Params)
	op := s.newOperation("connect", nil)
	op.SQL.Kinds, op.SQL.Effect = []string{"connect"}, grammar.Session
	s.tell(op, text)
	op.Digest = s.digest("connect", text)
	if why != nil {
		s.h.o.Gate.Reject(op, why)
		return why
	}
	p, err := s.h.o.Gate.Admit(s.ctx, gate.Request{Operation: op, Payload: strings.NewReader(op.Command)})
	if err != nil {
		return asRefusal(err, access.CodeInternal)
	}
	s.link, s.began = p, s.h.o.Now()
	up, err := s.t.Upstream.Dial(p, s.database, params)
	if err == nil {
		err = s.readable(up.Params)
		if err != nil {
			up.Close()
		}
	}
	if err != nil {
		why := asRefusal(err, access.CodeUpstream)
		s.endLink(access.Outcome{ExitCode: -1, Message: why.Message})
		return why
	}
	s.up = up
	s.settings.begin(params, up.Params)
	s.from = wire.NewReader(up, s.h.o.Limits.MessageBytes)
	return nil
}

// readable reports whether the server reads text as this gateway does.
func (s *session) readable(params map[string]string) error {
	for name, want := range map[string]string{"client_encoding": "UTF8", "standard_conforming_strings": "on"} {
		if got, ok := params[name]; ok && got != want {
			return access.Refuse(access.CodeUpstream, nil, "target %q has %s %s; statements are read with %s alone", s.t.Target.Name, name, got, want)
		}
	}
	return nil
}

// greet tells the client that it is in, and which key cancels.
func (s *session) greet(first wire.First) {
	var b wire.Builder
	if unknown := unknownOptions(first.Params); first.Minor > 0 || len(unknown) > 0 {
		b.Begin(wire.NegotiateProtocol).Int32(3 << 16).Int32(uint32(len(unknown)))
		for _, n := range unknown {
			b.Text(n)
		}
		b.End()
	}
	b.Begin(wire.Authentication).Int32(0).End()
	for _, name := range slices.Sorted(maps.Keys(s.up.Params)) {
		b.Begin(wire.ParameterStatus).Text(name).Text(s.conceal(s.up.Params[name])).End()
	}
	var key [8]byte
	rand.Read(key[:])
	key[0] &= 0x7f // clients take the process for a positive number
	s.key = binary.BigEndian.Uint64(key[:])
	s.h.mu.Lock()
	s.h.sessions[s.key] = s
	s.h.mu.Unlock()
	b.Begin(wire.BackendKeyData).Raw(key[:]).End()
	b.Ready('I')
	s.status = 'I'
	s.send(b.Bytes)
}

func unknownOptions(params map[string]string) []string {
	var out []string
	for name := range params {
		if strings.HasPrefix(name, "_pq_.") {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// startupSettings are the parameters that are passed on to the server, all of which could be SET as well.
func startupSettings(params map[string]string) (map[string]string, *access.Refusal) {
	out := map[string]string{"client_encoding": "UTF8", "standard_conforming_strings": "on"}
	all := map[string]string{}
	for name, v := range params {
		switch {
		case name == "user" || name == "database" || name == "options" || strings.HasPrefix(name, "_pq_."):
		case name == "replication":
			if v = strings.ToLower(v); v != "false" && v != "off" && v != "no" && v != "0" {
				return nil, access.Refuse(access.CodeDenied, nil, "replication connections are not let through: what flows in them is not decoded")
			}
		default:
			all[strings.ToLower(name)] = v
		}
	}
	more, err := startupOptions(params["options"])
	if err != nil {
		return nil, access.Refuse(access.CodeMalformed, err, "options=%q cannot be read: give settings alone, as -c name=value", params["options"])
	}
	maps.Copy(all, more)
	for name, v := range all {
		switch {
		case !utf8.ValidString(v):
			return nil, access.Refuse(access.CodeMalformed, nil, "the setting %s is not UTF-8", name)
		case name == "client_encoding":
			if e := strings.ToUpper(strings.ReplaceAll(v, "-", "")); e != "UTF8" && e != "UNICODE" && e != "AUTO" && e != "'UTF8'" {
				return nil, access.Refuse(access.CodeMalformed, nil, "client_encoding %q: the gateway reads UTF8 alone", v)
			}
		case !grammar.HarmlessSetting(name, v):
			return nil, access.Refuse(access.CodeDenied, nil, "the setting %s=%q cannot be made when connecting; SET it, so that it is decided by itself", name, v)
		default:
			out[name] = v
		}
	}
	return out, nil
}

// startupOptions reads what libpq calls options: words as for the server's command line, of which settings are taken.
func startupOptions(s string) (map[string]string, error) {
	out := map[string]string{}
	args := splitOptions(s)
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "-c" && i+1 < len(args):
			i++
			a = args[i]
		case strings.HasPrefix(a, "-c"):
			a = a[2:]
		case strings.HasPrefix(a, "--"):
			a = a[2:]
		default:
			return nil, errors.New("an option other than a setting")
		}
		name, v, ok := strings.Cut(a, "=")
		if !ok || name == "" {
			return nil, errors.New("a setting without a value")
		}
		out[strings.ToLower(strings.ReplaceAll(name, "-", "_"))] = v
	}
	return out, nil
}

// splitOptions cuts at white space, of which a backslash makes a character (pg_split_opts).
func splitOptions(s string) []string {
	var out []string
	word, in := "", false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s):
			i++
			word, in = word+string(s[i]), true
		case strings.IndexByte(" \t\n\r\v\f", c) >= 0:
			if in {
				out, word, in = append(out, word), "", false
			}
		default:
			word, in = word+string(c), true
		}
	}
	if in {
		out = append(out, word)
	}
	return out
}

// connectText is the connection in libpq's words, whole but for the token.
func connectText(target, database string, params map[string]string) string {
	quote := func(v string) string {
		return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(v) + "'"
	}
	out := "psql \"dbname=" + quote(target+"/"+database)
	for _, name := range slices.Sorted(maps.Keys(params)) {
		if name != "database" {
			out += " " + name + "=" + quote(params[name])
		}
	}
	return out + "\""
}

// cancel stops what the session with that key runs, or holds. Who has the key was given it over TLS by a login.
func (h *Handler) cancel(first wire.First) {
	if len(first.Key) != 4 {
		return
	}
	key := binary.BigEndian.Uint64(append(binary.BigEndian.AppendUint32(nil, first.Process), first.Key...))
	h.mu.Lock()
	s := h.sessions[key]
	h.mu.Unlock()
	if s != nil {
		s.cancelRunning()
	}
}

// cancelRunning is an operation of the session's own principal.
func (s *session) cancelRunning() {
	if s.stopHolding() {
		return
	}
	op := s.newOperation("cancel", nil)
	op.SQL.Kinds, op.SQL.Effect = []string{"cancel"}, grammar.Session
	s.tell(op, "-- cancel what runs on this connection")
	op.Digest = s.digest("cancel")
	ctx, done := context.WithTimeout(s.ctx, 30*time.Second)
	defer done()
	p, err := s.h.o.Gate.Admit(ctx, gate.Request{Operation: op})
	if err != nil {
		return
	}
	out := access.Outcome{ExitCode: -1}
	if err := s.t.Upstream.Cancel(p, s.up); err != nil {
		out.Message = asRefusal(err, access.CodeUpstream).Message
	}
	if err := p.End(out); err != nil {
		s.h.o.Log.Error("ending the record of a cancel request", "operation", op.ID, "error", err)
	}
}
