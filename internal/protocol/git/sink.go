package git

import (
	"errors"
	"net/http"

	"gatebook/internal/gate"
	"gatebook/internal/protocol"
	"gatebook/internal/recording"
)

// sink delivers an answer: what the client is given is in the record before it is sent. The status line goes with the first
// byte, so that an answer which turns out not to be one can still be refused.
type sink struct {
	w         http.ResponseWriter
	p         gate.Permit
	status    int
	mediaType string
	begun     bool
	delivered int64
}

func (s *sink) Write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if err := s.p.Record(recording.Body, recording.ToClient, b); err != nil {
		return 0, err
	}
	s.begin()
	n, err := s.w.Write(b)
	s.delivered += int64(n)
	if err != nil {
		return n, &protocol.ClientError{Err: err}
	}
	return n, nil
}

func (s *sink) begin() {
	if !s.begun {
		s.begun = true
		beginAnswer(s.w, s.status, s.mediaType)
	}
}

func beginAnswer(w http.ResponseWriter, status int, mediaType string) {
	h := w.Header()
	h.Set("Cache-Control", "no-cache, max-age=0, must-revalidate")
	if mediaType != "" {
		h.Set("Content-Type", mediaType)
	}
	w.WriteHeader(status)
}

func (s *sink) flush() error {
	s.begin()
	return flush(s.w)
}

func flush(w http.ResponseWriter) error {
	if err := http.NewResponseController(w).Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return &protocol.ClientError{Err: err}
	}
	return nil
}
