package recording

import (
	"bytes"
	"maps"
	"sync"

	"gatebook/internal/access"
)

const (
	// maxRecent bounds how many operations are remembered for the indexer, and maxRecentBytes how large each is as JSON.
	maxRecent      = 2048
	maxRecentBytes = 8 << 10
)

// recent are operations that this process recorded a moment ago, so that the indexer need not decode from the journal what
// was just encoded. The journal is the queue all the same: what is not here is decoded, so nothing waits or is lost.
type recent struct {
	mu    sync.Mutex
	begun map[uint64]*access.Record
	ended map[uint64]*access.Outcome
}

// forget lets go of operations below a number that the indexer did not come to take, such as those that the journal had no
// room for.
func (r *recent) forget(below uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.begun, func(number uint64, _ *access.Record) bool { return number < below })
	maps.DeleteFunc(r.ended, func(number uint64, _ *access.Outcome) bool { return number < below })
}

// asRecorded reports whether who decodes the frame gets what was encoded: JSON has no bytes that are not UTF-8.
func asRecorded(frame []byte) bool {
	return len(frame) <= maxRecentBytes && !bytes.Contains(frame, []byte(`\ufffd`))
}

// begin remembers an opening, unless it holds whole objects. frame is what is recorded of it.
func (r *recent) begin(number uint64, o *Opening, frame []byte) {
	if !asRecorded(frame) {
		return
	}
	record := o.record()
	if k := record.Operation.Kubernetes; k != nil {
		if k.Object != nil || k.Stored != nil {
			return
		}
		own := *k // the operation's goes on with its request
		record.Operation.Kubernetes = &own
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.begun == nil {
		r.begun, r.ended = map[uint64]*access.Record{}, map[uint64]*access.Outcome{}
	}
	if len(r.begun) < maxRecent {
		r.begun[number] = &record
	}
}

func (r *recent) end(number uint64, c *Closing, frame []byte) {
	if !asRecorded(frame) {
		return
	}
	out := c.Outcome
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.ended) < maxRecent && r.ended != nil {
		r.ended[number] = &out
	}
}

// takeBegun gives what begin remembered, once; nil where it does not.
func (r *recent) takeBegun(number uint64) *access.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	record := r.begun[number]
	delete(r.begun, number)
	return record
}

func (r *recent) takeEnded(number uint64) *access.Outcome {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.ended[number]
	delete(r.ended, number)
	return out
}
