package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
	"gatebook/test/lab"
)

// use is a tool call of any tool.
func use(t *testing.T, id, name string, input map[string]any) lab.ToolUse {
	t.Helper()
	b, err := json.Marshal(input)
	if err != nil {
		t.Fatal(err)
	}
	return lab.ToolUse{ID: id, Name: name, Input: string(b)}
}

// TestWhyAsAnAuditor is an agent that is no pod, at a database and a repository, and what an auditor is told of it: from commits
// on and below the tip, an object, a statement, a row's text, an operation, an approval; after a restart as before.
func TestWhyAsAnAuditor(t *testing.T) {
	host := lab.StartGitHost(t)
	host.Repository(t, "team/app.git")
	if err := host.Seed("team/app.git", map[string]string{"README": "app\n"}); err != nil {
		t.Fatal(err)
	}
	p := lab.StartPostgres(t)
	db := p.Database(t, "create table customer (id int, name text, card text)", "insert into customer values (42, 'Ada Lovelace', 'visa'), (43, 'Alan Turing', 'amex')")
	sh := func(id, command string) lab.ToolUse {
		return use(t, id, "Bash", map[string]any{"command": command, "description": "as the script says", "timeout": 600000})
	}
	model := lab.StartMessages(t)
	policy := "rules:\n  - {id: all, effect: allow, when: 'true', reason: a test}\n  - {id: push, protocol: git, when: 'git.ref != \"\"', effect: approve, reason: pushes are looked at}\n"
	g := p.StartGateway(t, binary, db, lab.Options{Targets: host.Target("code", "") + model.Target("anthropic", ""), Policy: map[string]string{"p.yaml": policy}})
	w := g.Workplace(t, g.Person("claude", "agents"))
	w.Untraced() // what the gateway saw itself is all there is
	model.Script("", lab.Turn{Uses: []lab.ToolUse{sh("toolu_read", "psql -X -Atc 'select id, name from customer where id = 42' && echo read")}},
		lab.Turn{Uses: []lab.ToolUse{use(t, "toolu_write", "Write", map[string]any{"file_path": w.Home + "/fix.sh", "content": "#!/bin/sh\npsql -X -c \"update customer set card = 'gold' where id = $1\"\n"})}},
		lab.Turn{Uses: []lab.ToolUse{sh("toolu_fix", "sh fix.sh 43")}},
		lab.Turn{Uses: []lab.ToolUse{use(t, "toolu_agent", "Agent", map[string]any{"description": "push it", "prompt": "Push the work of today", "subagent_type": "general-purpose", "run_in_background": false})}},
		lab.Turn{Text: "All is well."})
	model.Script("Push the work of today", lab.Turn{Uses: []lab.ToolUse{sh("toolu_push", "git clone -q "+host.URL("team/app.git")+" app && cd app && for i in 1 2; do echo $i > f$i && git add . && "+
		"git -c user.name=c -c user.email=c@x commit -q -m \"file $i\"; done && git push -q origin HEAD:refs/heads/today; git log --format=%H -2")}}, lab.Turn{Text: "pushed"})
	ada := g.Person("ada", "auditors", "approvers")
	x := g.API(ada)
	go approve(t, x)
	if r := w.Claude("Look after our customers, please", "--permission-mode", "acceptEdits"); !strings.Contains(r.Stdout, "All is well.") {
		t.Fatalf("%s\nthe model was asked %d times", r.Out(), len(model.Asked()))
	}
	tip := host.Ref(t, "team/app.git", "refs/heads/today")
	below := host.Git(t, "team/app.git", "rev-parse", tip+"^")
	push := found(t, x, client.Query{Verb: "push"}, 1)[0]
	ask := func(t *testing.T, args ...string) string {
		t.Helper()
		r := g.CLI(ada, append([]string{"why"}, args...)...)
		out := r.Stdout
		if r.Code != 0 { // nothing was found
			out = r.Stderr
		}
		for l := range strings.Lines(r.Stdout) {
			if utf8.RuneCountInString(strings.TrimSuffix(l, "\n")) > 100 {
				t.Errorf("a line is longer than 100 characters: %q", l)
			}
		}
		return out
	}
	check := func(t *testing.T) {
		for what, want := range map[string][]string{
			tip:                           {"Look after our customers", "toolu_agent", "Push the work of today", "matched: the only call that starts an agent with this prompt", "toolu_push", "git push -q origin HEAD:refs/heads/today", "caused by   matched", "decision    approve", "yes by ada", "looks fine", "effect      200 after", tip[:12]},
			strings.TrimSpace(below)[:10]: {"toolu_push", "Look after our customers"},
			string(push.Approval):         {"toolu_push", "yes by ada"},
			string(push.Operation.ID):     {"toolu_push", "yes by ada"},
			"select name customer":        {"toolu_read", "psql -X -Atc 'select id, name from customer where id = 42'", "1 rows"},
			"update customer":             {"toolu_fix", "sh fix.sh 43", "fix.sh, as call toolu_write wrote it", "caused by   matched", "1 rows"},
			"--recorded --key " + g.Data("auditor.key") + " 42 | Ada":     {"toolu_read"},
			"--recorded --key " + g.Data("auditor.key") + " gold":         {"toolu_fix"},
			"--recorded --key " + g.Data("auditor.key") + " no such text": {"nothing that was recorded"},
			"0123456789abcdef": {"nothing on record"},
		} {
			args := strings.Fields(what)
			if rest, ok := strings.CutPrefix(what, "--recorded --key "); ok {
				key, text, _ := strings.Cut(rest, " ")
				args = []string{"--recorded", "--key", key, text}
			}
			out := ask(t, args...)
			for _, says := range want {
				if !strings.Contains(strings.Join(strings.Fields(out), " "), strings.Join(strings.Fields(says), " ")) {
					t.Errorf("%s: %q is not said:\n%s", what, says, out)
				}
			}
		}
	}
	check(t)
	g.Stop()
	g.Start()
	check(t)
	if r := w.Claude("One thing more", "--continue"); r.Code != 0 {
		t.Fatal(r.Out())
	}
	turns, err := x.Operations(t.Context(), client.Query{Target: "anthropic", Limit: 500})
	for _, r := range turns.Items {
		if r.Operation.Session != push.Operation.Session {
			t.Errorf("after a restart, what goes on is another session: %+v", r.Operation.Model)
		}
	}
	if err != nil || !slices.ContainsFunc(turns.Items, func(r access.Record) bool {
		return r.Operation.Model != nil && r.Operation.Model.Prompt == "One thing more"
	}) {
		t.Errorf("%d turns, %v", len(turns.Items), err)
	}
	carriers(t, w, x, host)
	var j client.Why
	if err := json.Unmarshal([]byte(must(t, g.CLI(ada, "why", "--json", tip)).Stdout), &j); err != nil || len(j.Chains) != 1 || j.Chains[0].Cause.Rung != access.Matched {
		t.Errorf("%+v, %v", j, err)
	}
	line := must(t, g.CLI(ada, "timeline", string(push.Operation.Session))).Stdout
	t.Logf("\n%s\n%s", ask(t, tip), line)
	last := -1
	for _, want := range []string{"prompt: Look after our customers", "toolu_read", "select id, name", "toolu_write", "[toolu_fix", "update customer set card = 'gold' where id = 43", "[toolu_agent", "agent ", "Push the work of today", "[toolu_push", "git push team/app"} {
		i := strings.Index(line, want)
		if i < 0 || i < last && want != "select id, name" && want != "Push the work of today" {
			t.Errorf("%q is not where it belongs:\n%s", want, line)
		}
		last = max(last, i)
	}
}

// carriers are the ways by which clients send a trace beside the token's: a header that git is told to send, and libpq's
// application_name.
func carriers(t *testing.T, w *lab.Workplace, x *client.Client, host *lab.GitHost) {
	t.Helper()
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	must(t, w.Shell("git -c http.extraHeader='traceparent: "+trace+"' ls-remote "+host.URL("team/app.git")))
	must(t, w.Shell("PGAPPNAME="+trace+" psql -X -Atc 'select 4711'"))
	for what, q := range map[string]client.Query{"git": {Target: "code"}, "psql": {Text: "4711"}} {
		traced := func() bool {
			page, err := x.Operations(t.Context(), q)
			return err == nil && slices.ContainsFunc(page.Items, func(r access.Record) bool { return r.Operation.Client.Trace == trace })
		}
		for deadline := time.Now().Add(lab.Patience); !traced(); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: no operation has the trace", what)
			}
		}
	}
}

// approve lets the first held push through.
func approve(t *testing.T, x *client.Client) {
	for t.Context().Err() == nil {
		page, err := x.Approvals(t.Context(), access.ApprovalPending)
		if err == nil && len(page.Items) > 0 {
			if _, err := x.Answer(t.Context(), page.Items[0].ID, client.Answer{Yes: true, Reason: "looks fine"}); err != nil {
				t.Error(err)
			}
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}
