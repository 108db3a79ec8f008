package recording

import "time"

// Behind is how far what follows the journal is behind it.
type Behind struct {
	// Sealing is for how long the oldest frame waits that is not sealed under a checkpoint yet, and how many bytes of
	// the journal wait with it. Up to Options.SealAge or SealBytes that is as it should be.
	Sealing      time.Duration
	SealingBytes int64
	// Index is for how long the index has not had everything, and how many frames it lacks.
	Index       time.Duration
	IndexFrames uint64
}

// Behind says how far sealing and the index are behind.
func (r *Recorder) Behind() Behind {
	var b Behind
	now := r.now()
	if u, ok := r.oldestUnsealed(); ok {
		b.Sealing = max(0, now.Sub(u.used))
		b.SealingBytes = r.bytesFrom(u.from)
	}
	if r.indexer == nil {
		return b
	}
	if next, has := r.nextFrame.Load(), r.indexer.passed.Load(); has < next {
		b.IndexFrames = next - has
		b.Index = max(0, now.Sub(time.Unix(0, r.indexer.even.Load())))
	}
	return b
}

// oldestUnsealed is the first unit with frames of its own that is not sealed.
func (r *Recorder) oldestUnsealed() (unit, bool) {
	list := r.units.all()
	for i, u := range list {
		if nanos := r.unitUsed.Load(); i == len(list)-1 && nanos != 0 {
			u.used = time.Unix(0, nanos)
		}
		if !u.sealed && !u.used.IsZero() {
			return u, true
		}
	}
	return unit{}, false
}

func (r *Recorder) bytesFrom(segment uint64) (n int64) {
	segments, err := r.journal.Segments()
	if err != nil {
		return 0 // the journal itself says so, to everybody
	}
	for _, s := range segments {
		if s.ID >= segment {
			n += s.Bytes
		}
	}
	return n
}

// Settled is a time before which everything recorded is sealed, under a checkpoint, in the index, and out of the journal.
func (r *Recorder) Settled() time.Time { return r.units.all()[0].began }
