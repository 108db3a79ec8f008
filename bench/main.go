// Command bench measures Gatebook beside its peers: on one host, in one run, in random order, and writes what it found
// as a page. Everything it starts ends with it, by its own pid. See docs/reference/performance.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options of one run.
type options struct {
	Rounds   int
	Seconds  int
	Rows     []string
	Out      string
	Gatebook string
	Peers    string
	Gitleaks string
	StreamGB float64
	Idle     int
	// Only are the contestants of rows 1, 2, 3, 5, 6 and 10; empty: all.
	Only []string
	// Dir is for scratch, on the disk that is measured.
	Dir string
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) > 1 {
		if part, ok := parts[os.Args[1]]; ok {
			return part(os.Args[2:])
		}
	}
	o := options{}
	var rows, only string
	flag.IntVar(&o.Rounds, "rounds", 5, "rounds")
	flag.IntVar(&o.Seconds, "seconds", 5, "length of a round, in seconds")
	flag.StringVar(&rows, "rows", "1,2,3,4,5,6,7,8,9,10,11,cluster", "rows of the goals to measure; cluster: the latency in front of a real API server")
	flag.StringVar(&o.Out, "out", "docs/reference/performance.md", "page to write; - for the terminal")
	flag.StringVar(&o.Gatebook, "gatebook", "bin/gatebook", "the gateway's binary")
	flag.StringVar(&o.Peers, "peers", "", "binary of bench/peers, a log on Tessera; empty: row 8 is left out")
	flag.StringVar(&o.Gitleaks, "gitleaks", "", "binary of tools/gitleaks; empty: row 7 is left out")
	flag.Float64Var(&o.StreamGB, "stream-gb", 10, "length of the stream of row 11, in GB")
	flag.IntVar(&o.Idle, "idle", 10000, "idle connections of row 11")
	flag.StringVar(&only, "only", "", "contestants of rows 1, 2, 3, 5, 6 and 10, such as nginx,gatebook, to look closely at some; what compares with others is left out")
	flag.Parse()
	if only != "" {
		o.Only = strings.Split(only, ",")
	}
	o.Rows = strings.Split(rows, ",")
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp("", "gbbench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	o.Dir = dir
	return measure(ctx, o)
}

// parts are what bench starts of itself, each as a process of its own, so that its CPU time is its own.
var parts = map[string]func(args []string) error{
	"upstream": serveUpstream,
	"goproxy":  serveGoProxy,
	"ledger":   appendLedger,
	"held":     maskHeld,
	"detect":   searchFile,
}

func measure(ctx context.Context, o options) error {
	rep := &report{o: o, began: time.Now()}
	for _, row := range []struct {
		names []string
		run   func(context.Context, options, *report) error
	}{
		{[]string{"1", "2", "3", "10", "11"}, sqlRowsOf},
		{[]string{"4"}, maskRow},
		{[]string{"7"}, detectRow},
		{[]string{"8"}, ledgerRow},
		{[]string{"5", "6", "10"}, proxyRows},
		{[]string{"9"}, durableRow},
		{[]string{"11"}, memoryRow},
		{[]string{"cluster"}, clusterRow},
	} {
		if !slices.ContainsFunc(row.names, func(n string) bool { return slices.Contains(o.Rows, n) }) {
			continue
		}
		progress("rows %s", strings.Join(row.names, ", "))
		if err := row.run(ctx, o, rep); err != nil {
			return fmt.Errorf("rows %s: %w", strings.Join(row.names, ", "), err)
		}
	}
	return rep.write()
}

func progress(format string, a ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", a...)
}
