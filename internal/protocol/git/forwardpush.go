package git

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"sync/atomic"

	"gatebook/internal/access"
	"gatebook/internal/gate"
	"gatebook/internal/protocol"
	"gatebook/internal/recording"
)

// forwardPush sends a push of which every update was let through, and relays what becomes of it. It ends all permits.
func (x *exchange) forwardPush(w http.ResponseWriter, t *teller) {
	p, began := x.push, x.h.o.Now()
	carrier := p.updates[0].permit
	out := access.Outcome{ExitCode: -1, RequestBytes: x.body.Size(), Truncated: "the gateway failed"}
	defer func() {
		for i, u := range p.updates {
			own := out
			own.Duration = x.h.o.Now().Sub(began)
			if i > 0 { // the bytes are the first one's
				own.RequestBytes, own.ResponseBytes, own.Masked = 0, 0, 0
			}
			switch {
			case u.outcome == "ok":
			case u.outcome != "":
				own.Message = u.outcome
			case own.Message == "" && own.Truncated == "":
				own.Message = "the host did not say what became of the ref"
			}
			x.end(u.permit, own)
		}
	}()
	defer protocol.CutWrites(w, carrier)()
	s := &sink{w: w, p: carrier, status: http.StatusOK, mediaType: pushResult, begun: t.begun}
	err := x.sendPush(s, carrier, t, &out)
	out.ResponseBytes, out.Truncated = s.delivered+int64(len(t.said)), ""
	if err == nil {
		return
	}
	why := x.failed(carrier, err)
	out.Message, out.Code = why.Message, status(why)
	if s.delivered > 0 { // the client must not take it for done, nor for not done
		out.Truncated = why.Message
		panic(http.ErrAbortHandler)
	}
	var sent *sentError
	if errors.As(err, &sent) {
		why.Message = "it is not known what became of the push: " + why.Message
		why.Advice = "Look at the ref (git ls-remote) before you push again."
	}
	for _, u := range p.updates {
		u.refused = why
	}
	if !s.begun {
		x.h.Refuse(w, x.r, why)
		return
	}
	if _, err := w.Write(x.refusal(func(*update) string { return reason(why) })); err != nil {
		x.h.o.Log.Debug("a failure did not reach its client", "operation", x.op.ID, "error", err)
	}
}

// sentError is a failure after the upstream may have begun to act on the push: what became of it is not known.
type sentError struct{ error }

func (e *sentError) Unwrap() error { return e.error }

// noting knows whether anything of it was read.
type noting struct {
	io.Reader
	read atomic.Bool
}

func (n *noting) Read(b []byte) (int, error) {
	n.read.Store(true)
	return n.Reader.Read(b)
}

func (x *exchange) sendPush(s *sink, p gate.Permit, t *teller, out *access.Outcome) error {
	known, why := x.masking(p.Decision().Masks)
	if why != nil {
		return why
	}
	if len(t.said) > 0 {
		if err := p.Record(recording.Body, recording.ToClient, t.said); err != nil {
			return err
		}
	}
	req := x.request(p)
	body := &noting{Reader: req.Body}
	req.Body = io.NopCloser(body)
	resp, err := x.h.o.Upstream.RoundTrip(p, req)
	if err != nil && body.read.Load() {
		return &sentError{err}
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	out.Code = resp.StatusCode
	if why := x.checkAnswer(resp); why != nil {
		return why
	}
	if resp.StatusCode >= 400 {
		if !s.begun {
			s.status, s.mediaType = resp.StatusCode, resp.Header.Get("Content-Type")
			return x.relayError(s, resp, out)
		}
		return access.Refuse(access.CodeUpstream, nil, "target %q answered the push with status %d", x.op.Target.Name, resp.StatusCode)
	}
	if got, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); got != pushResult {
		return access.Refuse(access.CodeUpstream, nil, "target %q answered the push with %q", x.op.Target.Name, got)
	}
	if err := x.relayReport(s, resp.Body, known, out); err != nil {
		return &sentError{err}
	}
	return nil
}

// relayReport relays a push's answer: messages as they come, the report when it is whole.
func (x *exchange) relayReport(s *sink, src io.Reader, known bool, out *access.Outcome) error {
	l := &relay{s: s, x: x, known: known}
	var report []byte
	if !x.push.can(sideBand) {
		b, err := io.ReadAll(io.LimitReader(src, maxReportBytes+1))
		if err != nil {
			return err
		}
		return x.deliverReport(s, b, known, out)
	}
	l.report = func(b []byte) { report = append(report, b[:min(len(b), maxReportBytes+1-len(report))]...) }
	l.beforeFlush = func() error {
		masked, n, err := x.checkedReport(report, known)
		if err != nil || len(masked) == 0 {
			return err
		}
		report, l.masked = nil, l.masked+n
		return l.band(1, masked)
	}
	err := l.run(src)
	out.Masked = l.masked
	return err
}

func (x *exchange) deliverReport(s *sink, b []byte, known bool, out *access.Outcome) error {
	masked, n, err := x.checkedReport(b, known)
	if err != nil {
		return err
	}
	out.Masked = n
	if _, err := s.Write(masked); err != nil {
		return err
	}
	return s.flush()
}

func (x *exchange) checkedReport(b []byte, known bool) ([]byte, int64, error) {
	if len(b) > maxReportBytes {
		return nil, 0, access.Refuse(access.CodeUpstream, nil, "target %q reports more than %d bytes of the push", x.op.Target.Name, maxReportBytes)
	}
	return x.readReport(b, known)
}
