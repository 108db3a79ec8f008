package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// allowAllSQL is the least policy there is for a database.
const allowAllSQL = "masking: [secrets, known]\nrules:\n  - {id: all, protocol: postgres, effect: allow, reason: everything}\n"

// maskEmail is the default pack's way with reads, and one column that is masked in them.
const maskEmail = `masking: [secrets, known]
masks:
  - {name: personal, paths: [people.email]}
rules:
  - {id: connect, protocol: postgres, effect: allow, verbs: [connect, cancel, prepare], reason: connecting is allowed}
  - {id: read, protocol: postgres, effect: allow, verbs: [execute], when: sql.effect == "read", masks: [personal], reason: reading is allowed}
`

// sqlRowsOf are rows 1, 2, 3, 10 and 11 as far as they are about databases.
func sqlRowsOf(ctx context.Context, o options, rep *report) error {
	has := func(row string) bool { return slices.Contains(o.Rows, row) }
	if has("10") {
		if err := verdictRow(rep); err != nil {
			return err
		}
	}
	f, err := newSQLField(ctx, o.Dir)
	if f != nil {
		defer f.close()
	}
	if err != nil {
		return err
	}
	if err := f.addPeers(); err != nil {
		return err
	}
	for _, g := range []struct{ name, folder, policy string }{{"gatebook", "sql-default", ""}, {"gatebook by one rule", "sql-one-rule", allowAllSQL}, {"gatebook, one column masked", "sql-mask", maskEmail}} {
		if err := f.addGateway(o, g.name, g.folder, g.policy); err != nil {
			return err
		}
	}
	for _, row := range []struct {
		names []string
		run   func(context.Context, options, *sqlField, *report) error
	}{{[]string{"1", "10"}, smallQueries}, {[]string{"2"}, oneQuery}, {[]string{"3"}, rowStream}, {[]string{"11"}, idleSessions}} {
		if slices.ContainsFunc(row.names, has) {
			if err := row.run(ctx, o, f, rep); err != nil {
				return err
			}
		}
	}
	return nil
}

// pick gives the ways of these names, in their order; -only narrows them.
func (f *sqlField) pick(o options, names ...string) []sqlWay {
	var out []sqlWay
	for _, n := range names {
		for _, w := range f.ways {
			if strings.HasPrefix(w.name, n) && (n != "gatebook" || w.name == n) && (len(o.Only) == 0 || slices.Contains(o.Only, w.name)) {
				out = append(out, w)
			}
		}
	}
	return out
}

// outputIn runs a command with more in its environment.
func outputIn(ctx context.Context, env []string, argv ...string) (string, error) {
	return output(ctx, append(append([]string{"env"}, env...), argv...)...)
}

var processed = regexp.MustCompile(`number of transactions actually processed: (\d+)`)

// pgbench runs one round of SELECTs by key, and gives how many there were.
func (w *sqlWay) pgbench(ctx context.Context, protocol string, clients, seconds int, more ...string) (float64, error) {
	argv := append([]string{"pgbench", "-n", "-S", "-M", protocol, "-c", strconv.Itoa(clients), "-j", "1", "-T", strconv.Itoa(seconds)}, more...)
	out, err := outputIn(ctx, w.env, argv...)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", w.name, err)
	}
	m := processed.FindStringSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("%s: pgbench said %q", w.name, out)
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if err == nil && n == 0 {
		err = errors.New("no transaction came to its end")
	}
	return n, err
}

// smallQueries are row 1, and row 10 with the simple protocol.
func smallQueries(ctx context.Context, o options, f *sqlField, rep *report) error {
	type work struct {
		w        sqlWay
		protocol string
	}
	var all []work
	for _, w := range f.pick(o, "haproxy", "pgbouncer", "gatebook") {
		all = append(all, work{w, "prepared"})
	}
	for _, w := range f.pick(o, "gatebook", "gatebook by one rule") {
		all = append(all, work{w, "simple"})
	}
	cpu, rate := make([]series, len(all)), make([]series, len(all))
	run := func(i, seconds int) (perQuery, perSecond float64, err error) {
		w := all[i].w
		before := w.cpu()
		n, err := w.pgbench(ctx, all[i].protocol, 16, seconds)
		if err == nil {
			err = w.settle(ctx)
		}
		return float64(w.cpu()-before) / 1e3 / max(1, n), n / float64(seconds), err
	}
	for i := range all { // connections, caches, heap
		if _, _, err := run(i, o.Seconds); err != nil {
			return err
		}
	}
	err := interleave(o.Rounds, len(all), func(_, i int) error {
		c, r, err := run(i, o.Seconds)
		cpu[i], rate[i] = append(cpu[i], c), append(rate[i], r)
		return err
	})
	if err != nil {
		return err
	}
	at := map[string]float64{}
	t := table{head: []string{"pgbench -S, 16 clients", "CPU per transaction, µs", "lowest–highest", "transactions/s"}}
	for i, x := range all {
		low, high := cpu[i].spread()
		name := x.w.name + ", -M " + x.protocol
		at[name] = cpu[i].median()
		t.add(name, "%.1f", cpu[i].median(), "%s", fmt.Sprintf("%.1f–%.1f", low, high), "%.0f", rate[i].median())
		progress("pgbench: %s %.1f µs", name, cpu[i].median())
	}
	rep.tables = append(rep.tables, t)
	own := at["gatebook, -M prepared"]
	rep.goal("1", "small query, 16 clients: CPU per transaction against haproxy, which passes TLS through", own/at["haproxy, TLS passed through, -M prepared"], atMost, 1.25)
	rep.goal("1", "the same against pgbouncer with TLS on both sides, as the gateway has it", own/at["pgbouncer, session pooling, TLS on both sides, -M prepared"], atMost, 1)
	rep.goal("10", "pgbench with the simple protocol: CPU by one rule against that with the default policy", at["gatebook by one rule, -M simple"]/at["gatebook, -M simple"], atLeast, 0.97)
	rep.note("Rows 1, 2 and 3: every client speaks TLS 1.3 and checks the certificate. Directly and through haproxy (mode tcp) that is one connection, encrypted by client and server; haproxy only moves its bytes. pgbouncer and the gateway end it and open another: twice the encryption and decryption, on their account. pgbouncer (session pooling: its version has no prepared statements in transaction pooling) does so too, once with TLS on both sides and once with TLS towards the client alone. The gateway has no way without TLS.")
	rep.note("Rows 1 and 10: each transaction is an operation: read, decided, recorded with its parameters and its rows, sealed, compressed and encrypted, in the ledger and in the index, all of which counts.")
	return nil
}

// oneQuery is row 2: the latency that one client sees.
func oneQuery(ctx context.Context, o options, f *sqlField, rep *report) error {
	all := f.pick(o, "direct", "haproxy", "pgbouncer", "gatebook")
	p50 := make([]series, len(all))
	logs, err := os.MkdirTemp(f.dir, "latency")
	if err != nil {
		return err
	}
	n := 0
	err = interleave(o.Rounds, len(all), func(_, i int) error {
		n++
		prefix := filepath.Join(logs, strconv.Itoa(n))
		if _, err := all[i].pgbench(ctx, "prepared", 1, o.Seconds, "--log", "--log-prefix="+prefix); err != nil {
			return err
		}
		took, err := latencies(prefix)
		p50[i] = append(p50[i], quantile(took, 0.5))
		return errors.Join(err, all[i].settle(ctx))
	})
	if err != nil {
		return err
	}
	at := map[string]float64{}
	t := table{head: []string{"pgbench -S -M prepared, one client", "p50, µs", "lowest–highest", "added to direct, µs"}}
	for i, w := range all {
		low, high := p50[i].spread()
		at[w.name] = p50[i].median()
		t.add(w.name, "%.0f", p50[i].median(), "%s", fmt.Sprintf("%.0f–%.0f", low, high), "%.0f", p50[i].median()-at["direct"])
		progress("one client: %s %.0f µs", w.name, p50[i].median())
	}
	rep.tables = append(rep.tables, t)
	rep.goal("2", "added median latency at one client, against haproxy's", (at["gatebook"]-at["direct"])/(at["haproxy, TLS passed through"]-at["direct"]), atMost, 1.15)
	return nil
}

// latencies reads pgbench's log of each transaction: its third field is the time taken, in µs.
func latencies(prefix string) ([]float64, error) {
	files, err := filepath.Glob(prefix + ".*")
	if err != nil || len(files) == 0 {
		return nil, errors.Join(err, errors.New("pgbench wrote no log"))
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		return nil, err
	}
	var out []float64
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 3 {
			continue
		}
		v, err := strconv.ParseFloat(f[2], 64)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, os.Remove(files[0])
}

// idleSessions is row 11 as far as it is about databases: what a connection holds that is logged in and has run one statement.
func idleSessions(ctx context.Context, o options, f *sqlField, rep *report) error {
	gw := f.pick(o, "gatebook")
	if len(gw) == 0 {
		return nil
	}
	w := gw[0]
	n := min(o.Idle, sqlConnections)
	var open []*sqlClient
	defer func() {
		for _, c := range open {
			c.close()
		}
	}()
	connect := func(n int) error {
		for range n {
			c, err := w.dial(ctx)
			if err != nil {
				return err
			}
			open = append(open, c)
			if _, err := c.query("SELECT abalance FROM pgbench_accounts WHERE aid = 1"); err != nil {
				return err
			}
		}
		return nil
	}
	settled := func() (int64, error) {
		if err := w.settle(ctx); err != nil {
			return 0, err
		}
		time.Sleep(time.Duration(o.Seconds) * time.Second)
		return w.process.memory("VmRSS")
	}
	const warm = 20
	if err := connect(warm); err != nil {
		return err
	}
	before, err := settled()
	if err != nil {
		return err
	}
	if err := connect(n); err != nil {
		return err
	}
	after, err := settled()
	if err != nil {
		return err
	}
	rep.goalIn("KiB", "11", fmt.Sprintf("memory per idle PostgreSQL connection (TLS on both sides), %d of them, each after one statement", n), float64(after-before)/float64(n)/1024, atMost, 100)
	rep.note("Row 11, PostgreSQL: VmRSS went from %d to %d MiB. PostgreSQL has a process per connection, so that there are %d, not 10,000.", before>>20, after>>20, n)
	return nil
}
