package approval

import (
	"context"
	"fmt"

	"gatebook/internal/access"
)

// Restorer is the part of an index that takes approvals from the record. It leaves alone what is as far already, and
// where another open approval holds slot.
type Restorer interface {
	RestoreApproval(ctx context.Context, a access.Approval, slot string, use access.OperationID) error
}

// Restore brings an index up to events as they were recorded, in their order. It is idempotent and goes forward only: an
// approval that was used, denied or ended stays so. What was recorded and voided is left out.
func Restore(ctx context.Context, to Restorer, events []Event) error {
	for _, e := range unvoided(events) {
		name, err := slot(e.Approval)
		if err == nil {
			err = to.RestoreApproval(ctx, e.Approval, name, e.Operation)
		}
		if err != nil {
			return fmt.Errorf("restoring approval %s: %w", e.Approval.ID, err)
		}
	}
	return nil
}

// unvoided leaves out each void and the change before it: all events of one time.
func unvoided(events []Event) []Event {
	var out []Event
	last := map[access.ApprovalID][]int{}
	void := map[int]bool{}
	for i, e := range events {
		of := last[e.Approval.ID]
		if e.Kind != Void {
			last[e.Approval.ID] = append(of, i)
			continue
		}
		void[i] = true
		for n := len(of) - 1; n >= 0 && events[of[n]].Time.Equal(e.Time); n-- {
			void[of[n]], of = true, of[:n]
		}
		last[e.Approval.ID] = of
	}
	for i, e := range events {
		if !void[i] {
			out = append(out, e)
		}
	}
	return out
}
