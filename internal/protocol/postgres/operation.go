package postgres

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/gate"
	"gatebook/internal/mask"
	"gatebook/internal/protocol/postgres/grammar"
)

// operation is a permitted one, and what became of it so far. The goroutine that reads the server has it once it is awaited.
type operation struct {
	p         gate.Permit
	statement *grammar.Statement
	hide      hiding
	out       access.Outcome
	began     time.Time
	ended     bool
	// over: nothing more comes of it, and why, where that is not that it came to its own end.
	over   bool
	why    string
	change bool
	input  *copyInput
	output *copyOutput
	// settled is for what hangs on how it goes: the role, and other settings.
	settled func(ok, alone bool)
}

func (s *session) newOperationOf(p gate.Permit, st *grammar.Statement) *operation {
	return &operation{p: p, statement: st, began: s.h.o.Now(), change: isChange(st.Effect), out: access.Outcome{ExitCode: -1}}
}

// end ends its record, once. why: it did not come to its own end.
func (o *operation) end(s *session, why string) {
	if o.ended {
		return
	}
	o.ended = true
	o.settle(s, why)
	if err := o.p.End(o.out); err != nil {
		s.h.o.Log.Error("ending the record of an operation", "operation", o.p.Operation().ID, "error", err)
	}
}

func (o *operation) settle(s *session, why string) {
	o.out.Duration = s.h.o.Now().Sub(o.began)
	if o.out.Truncated == "" && o.out.Code == 0 {
		o.out.Truncated = why
	}
}

// endWith records the last of its answer, and its end. When that fails it has not ended.
func (o *operation) endWith(s *session, b []byte) error {
	o.settle(s, o.why)
	if err := o.p.EndWith(stream, toClient, b, o.out); err != nil {
		return err
	}
	o.ended = true
	return nil
}

// newOperation makes an operation of this connection. st is nil for one that is no statement.
func (s *session) newOperation(verb string, st *grammar.Statement) *access.Operation {
	now := s.h.o.Now()
	target := s.t.Target
	target.Protocol = "postgres"
	op := &access.Operation{ID: access.OperationID(access.NewID(now)), Session: s.by.Session, Time: now, Principal: s.by.Principal, Target: target,
		Client: access.Client{Address: s.by.Address, UserAgent: s.application, Trace: s.by.Trace}, Verb: verb}
	s.mu.Lock()
	op.SQL = &access.SQL{Database: s.database, Role: s.role, Application: s.application}
	unsure := s.unsure
	s.mu.Unlock()
	if unsure {
		op.Uninspectable = append(op.Uninspectable, access.Uninspectable{Field: "sql.role", Why: "it was changed within a transaction"})
	}
	if st != nil {
		q := op.SQL
		q.Kinds, q.Effect, q.NoWhere = st.Kinds, st.Effect, st.NoWhere
		q.Tables, q.Writes, q.Columns = st.Tables, st.Writes, st.Columns
		q.Functions, q.Volatile = st.Functions, st.Volatile
	}
	return op
}

// tell gives the operation its text, in which what is known to be secret, or has the form of a credential, is replaced: a field in which that was so is unknown to
// policy, so that nobody escapes a rule by having the word masked that it looks for.
func (s *session) tell(op *access.Operation, text string, params ...string) {
	q := op.SQL
	q.Text, q.Parameters = text, params
	d := s.h.digester()
	d.room = appendTexts(d.room[:0], q)
	clean := s.sent.Clean(d.room)
	s.h.digesters.Put(d)
	if clean {
		op.Client.UserAgent, op.Command = q.Application, command(q)
		return
	}
	unknown := func(field string) {
		op.Uninspectable = append(op.Uninspectable, access.Uninspectable{Field: field, Why: "something in it is known to be secret, or has the form of a credential"})
	}
	one := func(field string, v *string) {
		if c := s.conceal(*v); c != *v {
			*v = c
			unknown(field)
		}
	}
	list := func(field string, v *[]string) {
		if joined := strings.Join(*v, "\x00"); s.conceal(joined) != joined {
			own := slices.Clone(*v)
			for i := range own {
				own[i] = s.conceal(own[i])
			}
			*v = own
			unknown(field)
		}
	}
	one("sql.text", &q.Text)
	list("sql.parameters", &q.Parameters)
	one("sql.database", &q.Database)
	one("sql.application", &q.Application)
	list("sql.tables", &q.Tables)
	list("sql.writes", &q.Writes)
	list("sql.columns", &q.Columns)
	list("sql.functions", &q.Functions)
	list("sql.volatile", &q.Volatile)
	op.Client.UserAgent = q.Application
	op.Command = command(q)
	if q.Text != text || !slices.Equal(q.Parameters, params) {
		unknown("operation.command")
	}
}

// appendTexts writes all that is told of a statement, one behind the other.
func appendTexts(b []byte, q *access.SQL) []byte {
	for _, t := range [...]string{q.Text, q.Database, q.Application} {
		b = append(append(b, t...), 0)
	}
	for _, list := range [...][]string{q.Parameters, q.Tables, q.Writes, q.Columns, q.Functions, q.Volatile} {
		for _, t := range list {
			b = append(append(b, t...), 0)
		}
	}
	return b
}

// command is what a person would type in psql: the text, and what is bound to it.
func command(q *access.SQL) string {
	if len(q.Parameters) == 0 {
		return q.Text
	}
	var out strings.Builder
	out.WriteString(q.Text)
	for i, v := range q.Parameters {
		out.WriteString("\n-- $" + strconv.Itoa(i+1) + " = ")
		if v == null {
			out.WriteString("NULL")
		} else {
			out.WriteString("'" + strings.ReplaceAll(v, "'", "''") + "'")
		}
	}
	return out.String()
}

// null stands for NULL among parameters (access.SQL).
const null = `\N`

// conceal replaces what is known to be secret, or has the form of a credential, in what is recorded and shown.
func (s *session) conceal(text string) string {
	out, n := s.concealBytes([]byte(text))
	if n == 0 {
		return text
	}
	return string(out)
}

func (s *session) concealBytes(b []byte) ([]byte, int64) { return concealed(s.sent, b) }

func concealed(scope *mask.Scope, b []byte) ([]byte, int64) {
	if scope.Clean(b) {
		return b, 0
	}
	var out bytes.Buffer
	w := scope.Text(&out)
	_, err := w.Write(b)
	if cerr := w.Close(); err != nil || cerr != nil { // a buffer takes everything
		return nil, 1
	}
	return out.Bytes(), w.Masked()
}

// digester makes digests, of what is put together in its room.
type digester struct {
	hash hash.Hash
	room []byte
}

// maxRoom is the largest room that is kept.
const maxRoom = 64 << 10

// digester gives one; it goes back to digesters.
func (h *Handler) digester() *digester {
	d, ok := h.digesters.Get().(*digester)
	switch {
	case ok && cap(d.room) <= maxRoom:
		return d
	case len(h.o.DigestKey) > 0:
		return &digester{hash: hmac.New(sha256.New, h.o.DigestKey)}
	}
	return &digester{hash: sha256.New()}
}

// digest binds an approval to what is sent, on this database, as this role and with these settings.
func (s *session) digest(parts ...string) (sum access.Digest) {
	d := s.h.digester()
	defer s.h.digesters.Put(d)
	s.mu.Lock()
	role := s.role
	if s.unsure {
		role += "?"
	}
	b := d.room[:0]
	for _, p := range [...]string{"gatebook postgres operation 3", s.database, role} {
		b = append(binary.BigEndian.AppendUint64(b, uint64(len(p))), p...)
	}
	at := len(b)
	b = s.settings.appendTo(binary.BigEndian.AppendUint64(b, 0), s.key, s.gen)
	binary.BigEndian.PutUint64(b[at:], uint64(len(b)-at-8))
	s.mu.Unlock()
	for _, p := range parts {
		b = append(binary.BigEndian.AppendUint64(b, uint64(len(p))), p...)
	}
	d.hash.Reset()
	d.hash.Write(b)
	d.room = d.hash.Sum(b[:0])
	copy(sum[:], d.room)
	return sum
}

// isChange reports whether an effect is more than reading.
func isChange(effect string) bool { return effect != grammar.Read && effect != grammar.Session }
