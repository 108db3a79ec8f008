package terminal

import (
	"context"
	"fmt"
	"io"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/recording"
)

// Player replays terminal output. Its fields are set before the first event. It is for one goroutine.
type Player struct {
	Out io.Writer
	// Speed divides every pause: 2 is twice as fast. 0 or less: no pauses at all.
	Speed float64
	// MaxIdle bounds a pause, before Speed divides it. 0: no bound.
	MaxIdle time.Duration
	// Operation, where set, is the only one that is replayed.
	Operation access.OperationID
	// Input also shows what the client sent, for commands without a terminal, whose input is not echoed.
	Input bool
	// Wait is how pauses are made; where nil, by waiting.
	Wait func(ctx context.Context, d time.Duration) error

	last    time.Time
	filters map[filterKey]*Neutraliser
	buf     []byte
}

// filterKey is one stream of one operation: each has its own unfinished characters.
type filterKey struct {
	operation access.OperationID
	stream    recording.Stream
	direction recording.Direction
}

// Play shows one event, after the pause that was before it. Events that show nothing cost no time of their own.
func (p *Player) Play(ctx context.Context, e recording.Event) error {
	if e.Kind != recording.KindStream || p.Operation != "" && e.Operation != p.Operation || !p.shows(e) {
		return nil
	}
	if err := p.pause(ctx, e.At); err != nil {
		return err
	}
	p.buf = p.filter(e).Append(p.buf[:0], e.Data)
	return p.write()
}

func (p *Player) shows(e recording.Event) bool {
	switch e.Stream {
	case recording.Stdout, recording.Stderr:
		return e.Direction == recording.ToClient
	case recording.Stdin:
		return p.Input && e.Direction == recording.FromClient
	}
	return false
}

// Close takes the terminal back to its usual state.
func (p *Player) Close() error {
	p.buf = p.buf[:0]
	for _, f := range p.filters {
		p.buf = f.Restore(f.Flush(p.buf))
	}
	return p.write()
}

func (p *Player) write() error {
	if _, err := p.Out.Write(p.buf); err != nil {
		return fmt.Errorf("replaying: %w", err)
	}
	return nil
}

func (p *Player) filter(e recording.Event) *Neutraliser {
	if p.filters == nil {
		p.filters = map[filterKey]*Neutraliser{}
	}
	k := filterKey{e.Operation, e.Stream, e.Direction}
	if p.filters[k] == nil {
		p.filters[k] = &Neutraliser{}
	}
	return p.filters[k]
}

func (p *Player) pause(ctx context.Context, at time.Time) error {
	d := at.Sub(p.last)
	first := p.last.IsZero()
	p.last = at
	if err := ctx.Err(); err != nil || first || p.Speed <= 0 || d <= 0 {
		return err
	}
	if p.MaxIdle > 0 {
		d = min(d, p.MaxIdle)
	}
	d = time.Duration(float64(d) / p.Speed)
	if p.Wait != nil {
		return p.Wait(ctx, d)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
