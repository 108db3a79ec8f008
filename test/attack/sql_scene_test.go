package attack

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
	wire "gatebook/internal/wire/postgres"
	"gatebook/test/lab"
)

// allowAllSQL lets every statement through, so that a test is about something else; the default masks stay on.
const allowAllSQL = `rules:
  - {id: everything, protocol: postgres, effect: allow, reason: a test allows everything}
`

// sqlScene is an agent behind a gateway in front of a database of its own.
type sqlScene struct {
	t        *testing.T
	p        *lab.Postgres
	g        *lab.Gateway
	database string
	agent    string // the agent's token
}

// newSQLScene makes the database by setup, as its owner would. No policy: the embedded one.
func newSQLScene(t *testing.T, o lab.Options, setup ...string) *sqlScene {
	t.Helper()
	s := &sqlScene{t: t, p: lab.StartPostgres(t)}
	s.database = s.p.Database(t, setup...)
	s.g = s.p.StartGateway(t, binary, s.database, o)
	s.agent = s.g.Person("claude", "agents")
	return s
}

func sqlPolicy(text string) lab.Options {
	return lab.Options{Policy: map[string]string{"sql.yaml": text}}
}

// psql runs SQL as the agent.
func (s *sqlScene) psql(sql string, args ...string) lab.Result {
	s.t.Helper()
	return s.g.Psql(s.agent, sql, append([]string{"-v", "VERBOSITY=verbose"}, args...)...)
}

// state is what is in the database, as its owner sees it.
func (s *sqlScene) state(query string) string {
	s.t.Helper()
	return s.p.Admin(s.t, s.database, query)
}

// book gives all that is recorded of a principal until now, the earliest first.
func (s *sqlScene) book(principal string) []access.Record {
	s.t.Helper()
	marker := fmt.Sprintf("sql-marker-%d", markers.Add(1))
	s.g.Psql(s.g.Person(marker), "") // connecting is an operation
	auditor := s.g.API(s.g.Person("grace", "auditors"))
	for deadline := time.Now().Add(lab.Patience); ; time.Sleep(20 * time.Millisecond) {
		page, err := auditor.Operations(s.t.Context(), client.Query{Principal: marker})
		if err != nil {
			s.t.Fatal(err)
		}
		if len(page.Items) > 0 {
			break
		}
		if time.Now().After(deadline) {
			s.t.Fatal("the index does not get on")
		}
	}
	return operations(s.t, auditor, client.Query{Principal: principal, Limit: 500})
}

// recorded gives the records of statements that hold text, once each has its end.
func (s *sqlScene) recorded(text string) []access.Record {
	s.t.Helper()
	for deadline := time.Now().Add(lab.Patience); ; time.Sleep(20 * time.Millisecond) {
		all := slices.DeleteFunc(own(s.book("claude")), func(r access.Record) bool { return !strings.Contains(r.Operation.Command, text) })
		if !slices.ContainsFunc(all, func(r access.Record) bool { return r.Outcome == nil }) || time.Now().After(deadline) {
			return all
		}
	}
}

// speaker is a client that speaks the protocol by hand.
type speaker struct {
	t    *testing.T
	g    *lab.Gateway
	conn net.Conn
	in   *wire.Reader
	out  wire.Builder
	// process and key are those of BackendKeyData.
	key []byte
	// what it is about, for failures.
	what string
}

func (s *sqlScene) tls(alpn ...string) *tls.Config {
	s.t.Helper()
	pem, err := os.ReadFile(s.g.Data("ca.crt"))
	if err != nil {
		s.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: roots, ServerName: "localhost", NextProtos: alpn}
}

// dial gives a bare connection to the gateway.
func (s *sqlScene) dial() net.Conn {
	s.t.Helper()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.g.SQL))
	if err != nil {
		s.t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(lab.Patience)); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	return c
}

const askTLS = "\x00\x00\x00\x08\x04\xd2\x16\x2f"

// secure asks for TLS, and speaks it.
func (s *sqlScene) secure() *tls.Conn {
	s.t.Helper()
	c := s.dial()
	if _, err := io.WriteString(c, askTLS); err != nil {
		s.t.Fatal(err)
	}
	var yes [1]byte
	if _, err := io.ReadFull(c, yes[:]); err != nil || yes[0] != 'S' {
		s.t.Fatalf("asked for TLS: %q, %v", yes, err)
	}
	return tls.Client(c, s.tls())
}

// startup writes a startup message.
func startup(params ...string) []byte {
	var b wire.Builder
	b.Int32(0).Int32(3 << 16)
	for _, p := range params {
		b.Text(p)
	}
	b.Byte(0)
	n := len(b.Bytes)
	copy(b.Bytes, []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
	return b.Bytes
}

// speak logs in by hand.
func (s *sqlScene) speak(token string, params ...string) *speaker {
	s.t.Helper()
	c := s.secure()
	x := &speaker{t: s.t, g: s.g, conn: c, in: wire.NewReader(c, 64<<20)}
	if _, err := c.Write(startup(append([]string{"user", "agent", "database", "db"}, params...)...)); err != nil {
		s.t.Fatal(err)
	}
	x.out.Begin(wire.Password).Text(token).End()
	x.flush()
	for m := range x.until(wire.ReadyForQuery) {
		if m.Type == wire.BackendKeyData {
			x.key = slices.Clone(m.Body)
		}
	}
	return x
}

func (x *speaker) flush() {
	x.t.Helper()
	if _, err := x.conn.Write(x.out.Bytes); err != nil {
		x.t.Fatal(err)
	}
	x.out.Bytes = nil
}

// until gives messages up to and with the first of a type.
func (x *speaker) until(kind byte) func(func(wire.Message) bool) {
	return func(yield func(wire.Message) bool) {
		x.t.Helper()
		for {
			m, err := x.in.Next()
			if err != nil {
				if errors.Is(err, os.ErrDeadlineExceeded) && x.g != nil {
					x.g.Stacks()
				}
				x.t.Fatalf("%s: waiting for %q: %v", x.what, kind, err)
			}
			if !yield(m) || m.Type == kind {
				return
			}
		}
	}
}

// talk sends what was built, and gives the answers' types up to n times ReadyForQuery, with errors' SQLSTATE and texts of first cells.
func (x *speaker) talk(n int) string {
	x.t.Helper()
	x.flush()
	var out []string
	for range n {
		for m := range x.until(wire.ReadyForQuery) {
			switch m.Type {
			case wire.ErrorResponse:
				out = append(out, "E:"+field(x.t, m, 'C'))
			case wire.DataRow:
				if err := wire.Cells(m.Body, func(i int, c []byte) {
					if i == 0 {
						out = append(out, "D:"+string(c))
					}
				}); err != nil {
					x.t.Fatal(err)
				}
			case wire.ReadyForQuery:
				out = append(out, "Z:"+string(m.Body))
			default:
				out = append(out, string(m.Type))
			}
		}
	}
	return strings.Join(out, " ")
}

func field(t *testing.T, m wire.Message, code byte) string {
	t.Helper()
	fields, err := wire.ReadReport(m.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fields {
		if f.Code == code {
			return f.Text
		}
	}
	return ""
}

func (x *speaker) query(sql string) *speaker {
	x.out.Begin(wire.Query).Text(sql).End()
	return x
}

func (x *speaker) parse(name, sql string) *speaker {
	x.out.Begin(wire.Parse).Text(name).Text(sql).Int16(0).End()
	return x
}

// bind gives a portal its values, in the text format.
func (x *speaker) bind(portal, statement string, values ...string) *speaker {
	x.out.Begin(wire.Bind).Text(portal).Text(statement).Int16(0).Int16(len(values))
	for _, v := range values {
		x.out.Value([]byte(v))
	}
	x.out.Int16(0).End()
	return x
}

func (x *speaker) execute(portal string, rows int) *speaker {
	x.out.Begin(wire.Execute).Text(portal).Int32(uint32(rows)).End()
	return x
}

// run is a statement in the extended protocol.
func (x *speaker) run(sql string, values ...string) *speaker {
	return x.parse("", sql).bind("", "", values...).execute("", 0)
}

func (x *speaker) sync() *speaker {
	x.out.Begin(wire.Sync).End()
	return x
}

// closed asserts that the other side hangs up, whatever it says before.
func closed(t *testing.T, what string, c net.Conn) []byte {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(lab.Patience)); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	var late net.Error
	if errors.As(err, &late) && late.Timeout() {
		t.Errorf("%s: the connection stays open, after %q", what, b)
	}
	return b
}
