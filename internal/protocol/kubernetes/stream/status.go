package stream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gatebook/internal/access"
)

// maxStatus bounds what an upstream may say of how a command ended, in bytes.
const maxStatus = 64 << 10

// Constants of the remote command protocol, version 4 (k8s.io/apimachinery/pkg/util/remotecommand).
const (
	reasonNonZero = metav1.StatusReason("NonZeroExitCode")
	causeExitCode = metav1.CauseType("ExitCode")
)

// exitCode reads a command's exit status out of a Status; -1 where it has none.
func exitCode(s *metav1.Status) int {
	if s.Status == metav1.StatusSuccess {
		return 0
	}
	if s.Reason != reasonNonZero || s.Details == nil {
		return -1
	}
	for _, c := range s.Details.Causes {
		if c.Type == causeExitCode {
			if n, err := strconv.ParseUint(c.Message, 10, 8); err == nil {
				return int(n)
			}
		}
	}
	return -1
}

// readStatus decodes what came on the error channel.
func readStatus(b []byte) (*metav1.Status, error) {
	s := &metav1.Status{}
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("reading the exit status: %w", err)
	}
	if s.Status != metav1.StatusSuccess && s.Status != metav1.StatusFailure {
		return nil, fmt.Errorf("reading the exit status: status %q is unknown", s.Status)
	}
	return s, nil
}

// maskStatus hides known secrets in every text of the Status, and counts them.
func maskStatus(s *metav1.Status, m Masks) (int64, error) {
	texts := []*string{&s.Message}
	if s.Details != nil {
		texts = append(texts, &s.Details.Name)
		for i := range s.Details.Causes {
			texts = append(texts, &s.Details.Causes[i].Message, &s.Details.Causes[i].Field)
		}
	}
	var masked int64
	for _, t := range texts {
		n, err := maskString(t, m)
		if err != nil {
			return masked, err
		}
		masked += n
	}
	return masked, nil
}

func maskString(s *string, m Masks) (int64, error) {
	var out bytes.Buffer
	t := m.client(&out)
	if _, err := t.Write([]byte(*s)); err != nil {
		return 0, err
	}
	if err := t.Close(); err != nil {
		return 0, err
	}
	*s = out.String()
	return t.Masked(), nil
}

// encodeStatus gives what the error channel of a client carries: the Status in JSON, or only a failure's text.
func encodeStatus(s *metav1.Status, inJSON bool) ([]byte, error) {
	if inJSON {
		b, err := json.Marshal(s)
		if err != nil {
			return nil, fmt.Errorf("encoding the exit status: %w", err)
		}
		return b, nil
	}
	if s.Status == metav1.StatusSuccess {
		return nil, nil
	}
	return []byte(s.Message), nil
}

// failure is the Status that tells a client why its stream was ended.
func failure(err error) *metav1.Status {
	s := &metav1.Status{Status: metav1.StatusFailure, Reason: metav1.StatusReasonInternalError, Code: http.StatusInternalServerError,
		Message: "gatebook: the stream was ended because of an internal error"}
	var why *access.Refusal
	if !errors.As(err, &why) {
		return s
	}
	s.Message = "gatebook: " + why.Message
	if why.Advice != "" {
		s.Message += ". " + why.Advice
	}
	switch why.Code {
	case access.CodeRevoked, access.CodeDenied, access.CodeMalformed, access.CodeUnauthenticated:
		s.Reason, s.Code = metav1.StatusReasonForbidden, http.StatusForbidden
	case access.CodeDraining, access.CodeNotRecorded, access.CodeUpstream:
		s.Reason, s.Code = metav1.StatusReasonServiceUnavailable, http.StatusServiceUnavailable
	}
	return s
}
