package kubernetes

import (
	"bytes"
	"errors"
	"maps"
	"net/http"

	"gatebook/internal/gate"
	"gatebook/internal/protocol"
	"gatebook/internal/recording"
)

// sink delivers an answer: what the client is given is in the record before it is sent. The status line goes with the
// first byte, so that an answer which turns out not to be maskable, or cannot be recorded, can still be refused.
type sink struct {
	w      http.ResponseWriter
	p      gate.Permit
	status int
	header http.Header
	// tell masks the header when it goes, since what comes before may make values known, and gives what of it is recorded.
	tell   func() (http.Header, error)
	isHead bool
	// limit is how many bytes of the body the client asked for; 0: all.
	limit     int64
	begun     bool
	delivered int64
	last      byte // of what was delivered
}

// errEnough says that the client has as much as it asked for.
var errEnough = errors.New("the client asked for no more")

func (s *sink) Write(b []byte) (int, error) {
	if len(b) == 0 || s.isHead {
		return len(b), s.begin()
	}
	var enough error
	if s.limit > 0 && int64(len(b)) >= s.limit-s.delivered {
		b, enough = b[:s.limit-s.delivered], errEnough
	}
	if err := s.p.Record(recording.Body, recording.ToClient, b); err != nil {
		return 0, err
	}
	if err := s.begin(); err != nil {
		return 0, err
	}
	n, err := s.w.Write(b)
	if s.delivered += int64(n); n > 0 {
		s.last = b[n-1]
	}
	if err != nil {
		return n, &protocol.ClientError{Err: err}
	}
	return n, enough
}

func (s *sink) begin() error {
	if s.begun {
		return nil
	}
	told, err := s.tell()
	if err != nil {
		return err
	}
	if len(told) > 0 {
		var lines bytes.Buffer
		if err := told.Write(&lines); err != nil { // a bytes.Buffer takes everything
			return err
		}
		if err := s.p.Record(recording.Header, recording.ToClient, lines.Bytes()); err != nil {
			return err
		}
	}
	s.begun = true
	maps.Copy(s.w.Header(), s.header)
	s.w.WriteHeader(s.status)
	return nil
}

func (s *sink) flush() error {
	if err := s.begin(); err != nil {
		return err
	}
	if err := http.NewResponseController(s.w).Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return &protocol.ClientError{Err: err}
	}
	return nil
}

// keepFraming leaves an answer that is not masked as it came.
func (s *sink) keepFraming(resp *http.Response) {
	for _, name := range []string{"Content-Length", "Content-Encoding"} {
		if v := resp.Header.Get(name); v != "" {
			s.header.Set(name, v)
		}
	}
}
