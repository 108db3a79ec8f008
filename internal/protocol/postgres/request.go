package postgres

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"gatebook/internal/access"
	"gatebook/internal/gate"
	"gatebook/internal/protocol/postgres/grammar"
	wire "gatebook/internal/wire/postgres"
)

// message takes one message of the client. An error ends the connection.
func (s *session) message(m wire.Message) error {
	switch m.Type {
	case wire.CopyData, wire.CopyDone, wire.CopyFail:
		return s.copyIn(m)
	case wire.Sync:
		return s.sync(m)
	}
	if s.skipping {
		return nil
	}
	if !s.open && m.Type != wire.Flush {
		s.settleNames()
	}
	if s.parsing != nil && m.Type != wire.Bind {
		if err := s.prepare(); err != nil || s.skipping {
			return err
		}
	}
	switch m.Type {
	case wire.Query:
		return s.query(m)
	case wire.Parse:
		return s.parseMessage(m)
	case wire.Bind:
		return s.bind(m)
	case wire.Describe:
		return s.describe(m)
	case wire.Execute:
		return s.execute(m)
	case wire.Close:
		return s.closeName(m)
	case wire.Flush:
		if err := s.forward(s.carrier(), m.Raw, nil); err != nil {
			return err
		}
		return s.flush()
	case wire.FunctionCall:
		return s.functionCall(m)
	}
	return access.Refuse(access.CodeMalformed, nil, "a message of type %q is not known", m.Type)
}

// sync ends a pipeline.
func (s *session) sync(m wire.Message) error {
	if s.parsing != nil && !s.skipping {
		if err := s.prepare(); err != nil {
			return err
		}
	}
	local := s.skipping && !s.open
	s.skipping, s.open, s.parsing = false, false, nil
	if local { // the server has seen nothing of it
		s.mu.Lock()
		status := s.status
		s.gen++
		s.mu.Unlock()
		var b wire.Builder
		b.Ready(status)
		return s.answer(b.Bytes)
	}
	err := s.forward(s.carrier(), m.Raw, &entry{kind: wire.Sync})
	s.mu.Lock()
	s.gen++
	s.mu.Unlock()
	return err
}

// query is the simple protocol: a text of any number of statements, each of which is an operation, and all of which are
// permitted before the first byte goes.
func (s *session) query(m wire.Message) error {
	text, err := wire.ReadText(m.Body)
	if err != nil {
		return s.clientError(err)
	}
	statements, why := s.read(text)
	if why != nil {
		return s.refuseUndecided("execute", text, why, true)
	}
	if err := s.flush(); err != nil {
		return err
	}
	m.Raw = append([]byte(nil), m.Raw...) // reading goes on while a statement is held
	e := &entry{kind: wire.Query}
	for i, st := range statements {
		o, why := s.admit(request{verb: "execute", statement: st, whole: text, index: i, of: len(statements)})
		if why != nil {
			for _, o := range e.ops {
				o.end(s, "it did not run: statement "+strconv.Itoa(i+1)+" of the same message was refused")
			}
			return s.refuse(why, true)
		}
		e.ops = append(e.ops, o)
	}
	if err := s.forward(e.ops[0].p, m.Raw, e); err != nil {
		return err
	}
	s.pipelineEnds()
	return nil
}

// pipelineEnds is behind a message that ends with ReadyForQuery by itself.
func (s *session) pipelineEnds() {
	s.open = false
	s.mu.Lock()
	s.gen++
	s.mu.Unlock()
}

// read gives the statements of a text, or says why it cannot be read with certainty.
func (s *session) read(text string) ([]*grammar.Statement, *access.Refusal) {
	if len(text) > s.h.o.Limits.StatementBytes {
		return nil, access.Refuse(access.CodeTooLarge, nil, "the statement has %d bytes; limits.sqlStatementBytes are %d", len(text), s.h.o.Limits.StatementBytes)
	}
	if !utf8.ValidString(text) {
		return nil, access.Refuse(access.CodeMalformed, nil, "the statement is not UTF-8")
	}
	out, err := s.h.grammar.Read(text)
	if err != nil {
		var said *grammar.SyntaxError
		if errors.As(err, &said) {
			err = &grammar.SyntaxError{Message: s.conceal(said.Message), Position: said.Position, Detail: said.Detail, Hint: said.Hint}
		}
		return nil, access.Refuse(access.CodeMalformed, err, "the statement cannot be read: %s", s.conceal(err.Error()))
	}
	return out, nil
}

// request is a statement to be admitted.
type request struct {
	verb      string
	statement *grammar.Statement
	// whole is the message's text, of which the statement is number index of as many.
	whole     string
	index, of int
	params    []string
	// exact are the parameters' formats and bytes, for the digest.
	exact string
	// raw is the whole Bind: a placeholder may stand in a value that is not decoded.
	raw []byte
	// unread says that a parameter is shown as bytes since its type is not known.
	unread bool
	types  []uint32
	// binding is the whole Bind; nil in the simple protocol.
	binding *wire.Binding
	// behind are the statements that a name in it may stand for.
	behind []string
}

// admit has a statement decided and recorded.
func (s *session) admit(r request) (*operation, *access.Refusal) {
	st, fresh := s.resolve(r.statement)
	op := s.newOperation(r.verb, st)
	op.Uninspectable = append(op.Uninspectable, fresh...)
	if r.unread {
		op.Uninspectable = append(op.Uninspectable, access.Uninspectable{Field: "sql.parameters", Why: "a binary value is of a type that is not decoded"})
	}
	s.tell(op, strings.TrimSpace(r.statement.Text), r.params...)
	parts := []string{r.verb, r.whole, strconv.Itoa(r.index), r.exact, typesText(r.types)}
	if r.statement.Is("execute") { // what the name stands for is what is approved
		list, _ := s.names.behind(r.statement, 0)
		for _, t := range list {
			parts, r.behind = append(parts, t.Text), append(r.behind, strings.TrimSpace(t.Text))
		}
	}
	op.Digest = s.digest(append(parts, reach(st)...)...)
	reject := func(why *access.Refusal) (*operation, *access.Refusal) {
		s.h.o.Gate.Reject(op, why)
		return nil, why
	}
	if st.Refuse != "" {
		return reject(access.Refuse(access.CodeDenied, nil, "%s", st.Refuse))
	}
	if (st.Is("prepare") || st.Is("declare")) && s.names.count() >= s.h.o.Limits.Names {
		return reject(access.Refuse(access.CodeTooLarge, nil, "there are more prepared statements and cursors than limits.sqlNames (%d)", s.h.o.Limits.Names))
	}
	if s.hasPlaceholder(r.statement.Text, r.params) || s.scope.HasPlaceholder(r.raw) {
		why := access.Refuse(access.CodePlaceholder, nil, "the statement holds a masked value, which stands for nothing in the database")
		why.Advice = "Write the statement so that the database itself uses the value, such as by a subquery or by the row's key."
		return reject(why)
	}
	payload := op.Command
	card := func() access.Card {
		c := s.card(op, r)
		if s.t.Estimate {
			c.Object += s.estimate(op, st, r)
		}
		return c
	}
	p, waited, err := s.held(gate.Request{Operation: op, Payload: strings.NewReader(payload), Change: isChange(st.Effect), Budget: s.h.o.Hold}, card)
	if err != nil {
		return nil, asRefusal(err, access.CodeInternal)
	}
	o := s.newOperationOf(p, st)
	why := s.hides(o)
	if waited && why == nil {
		why = s.changed(r.statement, st)
	}
	if why != nil {
		o.out.Message = why.Message
		o.end(s, why.Message)
		why.Operation = op.ID
		return nil, why
	}
	if st.Is("create database") { // which fails where anybody else is in its template
		s.aside.drop()
	}
	s.follow(o)
	return o, nil
}

// reach is what an approval is bound to beside the text: the same names can come to stand for something else. No name has a zero byte.
func reach(st *grammar.Statement) []string {
	return []string{st.Effect, strings.Join(st.Tables, "\x00"), strings.Join(st.Writes, "\x00"), strings.Join(st.Volatile, "\x00")}
}

// changed refuses what has come to do something else while a person was asked.
func (s *session) changed(asked, st *grammar.Statement) *access.Refusal {
	now, _ := s.resolve(asked)
	if slices.Equal(reach(now), reach(st)) {
		return nil
	}
	why := access.Refuse(access.CodeApprovalPending, nil, "what the statement reaches has changed while it waited, and so it is not what was approved")
	why.Advice = "Send the statement again: it is asked about anew."
	return why
}

// card shows all of a message to who approves, where the statement is one of several in it.
func (s *session) card(op *access.Operation, r request) access.Card {
	c := access.Card{Object: op.Command, Uninspectable: op.Uninspectable}
	if r.of > 1 {
		c.Object = "-- statement " + strconv.Itoa(r.index+1) + " of " + strconv.Itoa(r.of) + ", which run together:\n" + s.conceal(r.whole)
	}
	s.mu.Lock()
	c.Object += s.conceal(s.settings.card())
	s.mu.Unlock()
	for _, t := range r.behind {
		c.Object += "\n-- what it executes:\n" + s.conceal(t)
	}
	return c
}

func typesText(types []uint32) string {
	var out []string
	for _, t := range types {
		out = append(out, strconv.FormatUint(uint64(t), 10))
	}
	return strings.Join(out, ",")
}

// refuseUndecided refuses what could not be decided, on record.
func (s *session) refuseUndecided(verb, text string, why *access.Refusal, simple bool) error {
	op := s.newOperation(verb, nil)
	if len(text) > s.h.o.Limits.StatementBytes {
		text = "" // it was too long to be looked at
	}
	s.tell(op, strings.ToValidUTF8(text, "\uFFFD"))
	op.Digest = s.digest(verb, text)
	s.h.o.Gate.Reject(op, why)
	return s.refuse(why, simple)
}

// marker is a portal that nobody has: executing it fails, as the refused message would have.
const marker = "refused by gatebook"

// refuse answers in the place of a message that is not forwarded; after it nothing runs until the next Sync. Where a transaction is open, or
// something of the same pipeline is at the server, it is made to fail there as well: else what was before would be kept as if all had gone well.
func (s *session) refuse(why *access.Refusal, simple bool) error {
	var b wire.Builder
	b.Report(wire.ErrorResponse, refusalFields("ERROR", why))
	s.parsing = nil
	status := byte('I')
	if !s.open {
		s.settle()
		s.mu.Lock()
		status = s.status
		s.mu.Unlock()
	}
	if !s.open && status == 'I' {
		if simple {
			b.Ready('I')
		}
		s.skipping = !simple
		return s.answer(b.Bytes)
	}
	var mark wire.Builder
	mark.Begin(wire.Execute).Text(marker).Int32(0).End()
	if err := s.forward(s.link, mark.Bytes, &entry{kind: wire.Execute, refusal: b.Bytes}); err != nil {
		return err
	}
	if !simple {
		s.open, s.skipping = true, true
		return s.flush()
	}
	var sync wire.Builder
	sync.Begin(wire.Sync).End()
	s.skipping = false
	return s.sync(wire.Message{Type: wire.Sync, Raw: sync.Bytes})
}
