package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// The parts that bench starts of itself are found in the test's binary, too.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		if part, ok := parts[os.Args[1]]; ok {
			if err := part(os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		}
	}
	os.Exit(m.Run())
}

// BenchmarkSmallRead is row 6 for whoever works on the gateway: what one read of 1 KB costs the built gateway, with everything
// on, in CPU. It needs no peers, and counts nothing of the client and the upstream.
func BenchmarkSmallRead(b *testing.B) {
	dir := b.TempDir()
	binary := filepath.Join(dir, "gatebook")
	if out, err := exec.Command("go", "build", "-trimpath", "-o", binary, "../cmd/gatebook").CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	f, err := newField(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer f.close()
	target, err := toUpstream(dir, f.address)
	if err != nil {
		b.Fatal(err)
	}
	for _, p := range []struct{ name, policy string }{{"default", ""}, {"one rule", allowAll}} {
		b.Run(p.name, func(b *testing.B) {
			// The benchmark is run again with more turns: each time with a folder of its own.
			gw, err := newGateway(binary, b.TempDir(), "gw", p.policy, target)
			if err != nil {
				b.Fatal(err)
			}
			defer gw.stop()
			readMany(b, gw)
		})
	}
}

func readMany(b *testing.B, gw *gateway) {
	c, err := gw.contestant(gw.name)
	if err != nil {
		b.Fatal(err)
	}
	read := func(n int) error {
		client := c.client()
		defer client.CloseIdleConnections()
		for range n {
			if _, _, err := c.get(b.Context(), client, smallPath); err != nil {
				return err
			}
		}
		return nil
	}
	if err := read(500); err != nil { // caches, heap
		b.Fatal(err)
	}
	c.quiet(b.Context())
	before := c.cpu()
	b.ResetTimer()
	const clients = 16
	var wg sync.WaitGroup
	errs := make([]error, clients)
	for i := range clients {
		wg.Go(func() { errs[i] = read((b.N + i) / clients) })
	}
	wg.Wait()
	b.StopTimer()
	for _, err := range errs {
		if err != nil {
			b.Fatal(err)
		}
	}
	c.quiet(b.Context())
	b.ReportMetric(float64((c.cpu()-before).Microseconds())/float64(b.N), "cpu-µs/op")
}
