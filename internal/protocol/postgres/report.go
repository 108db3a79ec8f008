package postgres

import (
	wire "gatebook/internal/wire/postgres"
)

// failure is an ErrorResponse: the statement's end, and in the extended protocol that of all up to the next Sync.
func (r *relay) failure(e *entry, m wire.Message) error {
	s, o := r.s, e.op()
	withholds := r.withholds(e)
	e.failed = true
	if e.refusal != nil {
		if err := r.add(nil, e.refusal); err != nil {
			return err
		}
	} else if err := r.report(o, m, withholds); err != nil {
		return err
	}
	if o != nil {
		o.out.Code = 1
		if o.out.Message == "" {
			o.out.Message = r.s.conceal(messageOf(m, withholds))
		}
		r.settled(e, o, false)
		s.endCopy(o)
		r.ended(o, "")
	}
	if e.binds != nil {
		e.binds.out.Code, e.binds.out.Message = 1, s.conceal(messageOf(m, withholds))
		r.ended(e.binds, "")
	}
	for i := e.at + 1; i < len(e.ops); i++ {
		r.ended(e.ops[i], "it did not run: a statement before it in the same message failed")
	}
	if e.whole() {
		e.at = len(e.ops)
		return nil
	}
	s.mu.Lock()
	s.failedGen = e.gen
	s.shift()
	for len(s.awaited) > 0 && s.awaited[0].kind != wire.Sync && s.awaited[0].local == nil {
		r.passed = append(r.passed, s.awaited[0])
		s.shift()
	}
	s.mu.Unlock()
	r.now = nil
	s.cond.Broadcast()
	return nil
}

// messageOf is an error's text for the outcome.
func messageOf(m wire.Message, withholds bool) string {
	if withholds {
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

// withholds reports whether what the server says of e may repeat what is masked: where its statement reaches it, or where what
// another statement of the transaction left to be checked is checked now.
func (r *relay) withholds(e *entry) bool {
	o := e.op()
	if o == nil && e != nil {
		o = e.binds // planning runs what is called immutable
	}
	switch {
	case o != nil && o.hide.touches:
		return true
	case e == nil || !r.touched:
		return false
	}
	return e.kind == wire.Sync || len(e.ops) > 1 || o != nil && (o.statement.Is("commit") || o.statement.Is("set constraints"))
}

// report passes on an error or notice. Where the statement reaches what a mask of the policy's hides, only its kind is
// told: messages repeat values ("invalid input syntax for type integer: …", "Key (email)=(…) already exists").
func (r *relay) report(o *operation, m wire.Message, withholds bool) error {
	if !withholds {
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
