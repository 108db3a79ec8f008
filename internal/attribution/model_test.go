package attribution

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"gatebook/internal/access"
)

// slow is the rules of docs/design/attribution.md as they read, with everything kept and looked through each time.
type slow struct {
	calls  []*slowCall
	owners map[string]string // trace id → who
	spans  map[string]*slowCall
}

type slowCall struct {
	id, who, conversation, turn, trace, shell string
	open                                      bool
	ended                                     bool
	n                                         int
}

// goes is how the shells of the test go with its operations.
var goes = map[string]map[string]fit{
	"kubectl get pods":      {"pods": fits},
	"kubectl get pods -n a": {"pods": fits},
	"git push":              {"push": fits},
	"./x":                   {"pods": may, "push": may},
	"ls":                    {},
	"kubectl get pods &":    {"pods": fits},
	"./x &":                 {"pods": may, "push": may},
	"sh x &":                {"pods": may, "push": may},
}

func (m *slow) asked(who, conversation, trace, result string) {
	if id := parseTrace(trace).id; id != "" && m.owners[id] == "" {
		m.owners[id] = who
	}
	for _, e := range m.calls {
		if e.who != who || e.id != result {
			continue
		}
		for _, c := range m.calls {
			if c.who == who && (c.turn == e.turn || c.conversation == e.conversation && c.n < e.n && c.turn != e.turn) {
				c.open, c.ended = false, true
			}
		}
	}
}

func (m *slow) expect(who, op, raw string) (access.Rung, []string, int) {
	t := parseTrace(raw)
	in := func(c *slowCall) bool { return c.who == who && c.open }
	jobs := func(c *slowCall) bool {
		return c.who == who && c.ended && strings.HasSuffix(c.shell, " &")
	}
	if t.id != "" && m.owners[t.id] != "" && m.owners[t.id] != who {
		return access.Unattributed, nil, 1
	}
	if t.id != "" {
		if c := m.spans[who+t.id+t.span]; c != nil {
			if c.open && goes[c.shell][op] != cannot {
				return access.Bound, []string{c.id}, 0
			}
			return access.Unattributed, nil, 1
		}
	}
	if t.id != "" && m.owners[t.id] != "" {
		open, left := in, jobs
		in = func(c *slowCall) bool { return open(c) && c.trace == t.id }
		jobs = func(c *slowCall) bool { return left(c) && c.trace == t.id }
		if !slices.ContainsFunc(m.calls, in) {
			return access.Unattributed, nil, 1
		}
	}
	var fit, maybe, left []string
	for _, c := range m.calls {
		switch {
		case in(c) && goes[c.shell][op] == fits:
			fit = append(fit, c.id)
		case in(c) && goes[c.shell][op] == may:
			maybe = append(maybe, c.id)
		case jobs(c) && (goes[c.shell][op] == fits || goes[c.shell][op] == may && m.windowed(in, op)):
			left = append(left, c.id)
		}
	}
	rung, calls := access.Unattributed, fit
	switch {
	case len(fit) == 1 && t.id != "" && m.owners[t.id] != "":
		rung = access.Bound
	case len(fit) == 1:
		rung = access.Matched
	case len(fit) > 1:
		rung = access.Ambiguous
	case len(maybe) > 0:
		rung, calls = access.Windowed, maybe
		if len(maybe) > 1 {
			rung = access.Ambiguous
		}
	}
	if len(calls) > 0 && len(left) > 0 {
		rung, calls = access.Ambiguous, append(calls, left...)
	}
	return rung, calls, 0
}

// windowed reports whether just one call may have caused it, and none fits.
func (m *slow) windowed(in func(*slowCall) bool, op string) bool {
	n := 0
	for _, c := range m.calls {
		if in(c) && goes[c.shell][op] == fits {
			return false
		}
		if in(c) && goes[c.shell][op] == may {
			n++
		}
	}
	return n == 1
}

// Whatever happens, in whatever order, to pods and to a principal with two conversations: the answer is that of the rules.
func TestAsTheRulesRead(t *testing.T) {
	actors := []struct {
		session access.SessionID
		by      access.Principal
		who     string
		conv    string
	}{
		{"s", pod, "s", "x"}, {"s", pod, "s", "y"}, {"t", pod, "t", "x"},
		{"one", access.Principal{Issuer: "i", Subject: "ada"}, "ada", "one"}, {"two", access.Principal{Issuer: "i", Subject: "ada"}, "ada", "two"},
	}
	operations := map[string]func() *access.Operation{"pods": func() *access.Operation { return kube("list", "pods", "a", "") }, "push": func() *access.Operation { return push("refs/heads/x") }}
	rapid.Check(t, func(r *rapid.T) {
		w, m := newWorld(t), &slow{owners: map[string]string{}, spans: map[string]*slowCall{}}
		for range rapid.IntRange(1, 60).Draw(r, "steps") {
			a := rapid.SampledFrom(actors).Draw(r, "actor")
			raw := rapid.SampledFrom([]string{"", "", traceA, traceB, traceC}).Draw(r, "trace")
			w.by, w.conversation = a.by, a.conv
			switch rapid.IntRange(0, 3).Draw(r, "what") {
			case 0, 1:
				var results, calls []string
				if mine := slices.DeleteFunc(slices.Clone(m.calls), func(c *slowCall) bool { return !c.open || c.who != a.who || c.conversation != a.conv }); len(mine) > 0 && rapid.Bool().Draw(r, "result") {
					results = []string{rapid.SampledFrom(mine).Draw(r, "of").id}
				}
				m.asked(a.who, a.conv, raw, slices.Concat(results, []string{""})[0])
				turn := fmt.Sprint("t", len(m.calls))
				for range rapid.IntRange(0, 2).Draw(r, "calls") {
					n := len(m.calls)
					c := &slowCall{id: fmt.Sprint("c", n), who: a.who, conversation: a.conv, turn: turn, trace: parseTrace(raw).id, shell: rapid.SampledFrom(slices.Sorted(maps.Keys(goes))).Draw(r, "shell"), open: true, n: n}
					m.calls = append(m.calls, c)
					calls = append(calls, c.id+": "+c.shell)
				}
				w.turn(a.session, raw, results, calls...)
			case 2:
				name := rapid.SampledFrom([]string{"pods", "push"}).Draw(r, "operation")
				rung, calls, flags := m.expect(a.who, name, raw)
				c := w.does(a.session, raw, operations[name]())
				var got []string
				for _, ref := range c.Calls {
					got = append(got, ref.Call)
				}
				if c.Rung != rung || !slices.Equal(got, calls) || len(c.Flags) != flags {
					r.Fatalf("%s of %s, trace %q: %s %v %v, want %s %v, %d flags", name, a.session, raw, c.Rung, got, c.Flags, rung, calls, flags)
				}
			case 3:
				if len(m.calls) == 0 || raw == "" {
					continue
				}
				c := rapid.SampledFrom(m.calls).Draw(r, "call")
				t := parseTrace(raw)
				if key := a.who + t.id + t.span; c.who == a.who && (c.trace == "" || c.trace == t.id) && m.spans[key] == nil {
					m.spans[key] = c
				}
				w.Span(a.by, a.session, Span{Trace: t.id, ID: t.span, Call: c.id})
			}
		}
	})
}
