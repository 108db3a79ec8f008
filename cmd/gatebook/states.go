package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"gatebook/internal/access"
	"gatebook/internal/approval"
	"gatebook/internal/recording"
	"gatebook/internal/store"
)

// The kinds of notes that states follow; those of approvals begin so.
const (
	noteRevoked  = "revocation"
	noteRestored = "revocation.undone"
	noteApproval = "approval."
)

// states are the approvals and revocations that notes tell of. An index that is behind the book is brought up from them,
// so that nothing that was used, denied or revoked is forgotten.
type states struct {
	events  []approval.Event
	revoked []access.Revocation
	undone  map[string]bool
}

// note takes one note. It keeps nothing of data.
func (s *states) note(kind string, data []byte) error {
	switch {
	case kind == noteRevoked:
		var r access.Revocation
		if err := json.Unmarshal(data, &r); err != nil {
			return fmt.Errorf("reading a revocation: %w", err)
		}
		s.revoked = append(s.revoked, r)
	case kind == noteRestored:
		var r access.Restoration
		if err := json.Unmarshal(data, &r); err != nil {
			return fmt.Errorf("reading that a revocation was taken back: %w", err)
		}
		if s.undone == nil {
			s.undone = map[string]bool{}
		}
		s.undone[r.Revocation.ID] = true
	case strings.HasPrefix(kind, noteApproval):
		var e approval.Event
		if err := json.Unmarshal(data, &e); err != nil {
			return fmt.Errorf("reading what happened to an approval: %w", err)
		}
		s.events = append(s.events, e)
	}
	return nil
}

// apply brings the index up. No revocation gets an ID that another had, so the order of sessions does not matter.
func (s *states) apply(ctx context.Context, to *store.Store) error {
	if err := s.applyApprovals(ctx, to); err != nil {
		return err
	}
	for _, r := range s.revoked {
		if err := to.PutRevocation(ctx, r); err != nil {
			return err
		}
	}
	for id := range s.undone {
		if _, err := to.DeleteRevocation(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// applyApprovals brings up the approvals met so far, and lets go of what they were told of.
func (s *states) applyApprovals(ctx context.Context, to *store.Store) error {
	events := s.events
	s.events = nil
	return approval.Restore(ctx, to, events)
}

// indexLost says what to do about an index that was lost.
func indexLost(err error) error {
	if !errors.Is(err, recording.ErrIndexLost) {
		return err
	}
	return fmt.Errorf("%w. Without it, revocations and used approvals would be forgotten, so the gateway does not start. "+
		"Put the newest index.db back, or make it anew from the book: gatebook index rebuild --config FILE --key AUDITOR-KEY", err)
}
