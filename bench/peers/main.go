// Command peers appends entries to a log on Tessera's POSIX storage, the peer of Gatebook's ledger. It is a module of
// its own, so that what Tessera needs never meets what Gatebook needs.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	dir := flag.String("dir", "", "folder of the log")
	count := flag.Int("entries", 50_000, "entries to append")
	size := flag.Int("bytes", 200, "size of an entry")
	batch := flag.Uint("batch", 1024, "entries that are made durable together")
	flag.Parse()
	private, _, err := note.GenerateKey(rand.Reader, "bench")
	if err != nil {
		return err
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		return err
	}
	driver, err := posix.New(ctx, posix.Config{Path: *dir})
	if err != nil {
		return err
	}
	log, shutdown, _, err := tessera.NewAppender(ctx, driver, tessera.NewAppendOptions().WithCheckpointSigner(signer).
		WithBatching(*batch, 50*time.Millisecond).WithCheckpointInterval(time.Second).WithPushback(4*(*batch)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, shutdown(ctx)) }()
	began, cpu := time.Now(), used()
	if err := appendAll(ctx, log, *count, *size, int(*batch)); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]float64{
		"cpuMicros": (used() - cpu).Seconds() * 1e6 / float64(*count), "perSecond": float64(*count) / time.Since(began).Seconds()})
}

// appendAll keeps two batches under way, and returns when every entry is durable: integrated into the tree on disk.
func appendAll(ctx context.Context, log *tessera.Appender, count, size, batch int) error {
	var waiting []tessera.IndexFuture
	settle := func(n int) error {
		for _, f := range waiting[:n] {
			if _, err := f(); err != nil {
				return err
			}
		}
		waiting = waiting[n:]
		return nil
	}
	for i := range count {
		entry := make([]byte, size)
		copy(entry, fmt.Sprintf("entry %d", i))
		waiting = append(waiting, log.Add(ctx, tessera.NewEntry(entry)))
		if len(waiting) == 2*batch {
			if err := settle(batch); err != nil {
				return err
			}
		}
	}
	return settle(len(waiting))
}

func used() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
