package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"time"
)

// report gathers what was measured.
type report struct {
	o      options
	began  time.Time
	goals  []goal
	tables []table
	notes  []string
}

type direction bool

const (
	atMost  direction = false
	atLeast direction = true
)

type goal struct {
	row, what string
	ratio     float64
	direction direction
	limit     float64
	unit      string
}

func (g goal) met() bool {
	if g.direction == atLeast {
		return g.ratio >= g.limit
	}
	return g.ratio <= g.limit
}

// goal compares with a peer; without the peer there is nothing to say.
func (r *report) goal(row, what string, ratio float64, d direction, limit float64) {
	if math.IsNaN(ratio) || math.IsInf(ratio, 0) || ratio == 0 {
		return
	}
	r.goals = append(r.goals, goal{row: row, what: what, ratio: ratio, direction: d, limit: limit, unit: " ×"})
}

func (r *report) goalIn(unit, row, what string, v float64, d direction, limit float64) {
	r.goals = append(r.goals, goal{row: row, what: what, ratio: v, direction: d, limit: limit, unit: " " + unit})
}

func (r *report) note(format string, a ...any) { r.notes = append(r.notes, fmt.Sprintf(format, a...)) }

type table struct {
	head []string
	rows [][]string
}

// add takes a name and then pairs of a format and a value.
func (t *table) add(name string, pairs ...any) {
	row := []string{name}
	for i := 0; i+1 < len(pairs); i += 2 {
		format, _ := pairs[i].(string)
		row = append(row, fmt.Sprintf(format, pairs[i+1]))
	}
	t.rows = append(t.rows, row)
}

func (t table) write(b *bytes.Buffer) {
	fmt.Fprintf(b, "| %s |\n|---|%s\n", strings.Join(t.head, " | "), strings.Repeat("---:|", len(t.head)-1))
	for _, row := range t.rows {
		fmt.Fprintf(b, "| %s |\n", strings.Join(row, " | "))
	}
	b.WriteByte('\n')
}

func (r *report) write() error {
	var b bytes.Buffer
	b.WriteString("# Performance\n\nMade by `make bench`; do not edit.\n\n" + preface)
	fmt.Fprintf(&b, "\nMeasured %s, in %s: `%s` (%d rounds of %d s).\n\n%s\n", r.began.UTC().Format("2006-01-02 15:04 MST"), time.Since(r.began).Round(time.Second),
		r.command(), r.o.Rounds, r.o.Seconds, machine())
	b.WriteString("## Goals\n\n| row | work | measured | goal | |\n|---|---|---:|---:|---|\n")
	for _, g := range r.goals {
		sign, verdict := "≤", "met"
		if g.direction == atLeast {
			sign = "≥"
		}
		if !g.met() {
			verdict = "**short**"
		}
		fmt.Fprintf(&b, "| %s | %s | %s%s | %s %s%s | %s |\n", g.row, g.what, figure(g.ratio), g.unit, sign, figure(g.limit), g.unit, verdict)
	}
	b.WriteString("\n## Figures\n\n")
	for _, t := range r.tables {
		t.write(&b)
	}
	if len(r.notes) > 0 {
		b.WriteString("## Notes\n\n")
		for _, n := range r.notes {
			fmt.Fprintf(&b, "- %s\n", n)
		}
	}
	if r.o.Out == "-" {
		_, err := os.Stdout.Write(b.Bytes())
		return err
	}
	return os.WriteFile(r.o.Out, b.Bytes(), 0o644)
}

func (r *report) command() string {
	if c := os.Getenv("BENCH_COMMAND"); c != "" {
		return c
	}
	return "make bench"
}

// figure writes a number with three digits that count.
func figure(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 0.1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.4f", v)
}

const preface = `All contestants run on one host, in one run, each round in a random order; figures are medians over the rounds. CPU is
the scheduler's count of time on a processor (user and system) of all of a contestant's processes, from before a round
until it has nothing left to do: the gateway's includes recording, sealing and indexing. Wall-clock figures on a shared
machine are noisy; CPU is what counts.

The upstream of rows 1, 2 and 3, and of what else is about SQL, is PostgreSQL as Debian ships it, on this host. That of
rows 5, 6, 9, 10 and 11 is a local TLS server with fixed answers. It stands for the API server, so that
only what is in front of it differs. Every proxy verifies its certificate and speaks TLS 1.3 with AES-128-GCM on both
sides; only ` + "`kubectl proxy`" + ` has no TLS towards the client, so it does less than the others. The gateway is the built binary
with everything on: a signed token checked per request, the policy, masking, recording with its ledger; nginx and
haproxy only pass bytes on.
`

var model = regexp.MustCompile(`(?m)^model name\s*:\s*(.*)$`)

// machine says what it was measured on.
func machine() string {
	cpu := "unknown processor"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if m := model.FindSubmatch(b); m != nil {
			cpu = string(m[1])
		}
	}
	kernel := "unknown"
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		kernel = strings.TrimSpace(string(b))
	}
	load := ""
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		load = strings.Join(strings.Fields(string(b))[:3], " ")
	}
	return fmt.Sprintf("Machine: %d cores of %s, Linux %s, load at the end %s, shared with other work. %s. Peers: %s.\n",
		runtime.NumCPU(), cpu, kernel, load, runtime.Version(), strings.Join(versions(), ", "))
}

func versions() []string {
	var out []string
	for _, v := range []struct {
		argv []string
		re   *regexp.Regexp
	}{
		{[]string{"nginx", "-v"}, regexp.MustCompile(`nginx/[\d.]+`)},
		{[]string{"haproxy", "-v"}, regexp.MustCompile(`HAProxy version [\d.]+`)},
		{[]string{"pgbouncer", "--version"}, regexp.MustCompile(`PgBouncer [\d.]+`)},
		{[]string{"pgbench", "--version"}, regexp.MustCompile(`PostgreSQL\) [\d.]+`)},
		{[]string{kubectl(), "version", "--client"}, regexp.MustCompile(`Client Version: v[\w.+-]+`)},
		{[]string{"wrk", "-v"}, regexp.MustCompile(`wrk [\w/.+-]+`)},
	} {
		b, _ := exec.Command(v.argv[0], v.argv[1:]...).CombinedOutput() // wrk -v exits with 1
		if m := v.re.Find(b); m != nil {
			out = append(out, strings.NewReplacer("Client Version:", "kubectl", "PostgreSQL)", "PostgreSQL").Replace(string(m)))
		}
	}
	return out
}
