package postgres

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/age"
	"golang.org/x/mod/sumdb/note"

	"gatebook/internal/access"
	"gatebook/internal/archive"
	"gatebook/internal/credential"
	"gatebook/internal/gate"
	"gatebook/internal/journal"
	"gatebook/internal/ledger"
	"gatebook/internal/mask"
	"gatebook/internal/protocol"
	"gatebook/internal/recording"
	wire "gatebook/internal/wire/postgres"
	"gatebook/test/lab"
)

// compiled is where all handlers of this package's tests have their parser.
var compiled string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "compiled")
	if err != nil {
		panic(err)
	}
	compiled = filepath.Join(dir, "sql")
	code := m.Run()
	lab.StopPostgres()
	if err := os.RemoveAll(dir); err != nil {
		panic(err)
	}
	os.Exit(code)
}

// world is a handler with the real gate, journal and upstream client, before a real PostgreSQL.
type world struct {
	t    testing.TB
	p    *lab.Postgres
	db   string
	h    *Handler
	tls  *tls.Config
	addr string
	log  *syncBuffer
	// journal is its folder.
	journal string
	// fail is asked at the journal's failpoints.
	fail atomic.Pointer[func(point string) error]
	// revoke has what Register was given last: that of the connection.
	revoke atomic.Pointer[func(error)]
	// decide is the policy.
	decide func(op *access.Operation) access.Decision
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newWorld makes one in which everything is allowed; change may say otherwise.
func newWorld(t testing.TB, change func(*Options), setup ...string) *world {
	t.Helper()
	w := &world{t: t, p: lab.StartPostgres(t), log: &syncBuffer{}}
	w.decide = func(*access.Operation) access.Decision {
		return access.Decision{Effect: access.Allow, Masks: []access.Mask{{Name: access.MaskSecrets}, {Name: access.MaskKnown}}}
	}
	w.db = w.p.Database(t, setup...)
	masks, err := mask.New(mask.Options{Key: bytes.Repeat([]byte{7}, 32)})
	must(t, err)
	g, err := gate.New(gate.Options{Policy: func() gate.Policy { return w }, Approvals: w, Revocations: w, Recorder: w.recorder()})
	must(t, err)
	url, ca, role, password := w.p.Reach(t, w.db)
	up, err := credential.NewDatabase(credential.DatabaseOptions{URL: url, CA: ca, Role: role, Password: func() (string, error) { return password, nil }, Dial: time.Minute})
	must(t, err)
	web := httptest.NewUnstartedServer(nil) // for its certificate
	web.StartTLS()
	t.Cleanup(web.Close)
	w.tls = &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "example.com", NextProtos: []string{alpn}}
	w.tls.RootCAs.AddCert(web.Certificate())
	o := Options{Targets: map[string]Target{"db": {Target: access.Target{Name: "db"}, Upstream: up}}, Gate: g, Masks: masks, TLS: &tls.Config{Certificates: web.TLS.Certificates},
		Limits: Limits{Login: time.Minute}, Compiled: compiled, Log: slog.New(slog.NewTextHandler(w.log, nil))}
	if change != nil {
		change(&o)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(w.log)
		}
	})
	w.h, err = New(o)
	must(t, err)
	must(t, w.h.grammar.Wait())
	w.listen()
	return w
}

func (w *world) listen() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(w.t, err)
	w.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var live sync.WaitGroup
	w.t.Cleanup(func() { l.Close(); cancel(); live.Wait() })
	door := protocol.Door{Authenticate: func(context.Context, string) (protocol.Caller, error) {
		return protocol.Caller{Principal: access.Principal{Issuer: "i", Subject: "agent", Name: "agent"}, Session: "0123456789abcdefghjkmnpqrs"}, nil
	}, Watch: func(context.Context, string, context.CancelCauseFunc) {}}
	live.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			live.Go(func() { w.h.ServeConn(ctx, c, door) })
		}
	})
}

func (w *world) recorder() *recording.Recorder {
	w.journal = w.t.TempDir()
	j, err := journal.Open(w.journal, journal.Options{Fail: func(point string) error {
		if f := w.fail.Load(); f != nil {
			return (*f)(point)
		}
		return nil
	}})
	must(w.t, err)
	key, _, err := note.GenerateKey(nil, "test")
	must(w.t, err)
	signer, err := note.NewSigner(key)
	must(w.t, err)
	l, err := ledger.Open(w.t.TempDir(), ledger.Options{Signer: signer})
	must(w.t, err)
	a, err := archive.OpenFolder(w.t.TempDir())
	must(w.t, err)
	id, err := age.GenerateX25519Identity()
	must(w.t, err)
	rec, err := recording.Open(recording.Options{Journal: j, Ledger: l, Archive: a, Dir: w.t.TempDir(), Recipients: []age.Recipient{id.Recipient()}, Durability: recording.Crash, SealAge: -1, SealIdle: time.Hour})
	must(w.t, err)
	return rec
}

func (w *world) Decide(op *access.Operation) (access.Decision, []string) { return w.decide(op), nil }

var errAsked = errors.New("nobody is asked here")

func (w *world) Ask(context.Context, *access.Operation, access.Decision, func(context.Context) (access.Card, error)) (access.Approval, error) {
	return access.Approval{}, errAsked
}
func (w *world) Wait(context.Context, access.ApprovalID) (access.Approval, error) {
	return access.Approval{}, errAsked
}
func (w *world) Use(context.Context, access.ApprovalID, *access.Operation, access.Decision) error {
	return errAsked
}
func (w *world) Register(_ access.Principal, _ access.SessionID, cut func(error)) func() {
	w.revoke.Store(&cut)
	return func() {}
}
func (w *world) Check(access.Principal, access.SessionID) error { return nil }

// client is one that has logged in.
type client struct {
	t    testing.TB
	conn net.Conn
	in   *wire.Reader
}

func (w *world) connect(t testing.TB) *client {
	t.Helper()
	raw, err := net.Dial("tcp", w.addr)
	must(t, err)
	t.Cleanup(func() { raw.Close() })
	must(t, raw.SetDeadline(time.Now().Add(3*time.Minute)))
	c := tls.Client(raw, w.tls)
	x := &client{t: t, conn: c, in: wire.NewReader(c, 64<<20)}
	var b wire.Builder
	b.Raw(wire.First{Kind: wire.Startup, Params: map[string]string{"user": "agent", "database": "db"}}.Bytes()).Begin(wire.Password).Text("token").End()
	_, err = c.Write(b.Bytes)
	must(t, err)
	x.answer(1)
	return x
}

// answer gives the types of the messages up to n times ReadyForQuery, with SQLSTATE and the rows' bytes.
func (x *client) answer(n int) string {
	x.t.Helper()
	var out []string
	for n > 0 {
		m, err := x.in.Next()
		if err != nil {
			x.t.Fatalf("after %q: %v", out, err)
		}
		text := string(m.Type)
		switch m.Type {
		case wire.ErrorResponse:
			fields, err := wire.ReadReport(m.Body)
			must(x.t, err)
			for _, f := range fields {
				if f.Code == 'C' {
					text += ":" + f.Text
				}
			}
		case wire.DataRow, wire.ReadyForQuery:
			text += ":" + strings.Trim(string(m.Body), "\x00\x01\x02\x03\x04")
		}
		if m.Type == wire.ReadyForQuery {
			n--
		}
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

func (x *client) send(b []byte) {
	x.t.Helper()
	_, err := x.conn.Write(b)
	must(x.t, err)
}

func query(b *wire.Builder, sql string) { b.Begin(wire.Query).Text(sql).End() }

// run is a statement of the extended protocol, without Sync.
func run(b *wire.Builder, sql string) {
	b.Begin(wire.Parse).Text("").Text(sql).Int16(0).End()
	b.Begin(wire.Bind).Text("").Text("").Int16(0).Int16(0).Int16(0).End()
	b.Begin(wire.Execute).Text("").Int32(0).End()
}

func sync1(b *wire.Builder) { b.Begin(wire.Sync).End() }

// protocols are the ways to send one statement.
var protocols = map[string]func(b *wire.Builder, sql string){
	"simple":   query,
	"extended": func(b *wire.Builder, sql string) { run(b, sql); sync1(b) },
	"prepared": func(b *wire.Builder, sql string) {
		b.Begin(wire.Parse).Text("p").Text(sql).Int16(0).End()
		sync1(b)
	},
}

// S54: a statement is on record before it is forwarded, by order: while the journal does not take it, not a byte of it is at the server;
// when it does, the server has it; and where the journal fails, it never comes there.
func TestS54RecordedFirst(t *testing.T) {
	for name, send := range protocols {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			x := w.connect(t)
			var b wire.Builder
			query(&b, "select 1") // the catalog is there
			x.send(b.Bytes)
			x.answer(1)
			mark := fmt.Sprint("mark54", name, time.Now().UnixNano()) // the server's log has what ran before, too
			entered, release := make(chan struct{}), make(chan struct{})
			var once sync.Once
			letGo := sync.OnceFunc(func() { close(release) })
			t.Cleanup(letGo)
			hold := func(point string) error {
				if point == journal.FailWrite {
					once.Do(func() { close(entered) })
					<-release
				}
				return nil
			}
			w.fail.Store(&hold)
			b.Bytes = nil
			send(&b, "select '"+mark+"'")
			x.send(b.Bytes)
			<-entered
			// The journal writes in its own time: whatever the server is to get without it, it has a while to get.
			for range 20 {
				if strings.Contains(w.p.Log(), mark) {
					t.Fatal("the server has it before the journal does")
				}
				time.Sleep(10 * time.Millisecond)
			}
			letGo()
			if got := x.answer(1); strings.Contains(got, "E:") {
				t.Error(got)
			}
			if !strings.Contains(w.p.Log(), mark) && name != "prepared" { // the server logs what it runs
				t.Error("the server does not tell what it runs: the test shows nothing")
			}
			w.fail.Store(nil)

			failing := func(point string) error { return os.ErrPermission }
			w.fail.Store(&failing)
			b.Bytes = nil
			send(&b, "select 'lost"+mark+"'")
			x.send(b.Bytes)
			all, err := io.ReadAll(x.conn) // a journal that has failed ends the connection, whose own record cannot go on
			if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Error(err)
			}
			if !strings.Contains(string(all), "58000") {
				t.Errorf("the client is told %q", all)
			}
			if strings.Contains(w.p.Log(), "lost"+mark) {
				t.Error("a statement that is not on record has reached the server")
			}
		})
	}
}

// dialog is what drivers do, with a refusal in it, and its answer.
func dialog() []byte {
	var b wire.Builder
	query(&b, "select 1; select 2")
	run(&b, "select 3")
	run(&b, "select 1/0")
	run(&b, "select 4")
	sync1(&b)
	b.Begin(wire.Parse).Text("p").Text("select $1::text").Int16(0).End()
	b.Begin(wire.Describe).Byte('S').Text("p").End()
	b.Begin(wire.Bind).Text("c").Text("p").Int16(0).Int16(1).Value([]byte("five")).Int16(0).End()
	b.Begin(wire.Execute).Text("c").Int32(1).End()
	b.Begin(wire.Close).Byte('S').Text("p").End()
	b.Begin(wire.Flush).End()
	sync1(&b)
	query(&b, "copy t from stdin")
	b.Begin(wire.CopyData).Raw([]byte("6\n7")).End()
	b.Begin(wire.CopyData).Raw([]byte("\n")).End()
	b.Begin(wire.CopyDone).End()
	query(&b, "refused")
	query(&b, "truncate t")
	return b.Bytes
}

const dialogAnswer = "T D:1 C T D:2 C Z:I 1 2 D:3 C 1 E:22012 Z:I 1 t T 2 D:five s 3 Z:I G C Z:I E:42601 Z:I C Z:I"

// What a client sends is the same wherever its bytes are cut.
func TestDialogCutEverywhere(t *testing.T) {
	w := newWorld(t, nil, "create table t (id int)")
	x := w.connect(t)
	b := dialog()
	for at := range b {
		x.send(b[:at])
		x.send(b[at:])
		if got := x.answer(6); got != dialogAnswer {
			t.Fatalf("cut at %d of %d: %s", at, len(b), got)
		}
	}
}

// The failure of what came before arrives while the next message is still being read: what was queued in between is passed over, and
// the answers stay in step.
func TestFailureWhileReading(t *testing.T) {
	w := newWorld(t, nil)
	x := w.connect(t)
	for range 3 {
		var b wire.Builder
		run(&b, "select 1 / length(pg_sleep(0.05)::text)")
		run(&b, "select 2")
		b.Begin(wire.Parse).Text("").Text("select " + strings.Repeat("1,", 100_000) + "1" + strings.Repeat(" ", len(b.Bytes))).Int16(0).End() // takes long to read
		sync1(&b)
		query(&b, "select 3")
		x.send(b.Bytes)
		if got := x.answer(2); got != "1 2 E:22012 Z:I T D:3 C Z:I" {
			t.Error(got)
		}
	}
}

// What the grammar refuses is told as the server tells it, with the place, and says who tells it.
func TestSyntaxErrorsAreTheServersOwn(t *testing.T) {
	w := newWorld(t, nil)
	x := w.connect(t)
	said := func(sql string) map[byte]string {
		t.Helper()
		var b wire.Builder
		query(&b, sql)
		x.send(b.Bytes)
		m, err := x.in.Next()
		must(t, err)
		fields, err := wire.ReadReport(m.Body)
		must(t, err)
		x.answer(1)
		got := map[byte]string{}
		for _, f := range fields {
			got[f.Code] = f.Text
		}
		return got
	}
	got, direct := said("select 'é',\n  from from t"), w.p.Psql(t, w.db, "\\set VERBOSITY verbose\nselect 'é',\n  from from t;")
	if got['C'] != "42601" || got['M'] != `syntax error at or near "from"` || got['P'] != "15" || got['F'] != "gatebook" || !strings.Contains(direct, "42601: "+got['M']) || !strings.Contains(direct, "LINE 2:") {
		t.Errorf("%q, and directly %q", got, direct)
	}
	for _, sql := range []string{`select U&'\ '`, `select E'\u1'`, "drop operator === (int4)", "select 1 limit 1, 2", "create policy p on t as neither", "create publication p for t, table u"} {
		if got, direct := said(sql), w.p.Psql(t, w.db, sql+";"); got['H']+got['D'] == "" || !strings.Contains(direct, got['M']+"\n") || !strings.Contains(direct, "HINT:  "+got['H']+"\n") && !strings.Contains(direct, "DETAIL:  "+got['D']+"\n") {
			t.Errorf("%s: %q, and directly %q", sql, got, direct)
		}
	}
}

// FuzzClient sends anything after the login: the connection ends or answers, and nothing fails within.
func FuzzClient(f *testing.F) {
	f.Add(dialog())
	f.Add([]byte("Q\x00\x00\x00\x0dselect 1\x00"))
	f.Add([]byte("B\x00\x00\x00\x0c\x00\x00\x00\x00\xff\xff\x00\x01"))
	f.Add([]byte("S\x00\x00\x00\x04d\x00\x00\x00\x05ac\x00\x00\x00\x04H\x00\x00\x00\x04"))
	var b wire.Builder
	call(&b, 958, 0)
	call(&b, 1262)
	f.Add(b.Bytes)
	w := newWorld(f, func(o *Options) { o.Limits.MessageBytes = 1 << 20 }, "create table t (id int)")
	w.decide = func(op *access.Operation) access.Decision { // the fuzzer may find SQL that waits
		if op.Verb == "connect" || op.Verb == "lookup" || op.SQL != nil && op.SQL.Effect == "read" && !strings.Contains(op.SQL.Text, "sleep") {
			return access.Decision{Effect: access.Allow}
		}
		return access.Decision{Effect: access.Deny}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		x := w.connect(t)
		if _, err := x.conn.Write(append(b, "S\x00\x00\x00\x04X\x00\x00\x00\x04"...)); err == nil {
			_ = x.conn.(*tls.Conn).CloseWrite()
			_, _ = io.Copy(io.Discard, x.conn)
		}
		x.conn.Close()
		if strings.Contains(w.log.String(), "panic=") {
			t.Fatal(w.log.String())
		}
	})
}

// A credential that nobody knew is recorded as a placeholder in texts, parameters and COPY, whatever the policy masks in
// answers; the database gets it as it is.
func TestCredentialsInStatementsAreNotRecorded(t *testing.T) {
	w := newWorld(t, nil, "create table kept (v text)")
	w.decide = func(*access.Operation) access.Decision { return access.Decision{Effect: access.Allow} }
	key := "gh" + "p_" + strings.Repeat("Aa9xQz", 6)
	x := w.connect(t)
	var b wire.Builder
	query(&b, "insert into kept values ('"+key+"')")
	b.Begin(wire.Parse).Text("").Text("insert into kept values ($1)").Int16(0).End()
	b.Begin(wire.Bind).Text("").Text("").Int16(0).Int16(1).Value([]byte(key)).Int16(0).End()
	b.Begin(wire.Execute).Text("").Int32(0).End()
	sync1(&b)
	query(&b, "copy kept from stdin")
	b.Begin(wire.CopyData).Raw([]byte(key[:9])).End()
	b.Begin(wire.CopyData).Raw([]byte(key[9:] + "\n")).End()
	b.Begin(wire.CopyDone).End()
	query(&b, "select count(*) from kept where v like 'gh%'")
	x.send(b.Bytes)
	if got := x.answer(4); !strings.HasSuffix(got, "T D:3 C Z:I") {
		t.Fatalf("answered %s", got)
	}
	x.conn.Close()
	recorded := []byte(w.recorded(t))
	if i := bytes.Index(recorded, []byte(key)); i >= 0 {
		t.Errorf("the record has %q", recorded[max(0, i-200):min(len(recorded), i+100)])
	}
	if n := bytes.Count(recorded, []byte(access.PlaceholderPrefix)); n < 3 {
		t.Errorf("%d placeholders are in the record", n)
	}
}

// An answer that is cut off by a revocation is recorded as cut, for that reason, and its client is told it: however the server's end of the
// connection goes meanwhile, it is never a whole answer, nor the database's fault.
func TestCutAnswerIsRecordedAsCut(t *testing.T) {
	w := newWorld(t, nil)
	const times = 8
	for i := range times {
		x := w.connect(t)
		revoke := *w.revoke.Load()
		var b wire.Builder
		query(&b, "select repeat('x', 20000), pg_sleep(case when i > 4 then 60 else 0 end) from generate_series(1, 9) i")
		x.send(b.Bytes)
		for {
			m, err := x.in.Next()
			must(t, err)
			if m.Type == wire.DataRow {
				break
			}
		}
		reason := "revoked " + strings.Repeat("i", i+1) + "."
		revoke(access.Refuse(access.CodeRevoked, nil, "%s", reason))
		told := ""
		for {
			m, err := x.in.Next()
			if err != nil {
				break
			}
			if m.Type == wire.CommandComplete || m.Type == wire.ReadyForQuery {
				t.Errorf("the answer has come to its end by %q", m.Type)
			}
			if m.Type == wire.ErrorResponse {
				told += string(m.Body)
			}
		}
		if !strings.Contains(told, "57P01") || !strings.Contains(told, strings.TrimSuffix(reason, ".")) || strings.Contains(told, "08006") {
			t.Errorf("the client is told %q", told)
		}
		x.conn.Close()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) { // the ends of the statement and of the connection, and their leaves
			if n := strings.Count(w.recorded(t), `"truncated":"`+reason+`"`); n == 4 {
				break
			} else if time.Now().After(deadline) {
				t.Fatalf("it is said %d times that something was cut because of %q", n, reason)
			}
		}
	}
	if n := strings.Count(w.recorded(t), `"truncated":"`); n != 4*times {
		t.Errorf("it is said %d times that something was cut, want %d", n, 4*times)
	}
}

// recorded is all that the journal has.
func (w *world) recorded(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob(w.journal + "/*")
	must(t, err)
	var all strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(f)
		must(t, err)
		all.Write(b)
	}
	return all.String()
}
