package recording

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"gatebook/internal/access"
)

// spoolDir holds files on their way to the archive, in the recorder's folder. It is emptied before each use.
const spoolDir = "spool"

// sealer moves units from the journal to the archive and the ledger, one at a time, in order.
type sealer struct {
	r     *Recorder
	dir   string
	kick  chan struct{}
	pins  pins
	mu    sync.Mutex // held while a unit is sealed
	state *sealState

	lastMu sync.Mutex
	last   string
}

func openSealer(r *Recorder) (*sealer, error) {
	if err := os.MkdirAll(r.o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of sealing: %w", err)
	}
	state, err := loadState(r.o.Dir)
	if err != nil {
		return nil, err
	}
	return &sealer{r: r, dir: r.o.Dir, kick: make(chan struct{}, 1), state: state, last: state.Last}, nil
}

func (s *sealer) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

func (s *sealer) lastUnit() string {
	s.lastMu.Lock()
	defer s.lastMu.Unlock()
	return s.last
}

func (s *sealer) sawUnit(id string) {
	s.lastMu.Lock()
	defer s.lastMu.Unlock()
	s.last = max(s.last, id)
}

// Seal ends the unit in use and puts everything before now into the archive and the ledger, under a signed checkpoint.
// It is what happens in the background from time to time, done at once.
func (r *Recorder) Seal() error {
	if err := r.beginUnit(); err != nil {
		return fmt.Errorf("sealing: %w", err)
	}
	return r.sealer.sealPending()
}

// sealPending seals every unit but the one in use, and removes what may be removed.
func (s *sealer) sealPending() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.r.units.all()
	for i, u := range list[:len(list)-1] {
		if slices.Contains(s.state.Sealed, u.id) {
			continue
		}
		if err := s.seal(u, list[i+1].from); err != nil {
			return fmt.Errorf("sealing unit %s: %w", u.id, err)
		}
	}
	return s.removeSealed()
}

// seal is done again from its beginning after a crash, and then finds what it did before: files in the archive by the
// digests in the state, leaves in the ledger from LedgerAt on.
func (s *sealer) seal(u unit, until uint64) error {
	kept, err := s.begin(u)
	if err != nil {
		return err
	}
	d, err := newDemux(s, u, kept.sessions)
	if err != nil {
		return err
	}
	if err := d.run(until); err != nil {
		return err
	}
	err = s.ship(u, d, kept.outputs)
	return errors.Join(err, d.leafFile.Close())
}

// keptOutputs is what an interrupted sealing of the same unit has put into the archive.
type keptOutputs struct {
	outputs  []output
	sessions map[access.SessionID]bool // whose segment is there
}

func (s *sealer) begin(u unit) (keptOutputs, error) {
	kept := keptOutputs{sessions: map[access.SessionID]bool{}}
	if s.state.Unit != u.id {
		s.state.Unit, s.state.Outputs, s.state.LedgerAt = u.id, nil, s.r.o.Ledger.Size()
	}
	there := map[string]bool{}
	for _, o := range s.state.Outputs {
		ok, err := s.inArchive(&o.Leaf)
		if err != nil {
			return kept, err
		}
		if !ok {
			continue
		}
		there[o.Leaf.Name] = true
		kept.outputs = append(kept.outputs, o)
		if o.Leaf.Type == LeafSegment {
			kept.sessions[o.Leaf.Session] = true
		}
	}
	for _, o := range s.state.Outputs {
		if o.Leaf.Type == LeafKey && !there[o.Leaf.Name] { // its private half is lost: make another
			delete(s.state.Keys, o.Leaf.Session)
		}
	}
	if err := os.RemoveAll(filepath.Join(s.dir, spoolDir)); err != nil {
		return kept, fmt.Errorf("emptying the spool: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(s.dir, spoolDir), 0o700); err != nil {
		return kept, fmt.Errorf("making the spool: %w", err)
	}
	return kept, s.r.fail("spool")
}

// inArchive reports whether the file is there. One of the same name with other bytes is an error: somebody else put it.
func (s *sealer) inArchive(l *Leaf) (bool, error) {
	f, err := s.r.o.Archive.Open(l.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	size, sum, err := digestOf(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return false, fmt.Errorf("reading %s in the archive: %w", l.Name, err)
	}
	if size != l.Size || sum != l.SHA256 {
		return false, fmt.Errorf("%s in the archive is not what this gateway put there", l.Name)
	}
	return true, nil
}

// ship puts the files into the archive and the leaves into the ledger, signs a checkpoint, and notes that it is done.
func (s *sealer) ship(u unit, d *demux, kept []output) error {
	fresh := d.outputs
	all := append(slices.Clone(kept), fresh...)
	sortOutputs(fresh)
	sortOutputs(all)
	s.state.Outputs, s.state.Last = all, s.lastUnit()
	if err := s.save("state"); err != nil {
		return err
	}
	for _, o := range fresh {
		if err := s.put(o); err != nil {
			return err
		}
	}
	if err := s.appendLeaves(d, all); err != nil {
		return err
	}
	s.state.Unit, s.state.Outputs, s.state.LedgerAt = "", nil, 0
	s.state.Sealed = append(s.state.Sealed, u.id)
	s.state.forgetKeys(s.r.now())
	err := s.save("sealed")
	if err == nil {
		s.r.units.mark(u.id, func(u *unit) { u.sealed = true })
	}
	return err
}

func (s *sealer) save(step string) error {
	if err := s.r.fail(step); err != nil {
		return err
	}
	return s.state.save(s.dir)
}

func (s *sealer) put(o output) error {
	if err := s.r.fail("put"); err != nil {
		return err
	}
	f, err := os.Open(o.spooled)
	if err != nil {
		return fmt.Errorf("reading the spool: %w", err)
	}
	if err := errors.Join(s.r.o.Archive.Put(o.Leaf.Name, f), f.Close()); err != nil {
		return err
	}
	if err := s.r.fail("put.after"); err != nil {
		return err
	}
	return os.Remove(o.spooled)
}

// leafGroup is how many leaves go to the ledger in one call.
const leafGroup = 256

// appendLeaves appends what is not in the ledger yet, and has it signed and on disk.
func (s *sealer) appendLeaves(d *demux, outputs []output) error {
	w := leafWriter{s: s, at: s.state.LedgerAt, size: s.r.o.Ledger.Size()}
	if err := d.eachLeaf(w.add); err != nil {
		return err
	}
	for _, o := range outputs {
		if err := w.add(o.Leaf.append(nil)); err != nil {
			return err
		}
	}
	if err := w.flush(); err != nil {
		return err
	}
	if w.at == s.state.LedgerAt {
		return nil // a unit of nothing
	}
	if err := s.r.fail("checkpoint"); err != nil {
		return err
	}
	if _, err := s.r.o.Ledger.Checkpoint(); err != nil {
		return fmt.Errorf("signing a checkpoint: %w", err)
	}
	return nil
}

// leafWriter appends leaves and skips those that are in the ledger from an interrupted sealing.
type leafWriter struct {
	s        *sealer
	at, size uint64
	group    [][]byte
}

func (w *leafWriter) add(entry []byte) error {
	w.at++
	if w.at <= w.size {
		there, err := w.s.r.o.Ledger.Entry(w.at - 1)
		if err != nil {
			return fmt.Errorf("reading the ledger: %w", err)
		}
		if !bytes.Equal(there, entry) {
			return fmt.Errorf("entry %d of the ledger is not what this gateway was about to append: does another write to it?", w.at-1)
		}
		return nil
	}
	w.group = append(w.group, entry)
	if len(w.group) == leafGroup {
		return w.flush()
	}
	return nil
}

func (w *leafWriter) flush() error {
	if len(w.group) == 0 {
		return nil
	}
	if err := w.s.r.fail("leaves"); err != nil {
		return err
	}
	if _, err := w.s.r.o.Ledger.Append(w.group...); err != nil {
		return fmt.Errorf("appending to the ledger: %w", err)
	}
	w.group = w.group[:0]
	return nil
}

// removeSealed removes from the journal the oldest units that are sealed, indexed, and not being read. A unit is indexed
// once the first frame of the next one is: only then has the indexer's reader left its segments.
func (s *sealer) removeSealed() error {
	list := s.r.units.all()
	for i, u := range list[:len(list)-1] {
		if !slices.Contains(s.state.Sealed, u.id) || !s.r.indexed(list[i+1].firstFrame+1) || !s.pins.tryRemove() {
			return nil
		}
		s.state.RemoveBelow = list[i+1].from
		err := s.save("removing")
		if err == nil {
			err = s.remove()
		}
		s.pins.removed()
		if err != nil {
			return err
		}
		s.state.Sealed = slices.DeleteFunc(s.state.Sealed, func(id string) bool { return id == u.id })
		s.r.units.drop(u.id)
	}
	return nil
}

// remove removes the journal's segments below RemoveBelow.
func (s *sealer) remove() error {
	segments, err := s.r.journal.Segments()
	if err != nil {
		return err
	}
	for _, g := range segments {
		if g.ID >= s.state.RemoveBelow || !g.Sealed {
			continue
		}
		if err := s.r.fail("remove"); err != nil {
			return err
		}
		if err := s.r.journal.Remove(g.ID); err != nil {
			return err
		}
	}
	return nil
}

// finishRemoving ends a removal that was interrupted.
func (s *sealer) finishRemoving() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.remove()
}

func digestOf(r io.Reader) (int64, access.Digest, error) {
	h := sha256.New()
	n, err := io.Copy(h, r)
	return n, access.Digest(h.Sum(nil)), err
}

// tick is how often the background looks whether a unit is due.
const tick = time.Second

// sealInBackground seals when a unit is due, and tries again, ever more rarely, when that fails.
func (r *Recorder) sealInBackground() {
	t := time.NewTicker(tick)
	defer t.Stop()
	due := dueness{r: r}
	wait := tick
	var notBefore time.Time
	for {
		select {
		case <-r.stopped.Done():
			return
		case <-r.sealer.kick:
		case <-t.C:
			due.look()
		}
		if time.Now().Before(notBefore) {
			continue
		}
		if err := r.sealIf(due.due()); err != nil && !errors.Is(err, ErrClosed) {
			r.o.Log.Error("sealing the recording failed; it stays in the journal and is tried again", "error", err, "in", wait)
			notBefore, wait = time.Now().Add(wait), min(2*wait, time.Minute)
			continue
		}
		wait = tick
	}
}

func (r *Recorder) sealIf(due bool) error {
	if due {
		if err := r.beginUnit(); err != nil {
			return err
		}
	}
	return r.sealer.sealPending()
}

// dueness says when the unit in use is to be sealed.
type dueness struct {
	r          *Recorder
	seen       uint64 // the next frame's number at the last look
	quietSince time.Time
}

func (d *dueness) look() {
	if n := d.r.nextFrame.Load(); n != d.seen || d.quietSince.IsZero() {
		d.seen, d.quietSince = n, d.r.now()
	}
}

func (d *dueness) due() bool {
	u, now := d.r.units.current(), d.r.now()
	open := uint64(d.r.open.len())
	if d.r.nextFrame.Load()-u.firstFrame <= 1+open && now.Sub(u.began) < d.r.o.SealAge {
		return false // nothing yet but what was carried over
	}
	switch {
	case d.r.nextFrame.Load()-u.firstFrame <= 1:
		return false
	case d.r.unitBytes.Load() >= d.r.o.SealBytes, now.Sub(u.began) >= d.r.o.SealAge:
		return true
	}
	return open == 0 && !d.quietSince.IsZero() && now.Sub(d.quietSince) >= d.r.o.SealIdle
}
