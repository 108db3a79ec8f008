package web

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
	// header is as it is delivered: masked.
	header    http.Header
	isHead    bool
	begun     bool
	delivered int64
}

func (s *sink) Write(b []byte) (int, error) {
	if len(b) == 0 || s.isHead {
		return len(b), s.begin()
	}
	if err := s.p.Record(recording.Body, recording.ToClient, b); err != nil {
		return 0, err
	}
	if err := s.begin(); err != nil {
		return 0, err
	}
	n, err := s.w.Write(b)
	s.delivered += int64(n)
	if err != nil {
		return n, &protocol.ClientError{Err: err}
	}
	return n, nil
}

func (s *sink) begin() error {
	if s.begun {
		return nil
	}
	if err := s.record(s.header); err != nil {
		return err
	}
	s.begun = true
	maps.Copy(s.w.Header(), s.header)
	s.w.WriteHeader(s.status)
	return nil
}

func (s *sink) record(h http.Header) error {
	if len(h) == 0 {
		return nil
	}
	var lines bytes.Buffer
	if err := h.Write(&lines); err != nil { // a bytes.Buffer takes everything
		return err
	}
	return s.p.Record(recording.Header, recording.ToClient, lines.Bytes())
}

// trailers deliver what comes behind the body.
func (s *sink) trailers(h http.Header) error {
	if len(h) == 0 {
		return nil
	}
	if err := s.begin(); err != nil {
		return err
	}
	if err := s.record(h); err != nil {
		return err
	}
	for name, values := range h {
		s.w.Header()[http.TrailerPrefix+name] = values
	}
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
