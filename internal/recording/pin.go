package recording

import "sync"

// pins keep the journal's segments from being removed while something reads them from the archive and the journal
// both, so that a frame is met exactly once.
type pins struct {
	mu       sync.Mutex
	changed  *sync.Cond
	readers  int
	removing bool
}

// hold waits for a removal under way, and keeps the next from beginning until release is called.
func (p *pins) hold() (release func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.removing {
		p.wait()
	}
	p.readers++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.readers--
	}
}

func (p *pins) wait() {
	if p.changed == nil {
		p.changed = sync.NewCond(&p.mu)
	}
	p.changed.Wait()
}

// tryRemove begins a removal, unless somebody reads; removed ends it.
func (p *pins) tryRemove() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.readers > 0 {
		return false
	}
	p.removing = true
	return true
}

func (p *pins) removed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.removing = false
	if p.changed != nil {
		p.changed.Broadcast()
	}
}
