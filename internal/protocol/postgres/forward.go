package postgres

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"gatebook/internal/access"
	"gatebook/internal/gate"
	"gatebook/internal/mask"
	wire "gatebook/internal/wire/postgres"
)

// relay is the way back: it reads the server's messages, knows what each answers, masks, records and delivers them. It works in
// chunks: what one read has brought is written to the client at once.
type relay struct {
	s *session
	// run are messages that belong to one operation, not yet masked by known values nor recorded.
	run   []byte
	runOf *operation
	out   []byte
	// ends come after what they end is delivered.
	ends []func()
	busy bool // as the session's
	// roles are changes of the role that have come to their end, to be settled once the transaction's state is known.
	roles []func(idle bool)
}

// chunkBytes is what is delivered at once, at most and but for one message.
const chunkBytes = 64 << 10

func (s *session) serveUpstream() error {
	r := &relay{s: s}
	for {
		m, ok, err := s.from.Buffered()
		if ok && len(r.run)+len(r.out) > chunkBytes || !ok {
			if derr := r.deliver(); derr != nil {
				return derr
			}
		}
		if !ok && err == nil {
			m, err = s.from.Next()
		}
		if err != nil {
			return r.lost(err)
		}
		r.begin()
		if err := r.message(m); err != nil {
			return errors.Join(err, r.deliver())
		}
	}
}

func (r *relay) lost(err error) error {
	switch {
	case errors.Is(err, wire.ErrLarge):
		return access.Refuse(access.CodeTooLarge, err, "the database's answer holds a message longer than limits.messageBytes (%d)", r.s.h.o.Limits.MessageBytes)
	case errors.Is(err, wire.ErrLength):
		return access.Refuse(access.CodeUpstream, err, "the database's answer cannot be read")
	}
	return access.Refuse(access.CodeUpstream, err, "the connection to target %q ended", r.s.t.Target.Name)
}

// deliver records what there is, and writes it to the client; then operations end whose answer it completes.
func (r *relay) deliver() error {
	if err := r.endRun(); err != nil {
		return err
	}
	if len(r.out) > 0 {
		if err := r.s.send(r.out); err != nil {
			return err
		}
		r.s.delivered += int64(len(r.out))
		if r.out = r.out[:0]; cap(r.out) > 4*chunkBytes {
			r.out = nil
		}
	}
	for _, end := range r.ends {
		end()
	}
	r.ends = r.ends[:0]
	return r.rest()
}

// begin says that something has come: until it is delivered the gateway does not answer by itself, which would overtake it.
func (r *relay) begin() {
	if !r.busy {
		r.busy = true
		r.s.mu.Lock()
		r.s.busy = true
		r.s.mu.Unlock()
	}
}

// rest says that everything is delivered, and gives the gateway's own answers whose turn has come.
func (r *relay) rest() error {
	s := r.s
	s.mu.Lock()
	local := len(s.awaited) > 0 && s.awaited[0].local != nil
	if r.busy = local; !local {
		s.busy = false
	}
	s.mu.Unlock()
	if !local {
		s.cond.Broadcast()
		return nil
	}
	if _, err := r.head(); err != nil {
		return err
	}
	return r.deliver()
}

// add puts a message into the answer, as part of o; nil: of the connection.
func (r *relay) add(o *operation, raw []byte) error {
	if o != r.runOf && len(r.run) > 0 {
		if err := r.endRun(); err != nil {
			return err
		}
	}
	r.runOf, r.run = o, append(r.run, raw...)
	return nil
}

// endRun masks and records what belongs together.
func (r *relay) endRun() error {
	if len(r.run) == 0 {
		return nil
	}
	o := r.runOf
	p, b := r.s.link, r.run
	if o != nil && !o.ended {
		p = o.p
	}
	if o == nil || o.hide.known {
		var n int64
		var err error
		if b, n, err = r.s.concealMessages(b, o); err != nil {
			return err
		}
		if o != nil {
			o.out.Masked += n
		}
	}
	if err := p.Record(stream, toClient, b); err != nil {
		return err
	}
	if o != nil {
		o.out.ResponseBytes += int64(len(b))
	}
	r.out = append(r.out, b...)
	r.run = r.run[:0]
	return nil
}

// head is what is answered now. Answers of the gateway's own that have come to their turn are given on the way.
func (r *relay) head() (*entry, error) {
	for {
		s := r.s
		s.mu.Lock()
		var e *entry
		if len(s.awaited) > 0 {
			e = s.awaited[0]
		}
		if e == nil || e.local == nil {
			s.mu.Unlock()
			return e, nil
		}
		s.awaited = s.awaited[1:]
		s.mu.Unlock()
		if err := r.add(nil, e.local); err != nil {
			return nil, err
		}
	}
}

// pop ends the head's turn.
func (r *relay) pop(e *entry) error {
	s := r.s
	s.mu.Lock()
	if e.change != nil && !e.failed {
		e.change.confirmed = true
	}
	s.awaited = s.awaited[1:]
	s.mu.Unlock()
	_, err := r.head()
	s.cond.Broadcast()
	return err
}

// message takes one message of the server.
func (r *relay) message(m wire.Message) error {
	switch m.Type {
	case wire.NoticeResponse, wire.NotificationResponse:
		e, err := r.head()
		if err != nil {
			return err
		}
		if o := e.op(); o != nil && o.hide.touches && m.Type == wire.NoticeResponse {
			return r.report(o, m)
		}
		return r.add(nil, m.Raw) // with what is known masked, whatever the statement's masks are
	case wire.ParameterStatus:
		return r.parameter(m)
	}
	e, err := r.head()
	if err != nil {
		return err
	}
	if e == nil {
		if m.Type == wire.ErrorResponse { // the server shuts down, or has cut us off
			return r.add(nil, m.Raw)
		}
		return unexpected(m)
	}
	if m.Type == wire.ErrorResponse {
		return r.failure(e, m)
	}
	if m.Type == wire.ReadyForQuery {
		return r.ready(m)
	}
	switch e.kind {
	case wire.Query, wire.Execute:
		return r.result(e, m)
	case wire.Parse:
		return r.simple(e, m, wire.ParseComplete)
	case wire.Bind:
		return r.simple(e, m, wire.BindComplete)
	case wire.Close:
		return r.simple(e, m, wire.CloseComplete)
	case wire.Describe:
		return r.description(e, m)
	}
	return unexpected(m)
}

func unexpected(m wire.Message) error {
	return access.Refuse(access.CodeUpstream, nil, "the database sent a message of type %q that answers nothing", m.Type)
}

// parameter passes on a change of a parameter, but for one after which text would be read in another way.
func (r *relay) parameter(m wire.Message) error {
	name, v, err := wire.ReadPair(m.Body)
	if err == nil {
		err = r.s.readable(map[string]string{name: v})
	}
	if err != nil {
		return asRefusal(err, access.CodeUpstream)
	}
	return r.add(nil, m.Raw)
}

// simple is a message that is answered by one of a known type.
func (r *relay) simple(e *entry, m wire.Message, want byte) error {
	if m.Type != want {
		return unexpected(m)
	}
	if err := r.add(e.op(), m.Raw); err != nil {
		return err
	}
	for _, o := range e.ops {
		r.ended(o, "")
	}
	s := r.s
	if o := e.closes; o != nil {
		r.ended(o, "its portal was closed before its end")
	}
	if e.binds != nil {
		s.mu.Lock()
		s.bound = append(s.bound, e.binds)
		s.mu.Unlock()
	}
	return r.pop(e)
}

// ended ends an operation once what it gave is delivered.
func (r *relay) ended(o *operation, why string) {
	r.ends = append(r.ends, func() { o.end(r.s, why) })
}

// description is what Describe answers: parameters first where it was for a statement.
func (r *relay) description(e *entry, m wire.Message) error {
	switch m.Type {
	case wire.ParameterDescription:
		types, err := wire.ReadParameterTypes(m.Body)
		if err != nil {
			return r.lost(wire.ErrLength)
		}
		if e.prepared != nil {
			r.s.mu.Lock()
			e.prepared.described = types
			r.s.mu.Unlock()
		}
		return r.add(nil, m.Raw)
	case wire.RowDescription, wire.NoData:
		if o := e.op(); o != nil && m.Type == wire.RowDescription {
			if err := o.hide.describe(m.Body); err != nil {
				return err
			}
		}
		if !e.silent {
			if err := r.add(nil, m.Raw); err != nil {
				return err
			}
		}
		return r.pop(e)
	}
	return unexpected(m)
}

// result is what running a statement gives.
func (r *relay) result(e *entry, m wire.Message) error {
	o := e.op()
	if o == nil {
		return unexpected(m)
	}
	switch m.Type {
	case wire.RowDescription:
		if err := o.hide.describe(m.Body); err != nil {
			return err
		}
		return r.add(o, m.Raw)
	case wire.DataRow:
		return r.row(o, m)
	case wire.CopyInResponse:
		r.s.mu.Lock()
		r.s.copying, r.s.copied = o, false
		// What the client sent behind it before it knew, the server passes over.
		rest := r.s.awaited[:1]
		for _, a := range r.s.awaited[1:] {
			if a.kind != wire.Sync {
				rest = append(rest, a)
			}
		}
		r.s.awaited = rest
		r.s.mu.Unlock()
		if err := r.add(o, m.Raw); err != nil {
			return err
		}
		r.s.cond.Broadcast()
		return r.deliver()
	case wire.CopyOutResponse:
		binary, _, err := wire.ReadCopy(m.Body)
		if err != nil {
			return r.lost(wire.ErrLength)
		}
		o.output = &copyOutput{binary: binary}
		o.output.masked = r.s.scope.Text(&o.output.ready)
		return r.add(o, m.Raw)
	case wire.CopyData, wire.CopyDone:
		return r.copyOut(o, m)
	case wire.PortalSuspended:
		if err := r.add(o, m.Raw); err != nil {
			return err
		}
		return r.pop(e)
	case wire.CommandComplete, wire.EmptyQueryResponse:
		return r.complete(e, o, m)
	}
	return unexpected(m)
}

// complete ends a statement that went well.
func (r *relay) complete(e *entry, o *operation, m wire.Message) error {
	if err := r.add(o, m.Raw); err != nil {
		return err
	}
	if tag, err := wire.ReadText(m.Body); err == nil && m.Type == wire.CommandComplete {
		if i := strings.LastIndexByte(tag, ' '); i >= 0 {
			if n, err := strconv.ParseInt(tag[i+1:], 10, 64); err == nil {
				o.out.Rows = n
			}
		}
	}
	r.settleRole(e, o, true)
	r.s.endCopy(o)
	r.ended(o, "")
	if e.kind == wire.Query {
		e.at++
		return nil
	}
	return r.pop(e)
}

func (r *relay) settleRole(e *entry, o *operation, ok bool) {
	if o.changesRole == nil {
		return
	}
	change, alone := o.changesRole, e.kind == wire.Query && len(e.ops) == 1
	o.changesRole = nil
	r.roles = append(r.roles, func(idle bool) { change(ok, alone && idle) })
}

func (s *session) endCopy(o *operation) {
	s.mu.Lock()
	if s.copying == o {
		s.copying, s.copied = nil, false
	}
	s.mu.Unlock()
	s.cond.Broadcast()
}

// failure is an ErrorResponse: the statement's end, and in the extended protocol that of all up to the next Sync.
func (r *relay) failure(e *entry, m wire.Message) error {
	s, o := r.s, e.op()
	e.failed = true
	if e.refusal != nil {
		if err := r.add(nil, e.refusal); err != nil {
			return err
		}
	} else if err := r.report(o, m); err != nil {
		return err
	}
	if o != nil {
		o.out.Code = 1
		if o.out.Message == "" {
			o.out.Message = r.s.conceal(messageOf(m, o))
		}
		r.settleRole(e, o, false)
		s.endCopy(o)
		r.ended(o, "")
	}
	if e.binds != nil {
		e.binds.out.Code, e.binds.out.Message = 1, s.conceal(messageOf(m, e.binds))
		r.ended(e.binds, "")
	}
	for i := e.at + 1; i < len(e.ops); i++ {
		r.ended(e.ops[i], "it did not run: a statement before it in the same message failed")
	}
	if e.kind == wire.Query {
		e.at = len(e.ops)
		return nil
	}
	s.mu.Lock()
	s.failedGen = e.gen
	s.awaited = s.awaited[1:]
	var over []*entry
	for len(s.awaited) > 0 && s.awaited[0].kind != wire.Sync && s.awaited[0].local == nil {
		over = append(over, s.awaited[0])
		s.awaited = s.awaited[1:]
	}
	s.mu.Unlock()
	for _, x := range over {
		r.ends = append(r.ends, func() { s.skip(x) })
	}
	s.cond.Broadcast()
	return nil
}

// messageOf is an error's text for the outcome.
func messageOf(m wire.Message, o *operation) string {
	if o != nil && o.hide.touches {
		return withheld
	}
	fields, err := wire.ReadReport(m.Body)
	if err != nil {
		return ""
	}
	text := ""
	for _, f := range fields {
		switch f.Code {
		case 'C':
			text = f.Text + ": " + text
		case 'M':
			text += f.Text
		}
	}
	return text
}

// withheld stands for what the database says about a statement that reaches what is masked: it may repeat it.
const withheld = "the database's message is withheld: it may repeat values that are masked"

// report passes on an error or notice. Where the statement reaches what a mask of the policy's hides, only its kind is
// told: messages repeat values ("invalid input syntax for type integer: …", "Key (email)=(…) already exists").
func (r *relay) report(o *operation, m wire.Message) error {
	if o == nil || !o.hide.touches {
		return r.add(o, m.Raw)
	}
	fields, err := wire.ReadReport(m.Body)
	if err != nil {
		return r.lost(wire.ErrLength)
	}
	var told []wire.Report
	for _, f := range fields {
		switch f.Code {
		case 'M':
			told = append(told, wire.Report{Code: 'M', Text: withheld})
		case 'S', 'V', 'C', 'P', 's', 't', 'c', 'n', 'd':
			told = append(told, f)
		}
	}
	var b wire.Builder
	b.Report(m.Type, told)
	return r.add(o, b.Bytes)
}

// ready is the end of a pipeline or of a Query.
func (r *relay) ready(m wire.Message) error {
	s := r.s
	if len(m.Body) != 1 {
		return r.lost(wire.ErrLength)
	}
	s.mu.Lock()
	s.status = m.Body[0]
	var over []*entry
	found := false
	for len(s.awaited) > 0 && !found {
		e := s.awaited[0]
		found = e.kind == wire.Sync || e.kind == wire.Query
		s.awaited = s.awaited[1:]
		over = append(over, e)
	}
	var gone []*operation
	if s.status == 'I' {
		gone, s.bound = s.bound, nil
		if s.defined {
			s.defined = false
			s.h.forgetCatalog(s)
		}
	}
	for _, settle := range r.roles {
		settle(s.status == 'I')
	}
	r.roles = nil
	s.mu.Unlock()
	if !found {
		return unexpected(m)
	}
	for _, e := range over {
		r.ends = append(r.ends, func() { s.skip(e) })
	}
	for _, o := range gone {
		r.ended(o, "its transaction ended before it did")
	}
	if err := r.add(nil, m.Raw); err != nil {
		return err
	}
	// The client may go on at once: what it asks next is to find the state as it is now.
	if err := r.deliver(); err != nil {
		return err
	}
	_, err := r.head()
	s.cond.Broadcast()
	return err
}

// copyOutput is a COPY to the client: what it holds is masked as a stream, since a message may end anywhere.
type copyOutput struct {
	binary bool
	masked *mask.TextWriter
	ready  bytes.Buffer
}

func (r *relay) copyOut(o *operation, m wire.Message) error {
	c := o.output
	if c == nil {
		return unexpected(m)
	}
	if !o.hide.known {
		return r.add(o, r.hiddenLine(o, m))
	}
	if m.Type == wire.CopyData {
		line := r.hiddenLine(o, m)
		if _, err := c.masked.Write(line[5:]); err != nil {
			return err
		}
		return r.copied(o)
	}
	if err := c.masked.Close(); err != nil {
		return err
	}
	if err := r.copied(o); err != nil {
		return err
	}
	o.out.Masked += c.masked.Masked()
	return r.addMasked(o, m.Raw)
}

// copied passes on what the masker has let go of.
func (r *relay) copied(o *operation) error {
	c := o.output
	if c.binary && c.masked.Masked() > 0 {
		return access.Refuse(access.CodeUnmaskable, nil, "a binary COPY holds a value that is masked; copy as text")
	}
	if c.ready.Len() == 0 {
		return nil
	}
	var b wire.Builder
	b.Begin(wire.CopyData).Raw(c.ready.Bytes()).End()
	c.ready.Reset()
	return r.addMasked(o, b.Bytes)
}

// addMasked delivers what was masked as a stream: it is not looked through again.
func (r *relay) addMasked(o *operation, raw []byte) error {
	if err := r.endRun(); err != nil {
		return err
	}
	var p gate.Permit = r.s.link
	if !o.ended {
		p = o.p
	}
	if err := p.Record(stream, toClient, raw); err != nil {
		return err
	}
	o.out.ResponseBytes += int64(len(raw))
	r.out = append(r.out, raw...)
	return nil
}
