package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	wire "gatebook/internal/wire/postgres"
)

// sqlClient is a connection that reads as fast as it can: it counts the bytes of answers and looks at nothing else.
type sqlClient struct {
	h *pgconn.HijackedConn
	r *wire.Reader
}

func (w *sqlWay) dial(ctx context.Context) (*sqlClient, error) {
	var dsn []string
	for _, v := range w.env {
		name, value, _ := strings.Cut(v, "=")
		if key, ok := map[string]string{"PGHOST": "host", "PGPORT": "port", "PGDATABASE": "dbname", "PGSSLMODE": "sslmode", "PGSSLROOTCERT": "sslrootcert", "PGUSER": "user", "PGPASSWORD": "password"}[name]; ok {
			dsn = append(dsn, key+"="+value)
		}
	}
	c, err := pgconn.Connect(ctx, strings.Join(dsn, " "))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", w.name, err)
	}
	h, err := c.Hijack()
	if err != nil {
		return nil, err
	}
	return &sqlClient{h: h, r: wire.NewReader(h.Conn, 64<<20)}, nil
}

func (c *sqlClient) close() { _ = c.h.Conn.Close() }

// query runs a statement, and gives how many bytes answered it.
func (c *sqlClient) query(text string) (int64, error) {
	var b wire.Builder
	b.Begin(wire.Query).Text(text).End()
	if _, err := c.h.Conn.Write(b.Bytes); err != nil {
		return 0, err
	}
	var n int64
	for {
		m, err := c.r.Next()
		if err != nil {
			return n, err
		}
		n += int64(len(m.Raw))
		switch m.Type {
		case wire.ErrorResponse:
			return n, fmt.Errorf("the server says %q", m.Body)
		case wire.ReadyForQuery:
			return n, nil
		}
	}
}

// rowStream is row 3: a million rows, one column of which the gateway masks.
func rowStream(ctx context.Context, o options, f *sqlField, rep *report) error {
	all := f.pick(o, "direct", "haproxy", "pgbouncer", "gatebook", "gatebook, one column masked")
	const text = "SELECT id, name, email, note FROM people"
	cpu, rate, size := make([]series, len(all)), make([]series, len(all)), make([]int64, len(all))
	run := func(i int) (perGB, perSecond float64, err error) {
		w := all[i]
		c, err := w.dial(ctx)
		if err != nil {
			return 0, 0, err
		}
		before, began := w.cpu(), time.Now()
		size[i], err = c.query(text)
		took := time.Since(began)
		c.close()
		if err == nil {
			err = w.settle(ctx)
		}
		return (w.cpu() - before).Seconds() / float64(size[0]) * 1e9, float64(size[0]) / 1e6 / took.Seconds(), err
	}
	for i := range all {
		if _, _, err := run(i); err != nil {
			return err
		}
	}
	if err := interleave(o.Rounds, len(all), func(_, i int) error {
		c, r, err := run(i)
		cpu[i], rate[i] = append(cpu[i], c), append(rate[i], r)
		return err
	}); err != nil {
		return err
	}
	at, fast := map[string]float64{}, map[string]float64{}
	t := table{head: []string{fmt.Sprintf("%d rows, %d MB as the server sends them", sqlRows, size[0]/1e6), "CPU seconds per GB", "lowest–highest", "MB/s"}}
	for i, w := range all {
		low, high := cpu[i].spread()
		at[w.name], fast[w.name] = cpu[i].median(), rate[i].median()
		t.add(w.name, "%.2f", cpu[i].median(), "%s", fmt.Sprintf("%.2f–%.2f", low, high), "%.0f", rate[i].median())
		progress("rows: %s %.2f s/GB, %.0f MB/s", w.name, cpu[i].median(), rate[i].median())
	}
	rep.tables = append(rep.tables, t)
	const masked = "gatebook, one column masked"
	rep.goal("3", "row stream, one column masked, recorded, compressed: CPU per GB against haproxy", at[masked]/at["haproxy, TLS passed through"], atMost, 2.2)
	rep.goal("3", "its rate against direct", fast[masked]/fast["direct"], atLeast, 0.9)
	rep.note("Row 3: client, server and proxies share the machine's cores, so that rates fall with each proxy's CPU. The gateway's counts its recording: written, hashed, then compressed and encrypted for the archive.")
	return nil
}
