package postgres

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/gate"
	wire "gatebook/internal/wire/postgres"
)

const (
	// notices come this often to a client that is held: psql prints them at once.
	notices = 15 * time.Second
	// maxAhead bounds what is read of a client while it is held.
	maxAhead = 64 << 10
)

// errCanceled is a held statement that its client has taken back.
var errCanceled = errors.New("canceling statement due to user request")

// held asks the gate, and while that waits for a person tells the client, and watches whether it is still there: for one that has gone
// nothing runs. waited: somebody was asked, and that took time.
func (s *session) held(r gate.Request, card func() access.Card) (_ gate.Permit, waited bool, _ error) {
	var stop, done chan struct{}
	s.takenBack.Store(false)
	r.Within = s.link
	r.Card = func(context.Context) (access.Card, error) { return card(), nil }
	r.Held = func(_ access.Approval, giveUp context.CancelCauseFunc) {
		if stop != nil {
			return
		}
		stop, done = make(chan struct{}), make(chan struct{})
		s.mu.Lock()
		s.holding = giveUp
		s.mu.Unlock()
		if s.takenBack.Load() { // before it was known that it would be held
			giveUp(errCanceled)
		}
		go func() {
			defer close(done)
			s.watch(giveUp, stop, r.Operation.ID)
		}()
	}
	p, err := s.h.o.Gate.Admit(s.link.Context(), r)
	if stop != nil {
		s.mu.Lock()
		s.holding = nil
		s.mu.Unlock()
		close(stop)
		s.client.SetReadDeadline(time.Unix(1, 0))
		<-done
		s.client.SetReadDeadline(time.Time{})
		if s.ctx.Err() != nil { // somebody else may have set it
			s.client.SetReadDeadline(time.Unix(1, 0))
		}
	}
	if err != nil && stop != nil && s.takenBack.Load() {
		own := *asRefusal(err, access.CodeApprovalPending)
		own.Message = errCanceled.Error() + " (" + own.Message + ")"
		err = &own
	}
	return p, stop != nil, err
}

// stopHolding takes back what is held. It reports false where nothing is.
func (s *session) stopHolding() bool {
	s.takenBack.Store(true)
	s.mu.Lock()
	cancel := s.holding
	s.mu.Unlock()
	if cancel != nil {
		cancel(errCanceled)
	}
	return cancel != nil
}

// watch tells the client that it is held, until stop, and reads ahead to see whether it leaves.
func (s *session) watch(gone context.CancelCauseFunc, stop <-chan struct{}, id access.OperationID) {
	read := make(chan struct{})
	go func() {
		defer close(read)
		s.readAhead(gone)
	}()
	defer func() { <-read }()
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	for {
		select {
		case <-stop:
			return
		case <-timer.C:
			timer.Reset(notices)
			var b wire.Builder
			b.Report(wire.NoticeResponse, []wire.Report{{Code: 'S', Text: "NOTICE"}, {Code: 'V', Text: "NOTICE"}, {Code: 'C', Text: "00000"},
				{Code: 'M', Text: "gatebook: this statement waits for a person's approval (operation " + string(id) + ")"}})
			if err := s.say(b.Bytes); err != nil {
				gone(errors.Join(errGone, err))
			}
		}
	}
}

// readAhead reads until its deadline is set to the past, the client goes, or there is more than is kept.
func (s *session) readAhead(gone context.CancelCauseFunc) {
	var b [4096]byte
	for s.source.err == nil && s.source.ahead.Len() < maxAhead {
		n, err := s.source.conn.Read(b[:])
		s.source.ahead.Write(b[:n])
		var timeout net.Error
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
			return
		case err != nil:
			if !errors.Is(err, io.EOF) {
				err = errors.Join(errGone, err)
			}
			s.source.err = err
			gone(err)
		}
	}
}
