package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"gatebook/internal/journal"
)

const frameBytes = 200

// appends is what one round of appending gave.
type appends struct{ perSecond, p50 float64 } // p50 in ms

// durableRow is row 9: changes that are on disk before they go on. The measure is one write and one fdatasync per
// append, on the same disk.
func durableRow(ctx context.Context, o options, rep *report) error {
	f, err := newField(o.Dir)
	if err != nil {
		return err
	}
	defer f.close()
	target, err := toUpstream(f.dir, f.address)
	if err != nil {
		return err
	}
	gw, err := newGateway(o.Gatebook, o.Dir, "durable", allowAll, target)
	if err != nil {
		return err
	}
	defer func() { gw.stop() }()
	token, err := gw.sign("agent")
	if err != nil {
		return err
	}
	length := time.Duration(o.Seconds) * time.Second
	throughGateway := func(n int) func() (appends, error) {
		w := newWriters(gw, token, n)
		return func() (appends, error) { return w.run(ctx, length) }
	}
	cases := []struct {
		name string
		run  func() (appends, error)
	}{
		{"one fdatasync per append", func() (appends, error) { return syncEach(o.Dir, length) }},
		{"the journal, 64 waiters", func() (appends, error) { return syncTogether(o.Dir, 64, length) }},
		{"the journal, 1,024 waiters", func() (appends, error) { return syncTogether(o.Dir, 1024, length) }},
		{"through the gateway, 64 clients", throughGateway(64)},
		{"through the gateway, 1,024 clients", throughGateway(1024)},
	}
	rate, p50 := make([]series, len(cases)), make([]series, len(cases))
	err = interleave(o.Rounds, len(cases), func(round, i int) error {
		a, err := cases[i].run()
		rate[i], p50[i] = append(rate[i], a.perSecond), append(p50[i], a.p50)
		return err
	})
	if err != nil {
		return err
	}
	t := table{head: []string{"durable before forward", "per second", "p50, ms", "× one fdatasync per append"}}
	for i, c := range cases {
		t.add(c.name, "%.0f", rate[i].median(), "%.2f", p50[i].median(), "%.1f", rate[i].median()/rate[0].median())
	}
	rep.tables = append(rep.tables, t)
	rep.goal("9", "64 waiters of the journal against one fdatasync per append, rate", rate[1].median()/rate[0].median(), atLeast, 12)
	rep.goal("9", "1,024 waiters of the journal, rate", rate[2].median()/rate[0].median(), atLeast, 100)
	rep.goal("9", "64 waiters of the journal, median wait", p50[1].median()/p50[0].median(), atMost, 5)
	rep.goal("9", "64 clients through the gateway, each change a request over TLS, rate", rate[3].median()/rate[0].median(), atLeast, 12)
	rep.goal("9", "1,024 clients through the gateway, rate", rate[4].median()/rate[0].median(), atLeast, 100)
	rep.note("Row 9 through the gateway costs two TLS connections, policy and masks per change besides the journal; the load generator and the upstream run on the same cores.")
	return killed(ctx, o, rep, gw, token)
}

// syncEach is the measure: one write and one fdatasync at a time.
func syncEach(dir string, d time.Duration) (appends, error) {
	file, err := os.Create(filepath.Join(dir, "baseline"))
	if err != nil {
		return appends{}, err
	}
	defer file.Close()
	frame := make([]byte, frameBytes)
	var took []time.Duration
	began := time.Now()
	for time.Since(began) < d {
		at := time.Now()
		if _, err := file.Write(frame); err != nil {
			return appends{}, err
		}
		if err := syscall.Fdatasync(int(file.Fd())); err != nil {
			return appends{}, err
		}
		took = append(took, time.Since(at))
	}
	return summed(took, time.Since(began)), nil
}

// syncTogether is the gateway's journal with n waiters.
func syncTogether(dir string, n int, d time.Duration) (a appends, err error) {
	folder, err := os.MkdirTemp(dir, "journal")
	if err != nil {
		return a, err
	}
	defer os.RemoveAll(folder)
	j, err := journal.Open(folder, journal.Options{})
	if err != nil {
		return a, err
	}
	defer j.Close()
	return together(n, d, func(int) error { return j.Append(journal.Synced, make([]byte, frameBytes)) })
}

// together lets n waiters do fn again and again for d.
func together(n int, d time.Duration, fn func(waiter int) error) (appends, error) {
	took, errs := make([][]time.Duration, n), make([]error, n)
	var wg sync.WaitGroup
	began := time.Now()
	for i := range n {
		wg.Go(func() {
			for time.Since(began) < d && errs[i] == nil {
				at := time.Now()
				errs[i] = fn(i)
				took[i] = append(took[i], time.Since(at))
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return appends{}, fmt.Errorf("a waiter failed: %w", err)
		}
	}
	return summed(slices.Concat(took...), time.Since(began)), nil
}

func summed(took []time.Duration, d time.Duration) appends {
	return appends{float64(len(took)) / d.Seconds(), float64(quantile(took, 0.5)) / float64(time.Millisecond)}
}
