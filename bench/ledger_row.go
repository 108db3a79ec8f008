package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"gatebook/internal/ledger"

	"golang.org/x/mod/sumdb/note"
)

const ledgerEntries = 131_072

// ledgerBatches are how many entries are made durable at once: some, and as many as the gateway seals at once when it is busy.
var ledgerBatches = []int{1024, 16384}

// appendLedger is the gateway's own log, in a process of its own, as bench/peers is Tessera's.
func appendLedger(args []string) error {
	f := flag.NewFlagSet("ledger", flag.ExitOnError)
	dir, count, size, batch := f.String("dir", "", ""), f.Int("entries", 0, ""), f.Int("bytes", 200, ""), f.Int("batch", 0, "")
	if err := f.Parse(args); err != nil {
		return err
	}
	private, _, err := ledger.NewKey("bench")
	if err != nil {
		return err
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		return err
	}
	l, err := ledger.Open(*dir, ledger.Options{Signer: signer})
	if err != nil {
		return err
	}
	began, before := time.Now(), usedCPU()
	for i := 0; i < *count; {
		var entries [][]byte
		for ; i < *count && len(entries) < *batch; i++ {
			entry := make([]byte, *size)
			copy(entry, fmt.Sprintf("entry %d", i))
			entries = append(entries, entry)
		}
		if _, err := l.Append(entries...); err != nil {
			return err
		}
		if _, err := l.Checkpoint(); err != nil {
			return err
		}
	}
	if err := l.Close(); err != nil { // brings the tiles to disk as well
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]float64{
		"cpuMicros": (usedCPU() - before).Seconds() * 1e6 / float64(*count), "perSecond": float64(*count) / time.Since(began).Seconds()})
}

func usedCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// ledgerRow is row 8: entries of 200 bytes, made durable in batches of the same size by both.
func ledgerRow(ctx context.Context, o options, rep *report) error {
	if o.Peers == "" {
		rep.note("Row 8 was left out: the peer on Tessera was not built.")
		return nil
	}
	for _, batch := range ledgerBatches {
		if err := ledgerBatch(ctx, o, rep, batch); err != nil {
			return err
		}
	}
	return nil
}

func ledgerBatch(ctx context.Context, o options, rep *report, batch int) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	argv := [][]string{{exe, "ledger"}, {o.Peers}}
	cpu, rate := make([]series, 2), make([]series, 2)
	err = interleave(o.Rounds, 2, func(round, i int) error {
		dir := filepath.Join(o.Dir, fmt.Sprintf("log-%d-%d", i, round))
		defer os.RemoveAll(dir)
		out, err := output(ctx, append(argv[i], "-dir", dir, "-entries", fmt.Sprint(ledgerEntries), "-batch", fmt.Sprint(batch))...)
		if err != nil {
			return err
		}
		var v struct{ CPUMicros, PerSecond float64 }
		if err := json.Unmarshal([]byte(out), &v); err != nil {
			return fmt.Errorf("%q: %w", out, err)
		}
		cpu[i], rate[i] = append(cpu[i], v.CPUMicros), append(rate[i], v.PerSecond)
		return nil
	})
	if err != nil {
		return err
	}
	t := table{head: []string{fmt.Sprintf("%d entries of 200 B, durable by %d", ledgerEntries, batch), "CPU per entry, µs", "lowest–highest", "durable entries/s"}}
	for i, name := range []string{"gatebook's ledger", "Tessera POSIX"} {
		low, high := cpu[i].spread()
		t.add(name, "%.2f", cpu[i].median(), "%s", fmt.Sprintf("%.2f–%.2f", low, high), "%.0f", rate[i].median())
	}
	rep.tables = append(rep.tables, t)
	rep.goal("8", fmt.Sprintf("tamper-evident append, durable by %d: CPU per entry against Tessera POSIX", batch), cpu[0].median()/cpu[1].median(), atMost, 1.0/15)
	rep.goal("8", fmt.Sprintf("durable entries per second, by %d, against Tessera POSIX", batch), rate[0].median()/rate[1].median(), atLeast, 10)
	return nil
}
