package store

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"gatebook/internal/access"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// record is the nth operation of a made-up day.
func record(n int) access.Record {
	p := access.Principal{Issuer: "k8s", Subject: fmt.Sprint("sa", n%2), Name: fmt.Sprint("agent-", n%2), Groups: []string{"g"}}
	return access.Record{
		Operation: access.Operation{
			ID: access.OperationID(fmt.Sprintf("op%04d", n)), Session: access.SessionID(fmt.Sprint("session-", n%2)), Time: epoch.Add(time.Duration(n/2) * time.Second),
			Principal: p, Target: access.Target{Name: fmt.Sprint("cluster-", n%3)}, Verb: []string{"get", "delete"}[n%2],
			Command: fmt.Sprintf("kubectl --context=prod get pods -n team-%d", n%5), Digest: access.Digest{byte(n)},
			Kubernetes: &access.Kubernetes{Resource: "pods", Subresource: []string{"", "log"}[n%2], Namespace: fmt.Sprint("team-", n%5), Name: "web", Object: map[string]any{"n": float64(n)}},
		},
		Decision: access.Decision{Effect: access.Effect(n % 3), Risk: access.Risk(n % 4), Reason: "why"},
	}
}

func put(t testing.TB, s *Store, rs ...access.Record) {
	t.Helper()
	for _, r := range rs {
		if err := s.PutOperation(r); err != nil {
			t.Fatal(err)
		}
	}
}

func search(t testing.TB, s *Store, f OperationFilter) []string {
	t.Helper()
	rs, _, err := s.Search(t.Context(), f)
	if err != nil {
		t.Fatalf("%+v: %v", f, err)
	}
	var ids []string
	for _, r := range rs {
		ids = append(ids, strings.TrimLeft(strings.TrimPrefix(string(r.Operation.ID), "op"), "0"))
	}
	return ids
}

func TestSearch(t *testing.T) {
	s := fresh(t)
	for n := 1; n <= 8; n++ {
		put(t, s, record(n))
	}
	refused := record(9)
	refused.Outcome = &access.Outcome{Code: 403}
	refused.Refused = &access.Refused{Code: access.CodeDenied, Message: "namespaces are not for agents", Advice: "ask the platform team"}
	refused.Operation.Command = `kubectl exec web -- sh -c 'echo "ünïcode" OR NEAR(x) -flag*'`
	put(t, s, refused)
	if err := s.EndOperation("op0004", access.Outcome{Code: 422, Message: "admission webhook denied: quota exceeded"}); err != nil {
		t.Fatal(err)
	}
	yes, no, deny := true, false, access.Deny
	for name, c := range map[string]struct {
		f    OperationFilter
		want string
	}{
		"all, newest first":       {OperationFilter{}, "9 8 7 6 5 4 3 2 1"},
		"principal by name":       {OperationFilter{Principal: "agent-0"}, "8 6 4 2"},
		"principal by key":        {OperationFilter{Principal: "k8s|sa1"}, "9 7 5 3 1"},
		"namespace":               {OperationFilter{Namespace: "team-2"}, "7 2"},
		"verb":                    {OperationFilter{Verb: "delete"}, "9 7 5 3 1"},
		"resource":                {OperationFilter{Resource: "pods/log", Limit: 2}, "9 7"},
		"target":                  {OperationFilter{Target: "cluster-1"}, "7 4 1"},
		"session":                 {OperationFilter{Session: "session-0"}, "8 6 4 2"},
		"risk":                    {OperationFilter{MinRisk: access.RiskCritical}, "7 3"},
		"effect":                  {OperationFilter{Effect: &deny}, "9 6 3"},
		"refused":                 {OperationFilter{Refused: &yes}, "9"},
		"not refused":             {OperationFilter{Refused: &no, Limit: 1}, "8"},
		"since":                   {OperationFilter{Since: epoch.Add(4 * time.Second)}, "9 8"},
		"until":                   {OperationFilter{Until: epoch.Add(time.Second)}, "1"},
		"several":                 {OperationFilter{Namespace: "team-2", Verb: "get"}, "2"},
		"text: a word":            {OperationFilter{Text: "exec"}, "9"},
		"text: a beginning":       {OperationFilter{Text: "exe"}, "9"},
		"text: a namespace":       {OperationFilter{Text: "team-3"}, "8 3"},
		"text: two words":         {OperationFilter{Text: "team-3  agent-1"}, "3"},
		"text: the refusal":       {OperationFilter{Text: "NAMESPACES agents"}, "9"},
		"text: its advice":        {OperationFilter{Text: "platform"}, "9"},
		"text: the error":         {OperationFilter{Text: "quota"}, "4"},
		"text: no accents":        {OperationFilter{Text: "unicode"}, "9"},
		"text: in quotes":         {OperationFilter{Text: `"ünïcode"`}, "9"},
		"text: an operator":       {OperationFilter{Text: "exec AND web"}, ""},
		"text: a literal OR":      {OperationFilter{Text: "OR exec"}, "9"},
		"text: a column":          {OperationFilter{Text: "command:exec"}, ""},
		"text: an option":         {OperationFilter{Text: "--context=prod team-3"}, "8 3"},
		"text and filter":         {OperationFilter{Text: "kubectl", Session: "session-0", MinRisk: access.RiskHigh}, "6 2"},
		"text: nothing to search": {OperationFilter{Text: " \x00 "}, "9 8 7 6 5 4 3 2 1"},
		"no such":                 {OperationFilter{Namespace: "team-2' OR '1'='1"}, ""},
	} {
		if got := strings.Join(search(t, s, c.f), " "); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

// Whatever a person types is a search, not an error.
func FuzzText(f *testing.F) {
	for _, x := range []string{`"`, `""`, `a"b`, "NEAR(", "*", "^a", "{a b}:c", "-", "---", "a + b", "\x00", "\xff", "(", "'; DROP TABLE operations --", "🎉", "\u202e"} {
		f.Add(x)
	}
	s := fresh(f)
	put(f, s, record(1))
	f.Fuzz(func(t *testing.T, text string) {
		if _, _, err := s.Search(t.Context(), OperationFilter{Text: text}); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	})
}

// What was put reads back the same: whole from Operation, without documents from Search.
func TestRoundTrip(t *testing.T) {
	s := fresh(t)
	r := record(7)
	r.Operation.Command, r.Approval = "kubectl \x1b[2J\u202e\x00 "+strings.Repeat("x", 1<<20), "approval"
	r.Operation.Kubernetes.Stored = map[string]any{"secret": "gbm-placeholder"}
	r.Operation.Uninspectable = []access.Uninspectable{{Field: "kubernetes.object", Why: "too large"}}
	observed := access.Deny
	r.Decision = access.Decision{Effect: access.Allow, Observed: &observed, Rules: []access.RuleHit{{ID: "r", Effect: access.Deny}}, Approval: &access.ApprovalTerms{Count: 2, Expires: time.Hour}}
	put(t, s, r)
	out := access.Outcome{Code: 200, ExitCode: -1, ResponseBytes: 5, Masked: 2, Duration: time.Second, Truncated: "a crash"}
	if err := s.EndOperation(r.Operation.ID, out); err != nil {
		t.Fatal(err)
	}
	put(t, s, r) // its beginning, told again, does not take its end away
	r.Outcome = &out
	got, ok, err := s.Operation(t.Context(), r.Operation.ID)
	if diff := cmp.Diff(r, got); !ok || err != nil || diff != "" {
		t.Error(ok, err, diff)
	}
	found, _, err := s.Search(t.Context(), OperationFilter{})
	bare := *r.Operation.Kubernetes
	bare.Object, bare.Stored = nil, nil
	r.Operation.Kubernetes = &bare
	if diff := cmp.Diff([]access.Record{r}, found); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if _, ok, err := s.Operation(t.Context(), "nothing"); ok || err != nil {
		t.Error(ok, err)
	}
}

// Pages hold each operation once, in order, also while others are added.
func TestPages(t *testing.T) {
	s := fresh(t)
	for n := 1; n <= 25; n++ {
		put(t, s, record(n))
	}
	var got []string
	f, cursor := OperationFilter{Limit: 7}, ""
	for pages := 0; pages == 0 || cursor != ""; pages++ {
		f.Cursor = cursor
		rs, next, err := s.Search(t.Context(), f)
		if err != nil || pages > 4 {
			t.Fatal(pages, err)
		}
		for _, r := range rs {
			got = append(got, string(r.Operation.ID))
		}
		cursor = next
		put(t, s, record(100+pages))
	}
	var want []string
	for n := 25; n >= 1; n-- {
		want = append(want, fmt.Sprintf("op%04d", n))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"x", "1.2", "1e3", " 1"} {
		if _, _, err := s.Search(t.Context(), OperationFilter{Cursor: bad}); err == nil {
			t.Errorf("cursor %q was taken", bad)
		}
	}
}

func TestSessions(t *testing.T) {
	s := fresh(t)
	p := access.Principal{Issuer: "k8s", Subject: "sa1", Name: "agent-1", Groups: []string{"g"}}
	if err := s.PutSession(access.Session{ID: "session-1", Principal: p, Started: epoch.Add(-time.Minute), Last: epoch.Add(-time.Minute)}); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 6; n++ {
		put(t, s, record(n))
	}
	for _, n := range []int{1, 2, 3, 4, 6} {
		if err := s.EndOperation(record(n).Operation.ID, access.Outcome{Duration: time.Duration(n) * time.Hour}); err != nil {
			t.Fatal(err)
		}
	}
	got, next, err := s.Sessions(t.Context(), SessionFilter{Now: epoch.Add(12 * time.Hour)})
	zero := p
	zero.Subject, zero.Name = "sa0", "agent-0"
	want := []access.SessionSummary{
		{Session: access.Session{ID: "session-0", Principal: zero, Started: epoch.Add(time.Second), Last: epoch.Add(3*time.Second + 6*time.Hour)},
			Targets: []string{"cluster-0", "cluster-1", "cluster-2"}, Operations: 3, Risk: access.RiskHigh},
		{Session: access.Session{ID: "session-1", Principal: p, Started: epoch.Add(-time.Minute), Last: epoch.Add(time.Second + 3*time.Hour)},
			Targets: []string{"cluster-0", "cluster-1", "cluster-2"}, Operations: 3, Risk: access.RiskCritical, Running: 1, Live: true},
	}
	if diff := cmp.Diff(want, got); err != nil || next != "" || diff != "" {
		t.Error(err, next, diff)
	}
	for name, c := range map[string]struct {
		f    SessionFilter
		want string
	}{
		"id":        {SessionFilter{ID: "session-0"}, "session-0"},
		"principal": {SessionFilter{Principal: "agent-1"}, "session-1"},
		"key":       {SessionFilter{Principal: "k8s|sa0"}, "session-0"},
		"risk":      {SessionFilter{MinRisk: access.RiskCritical}, "session-1"},
		"since":     {SessionFilter{Since: epoch.Add(5 * time.Hour)}, "session-0"},
		"until":     {SessionFilter{Until: epoch}, "session-1"},
		"target":    {SessionFilter{Target: "cluster-9"}, ""},
	} {
		got, _, err := s.Sessions(t.Context(), c.f)
		ids := ""
		for _, x := range got {
			ids += string(x.ID)
		}
		if err != nil || ids != c.want {
			t.Errorf("%s: got %q (%v), want %q", name, ids, err, c.want)
		}
	}
	first, next, err := s.Sessions(t.Context(), SessionFilter{Limit: 1})
	if err != nil || len(first) != 1 || next == "" {
		t.Fatal(first, next, err)
	}
	second, next, err := s.Sessions(t.Context(), SessionFilter{Limit: 1, Cursor: next})
	if err != nil || len(second) != 1 || next != "" || second[0].ID != "session-1" {
		t.Error(second, next, err)
	}
	running, err := s.Running(t.Context(), epoch.Add(time.Hour))
	if diff := cmp.Diff([]access.OperationID{"op0005"}, running); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

// TestFedAgain: a feed that is cut anywhere and begun again from anywhere before gives the same index, in whatever
// batches it comes.
func TestFedAgain(t *testing.T) {
	dir, n := t.TempDir(), 0
	rapid.Check(t, func(rt *rapid.T) {
		var feed []access.IndexEntry
		for i := range 8 {
			r := record(i)
			feed = append(feed, access.IndexEntry{Session: &access.Session{ID: r.Operation.Session, Principal: r.Operation.Principal, Started: epoch, Last: r.Operation.Time}})
			switch rapid.IntRange(0, 2).Draw(rt, "fate") {
			case 0:
				r.Outcome, r.Refused = &access.Outcome{Code: 403}, &access.Refused{Code: access.CodeDenied, Message: "no"}
				feed = append(feed, access.IndexEntry{Record: &r})
			case 1:
				feed = append(feed, access.IndexEntry{Record: &r}, access.IndexEntry{End: &access.Ended{ID: r.Operation.ID, Outcome: access.Outcome{Message: fmt.Sprint("error", i), Duration: time.Minute}}})
			default:
				feed = append(feed, access.IndexEntry{Record: &r}, access.IndexEntry{End: &access.Ended{ID: "gone"}})
			}
		}
		n++
		once := open(t, fmt.Sprintf("%s/%d-once.db", dir, n), Options{})
		if err := once.PutBatch(feed); err != nil {
			rt.Fatal(err)
		}
		again := open(t, fmt.Sprintf("%s/%d-again.db", dir, n), Options{})
		for at := 0; at < len(feed); {
			to := rapid.IntRange(at+1, len(feed)).Draw(rt, "to")
			if err := again.PutBatch(feed[at:to]); err != nil {
				rt.Fatal(err)
			}
			if at = to; at < len(feed) && rapid.IntRange(0, 3).Draw(rt, "crash") == 0 {
				at = rapid.IntRange(0, at).Draw(rt, "from")
			}
		}
		if diff := cmp.Diff(everything(t, once), everything(t, again)); diff != "" {
			rt.Fatal(diff)
		}
	})
}

// everything that the index shows.
func everything(t *testing.T, s *Store) []any {
	t.Helper()
	rs, _, err := s.Search(t.Context(), OperationFilter{})
	if err != nil {
		t.Fatal(err)
	}
	ss, _, err := s.Sessions(t.Context(), SessionFilter{Now: epoch})
	if err != nil {
		t.Fatal(err)
	}
	out := []any{rs, ss}
	for _, text := range []string{"error", "no", "team-1", "kubectl", "cluster-2"} {
		out = append(out, text, search(t, s, OperationFilter{Text: text}))
	}
	if _, err := s.write.ExecContext(t.Context(), "INSERT INTO operations_text (operations_text, rank) VALUES ('integrity-check', 0)"); err != nil {
		t.Errorf("the text index is not that of the operations: %v", err)
	}
	return out
}

func TestPutBatchRefuses(t *testing.T) {
	s := fresh(t)
	r := record(1)
	if err := s.PutBatch([]access.IndexEntry{{Record: &r}, {}}); err == nil {
		t.Error("an empty entry was taken")
	}
	if got := search(t, s, OperationFilter{}); len(got) != 0 {
		t.Errorf("half a batch was taken: %v", got)
	}
}

// BenchmarkPutBatch is what one operation costs, begun and ended, by the size of the batch.
func BenchmarkPutBatch(b *testing.B) {
	for _, size := range []int{1, 16, 256} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := fresh(b)
			n := 0
			for b.Loop() {
				var entries []access.IndexEntry
				for range size {
					r := record(n)
					r.Operation.ID = access.OperationID(fmt.Sprintf("op%08d", n))
					entries = append(entries, access.IndexEntry{Record: &r}, access.IndexEntry{End: &access.Ended{ID: r.Operation.ID}})
					n++
				}
				if err := s.PutBatch(entries); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(n), "µs/operation")
		})
	}
}

// BenchmarkSearch finds a page among many.
func BenchmarkSearch(b *testing.B) {
	s := fresh(b)
	const many = 50_000
	var entries []access.IndexEntry
	for n := range many {
		r := record(n)
		r.Operation.ID = access.OperationID(fmt.Sprintf("op%08d", n))
		entries = append(entries, access.IndexEntry{Record: &r})
	}
	for chunk := range slices.Chunk(entries, 5000) {
		if err := s.PutBatch(chunk); err != nil {
			b.Fatal(err)
		}
	}
	for name, f := range map[string]OperationFilter{
		"newest": {}, "namespace": {Namespace: "team-3"}, "text": {Text: "team-3 agent-1"}, "nothing": {Text: "nosuchword"},
		"rare": {Since: epoch.Add(10 * time.Second), Until: epoch.Add(20 * time.Second)},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, _, err := s.Search(b.Context(), f); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// statementEntries are operations of a database, as a client makes them that repeats one with other parameters: begun and ended.
func statementEntries(from, n int) []access.IndexEntry {
	var out []access.IndexEntry
	for i := from; i < from+n; i++ {
		at := epoch.Add(time.Duration(i) * 100 * time.Microsecond)
		id := access.OperationID(access.NewID(at))
		text := "SELECT abalance FROM pgbench_accounts WHERE aid = $1;"
		out = append(out, access.IndexEntry{Record: &access.Record{
			Operation: access.Operation{ID: id, Session: "01kazq4m6w3pd9bt0t8b2d1s8x", Time: at, Verb: "execute", Command: fmt.Sprintf("%s\n-- $1 = '%d'", text, i*7919%500_000),
				Principal: access.Principal{Issuer: "https://issuer", Subject: "agent", Name: "agent", TokenID: "agent-17", Expires: epoch.Add(time.Hour)},
				Target:    access.Target{Name: "orders", Protocol: "postgres"}, Client: access.Client{Address: "127.0.0.1:50000", UserAgent: "pgbench"}, Digest: access.Digest{byte(i)},
				Cause: &access.Cause{Operation: id, Time: at, Method: "no tool call was open", Evidence: []access.Evidence{{What: "the session has no conversation", Seen: true}}},
				SQL: &access.SQL{Database: "orders", Role: "gate", Application: "pgbench", Text: text, Kinds: []string{"select"}, Effect: "read", Tables: []string{"pgbench_accounts"},
					Columns: []string{"abalance", "aid"}, Parameters: []string{fmt.Sprint(i * 7919 % 500_000)}}},
			Decision: access.Decision{Effect: access.Allow, Reason: "reading is allowed; what is known to be secret is masked", Masks: []access.Mask{{Name: "known"}, {Name: "secrets"}},
				Rules: []access.RuleHit{{ID: "sql-read", Effect: access.Allow, Reason: "reading is allowed; what is known to be secret is masked"}}},
		}}, access.IndexEntry{End: &access.Ended{ID: id, Outcome: access.Outcome{ExitCode: -1, ResponseBytes: 90, Rows: 1, Duration: 100_000}}})
	}
	return out
}

func BenchmarkPutStatements(b *testing.B) {
	s := fresh(b)
	const batch = 512
	n := 0
	var cpu time.Duration
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		entries := statementEntries(n, batch)
		n += batch
		before := cpuTime(b)
		b.StartTimer()
		if err := s.PutBatch(entries); err != nil {
			b.Fatal(err)
		}
		cpu += cpuTime(b) - before
	}
	b.ReportMetric(float64(cpu.Nanoseconds())/1e3/float64(n), "cpu-µs/statement")
}

// cpuTime is that of the process, which is less noisy than the clock where others work on the same machine.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
