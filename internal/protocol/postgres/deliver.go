package postgres

import (
	"gatebook/internal/gate"
)

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
	for _, o := range r.over {
		o.end(r.s, o.why)
	}
	for _, e := range r.passed {
		r.s.skip(e)
	}
	clear(r.over)
	clear(r.passed)
	r.over, r.passed = r.over[:0], r.passed[:0]
	return r.rest()
}

// ended has an operation end once what it gave is recorded, and if it is a change, delivered.
func (r *relay) ended(o *operation, why string) {
	if !o.over {
		o.over, o.why = true, why
		r.over = append(r.over, o)
	}
}

// leave ends what could not be delivered any more.
func (r *relay) leave() {
	for _, o := range r.over {
		o.end(r.s, "its answer did not reach the client")
	}
	for _, e := range r.passed {
		r.s.skip(e)
	}
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

// add puts messages into the answer, as part of o; nil: of the connection.
func (r *relay) add(o *operation, raw []byte) error {
	return r.put(o, raw, false)
}

// addMasked is add for what was masked as a stream: it is not looked through again.
func (r *relay) addMasked(o *operation, raw []byte) error {
	return r.put(o, raw, true)
}

func (r *relay) put(o *operation, raw []byte, masked bool) error {
	if err := r.turn(o, masked); err != nil {
		return err
	}
	r.run = append(r.run, raw...)
	return nil
}

// turn ends a run of another operation than o, or of what is masked otherwise.
func (r *relay) turn(o *operation, masked bool) error {
	if (o != r.runOf || masked != r.runMasked) && len(r.run) > 0 {
		if err := r.endRun(); err != nil {
			return err
		}
	}
	r.runOf, r.runMasked = o, masked
	return nil
}

// addPlain puts a message without any text into the answer, as part of whatever stands before it, so that it costs no record of its
// own; of o where that is nothing.
func (r *relay) addPlain(o *operation, raw []byte) error {
	if len(r.run) == 0 || r.runOf != nil && r.runOf.ended {
		return r.add(o, raw)
	}
	r.run = append(r.run, raw...)
	return nil
}

// endRun masks and records what belongs together, and with it the end of its operation where it is the last of a read. A change's end
// waits for the disk, and so comes after what it gave is delivered.
func (r *relay) endRun() error {
	if len(r.run) == 0 {
		return nil
	}
	o, b := r.runOf, r.run
	if !r.runMasked && (o == nil || o.hide.known) {
		var n int64
		var err error
		if b, n, err = r.s.concealMessages(b, o); err != nil {
			return err
		}
		if o != nil {
			o.out.Masked += n
		}
	}
	if err := r.record(o, b); err != nil {
		return err
	}
	if len(r.out) == 0 && &b[0] == &r.run[0] { // spare the copy
		r.out, r.run = r.run, r.out
	} else {
		r.out = append(r.out, b...)
	}
	if r.run = r.run[:0]; cap(r.run) > 4*chunkBytes {
		r.run = nil
	}
	return nil
}

// record puts what is about to be delivered into the record of o, or of the connection where it is nil or has ended.
func (r *relay) record(o *operation, b []byte) error {
	var p gate.Permit = r.s.link
	if o != nil {
		o.out.ResponseBytes += int64(len(b))
		if !o.ended {
			p = o.p
		}
	}
	if o != nil && o.over && !o.ended && !o.change {
		return o.endWith(r.s, b)
	}
	return p.Record(stream, toClient, b)
}
