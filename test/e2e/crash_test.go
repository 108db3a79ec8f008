package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
	"gatebook/internal/recording"
	"gatebook/test/lab"
)

const kills = 8

// B92, B94: agents work, the gateway is killed -9 at random moments and started again, and at the end the agents'
// own ledger is compared with the book: nothing that was acknowledged is missing or different, nothing is there twice,
// nothing reached the cluster that is not in the book, and the book is whole, also against every checkpoint that the
// gateway had signed before each of its deaths.
func TestKilledAtRandomMoments(t *testing.T) {
	ns := namespace(t)
	pod(t, ns, "box")
	audit := cluster.Audit(t)
	g := cluster.StartGateway(t, binary, lab.Options{Policy: map[string]string{"all.yaml": allowAll},
		Config: "recording: {sealBytes: 200000, sealAge: 1s}\n"}) // so that it dies while it seals, too
	token := g.Agent(ns, "claude", "box")
	a := newAgents(t, g, ns, token)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var working sync.WaitGroup
	for n := range 4 {
		working.Go(func() { a.work(ctx, n) })
	}
	working.Go(func() { // one command always runs, so that each death cuts one off
		for i := 0; ctx.Err() == nil; i++ {
			a.exec(ctx, fmt.Sprint("long-", i), "sleep 1000")
			time.Sleep(50 * time.Millisecond) // most likely there is no gateway
		}
	})
	var checkpoints []string
	for deadline := time.Now().Add(2 * lab.Patience); len(checkpoints) < kills || a.acknowledged() < 50 && time.Now().Before(deadline); {
		time.Sleep(time.Duration(300+rand.IntN(2200)) * time.Millisecond)
		g.Kill()
		checkpoints = append(checkpoints, keepCheckpoint(t, g, len(checkpoints)))
		g.Start()
	}
	cancel()
	working.Wait()
	session := onlySession(t, g)
	g.Stop()

	book := exported(t, g, session)
	g.Start()
	indexed := indexOf(t, g, session, len(book))
	g.Stop()
	execs := map[string]*recorded{}
	truncated, made := 0, map[string]int{}
	for id, op := range book {
		if op.begun != 1 || op.ended != 1 {
			t.Errorf("operation %s is begun %d times and ended %d times", id, op.begun, op.ended)
		}
		if op.outcome.Truncated != "" {
			truncated++
		}
		if k := op.Operation.Kubernetes; k.Exec != nil {
			execs[markerOf(k.Exec.Command)] = op
		} else if k.Verb == "create" && op.Refused == nil { // whose body was not read, as while the gateway drains
			made[nameIn(t, op.payload)]++
		}
		if !indexed[id] {
			t.Errorf("operation %s is in the archive and cannot be found", id)
		}
	}
	for _, seen := range a.ledger {
		op := book[access.OperationID(seen.id)]
		if seen.marker != "" {
			op = execs[seen.marker]
		}
		if op == nil {
			t.Errorf("acknowledged, and not in the book: %.200s", fmt.Sprintf("%+v", seen))
		} else if err := op.holds(seen); err != nil {
			t.Errorf("operation %s %q: %v", op.Operation.ID, op.Operation.Command, err)
		}
	}
	checkCluster(t, a, audit, book, made)
	checkWhole(t, g, checkpoints, len(book))
	t.Logf("%d operations acknowledged, %d requests without an answer, %d operations recorded, %d of them truncated", len(a.ledger), a.failures, len(book), truncated)
	if len(a.ledger) < 50 || truncated == 0 {
		t.Errorf("the agents were told of %d operations, and %d were cut off: that shows nothing", len(a.ledger), truncated)
	}
}

// checkCluster compares what is in the cluster, and what its API server was asked, with the book.
func checkCluster(t *testing.T, a *agents, audit *lab.Audit, book map[access.OperationID]*recorded, made map[string]int) {
	t.Helper()
	names := strings.Fields(must(t, admin(t, "", "-n", a.ns, "get", "configmaps", "-o", "jsonpath={.items[*].metadata.name}")).Stdout)
	stored := map[string]bool{}
	for _, name := range names {
		if stored[name] = true; strings.HasPrefix(name, "run-") && made[name] != 1 {
			t.Errorf("configmap %s is in the cluster, and in the book %d times", name, made[name])
		}
	}
	for _, seen := range a.ledger {
		if seen.made != "" && !stored[seen.made] {
			t.Errorf("configmap %s was acknowledged, and is not in the cluster", seen.made)
		}
	}
	asked := map[string]int{}
	for _, e := range audit.Events(t, "system:serviceaccount:"+a.ns+":claude") {
		if e.Stage == "ResponseComplete" {
			asked[e.ID]++
		}
		if book[access.OperationID(e.ID)] == nil {
			t.Errorf("%s %s (%s) reached the cluster, and is not in the book", e.Verb, e.URI, e.ID)
		}
	}
	for id, n := range asked {
		if n != 1 {
			t.Errorf("operation %s reached the cluster %d times", id, n)
		}
	}
	if len(asked) == 0 {
		t.Error("the audit log shows nothing")
	}
}

// checkWhole verifies the book, with all checkpoints from before.
func checkWhole(t *testing.T, g *lab.Gateway, checkpoints []string, atLeast int) {
	t.Helper()
	args := []string{"verify", "--data", g.Data(), "--key", g.Data("auditor.key"), "--json"}
	for _, c := range checkpoints {
		if c != "" {
			args = append(args, "--checkpoint", c)
		}
	}
	r := must(t, g.CLI("", args...))
	var v recording.Verification
	if err := json.Unmarshal([]byte(r.Stdout), &v); err != nil {
		t.Fatal(err)
	}
	if v.Operations < atLeast || v.Compared < v.Operations || len(v.Findings) > 0 || v.Open > 0 {
		t.Errorf("verified: %s; the archive holds %d operations", r.Stdout, atLeast)
	}
}

// keepCheckpoint copies what the gateway signed last out of its reach; "" where it has not signed yet.
func keepCheckpoint(t *testing.T, g *lab.Gateway, n int) string {
	t.Helper()
	b, err := os.ReadFile(g.Data("ledger", "checkpoint"))
	if os.IsNotExist(err) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(g.Dir, fmt.Sprintf("checkpoint-%d", n))
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func onlySession(t *testing.T, g *lab.Gateway) access.SessionID {
	t.Helper()
	page, err := g.API(g.Person("grace", "auditors")).Sessions(t.Context(), client.Query{})
	if err != nil || len(page.Items) != 1 {
		t.Fatalf("sessions: %+v %v", page.Items, err)
	}
	return page.Items[0].ID
}

// indexOf gives the operations that can be found, once they are as many as there should be and each has its end: the
// index is fed behind the journal.
func indexOf(t *testing.T, g *lab.Gateway, session access.SessionID, want int) map[access.OperationID]bool {
	t.Helper()
	x := g.API(g.Person("grace", "auditors"))
	for deadline := time.Now().Add(lab.Patience); ; time.Sleep(100 * time.Millisecond) {
		all, running := map[access.OperationID]bool{}, 0
		for q := (client.Query{Session: session, Limit: 100}); ; {
			page, err := x.Operations(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range page.Items {
				all[r.Operation.ID] = true
				if r.Outcome == nil {
					running++
				}
			}
			if q.Cursor = page.Next; q.Cursor == "" {
				break
			}
		}
		if running == 0 && len(all) >= want {
			return all
		}
		if time.Now().After(deadline) {
			t.Errorf("%d of %d operations are found, and %d of them have no end though nobody works any more", len(all), want, running)
			return all
		}
	}
}

// markerOf finds the marker in the command of agents.exec.
func markerOf(command []string) string {
	_, rest, _ := strings.Cut(command[len(command)-1], "echo ")
	marker, _, _ := strings.Cut(rest, " ")
	return marker
}

func nameIn(t *testing.T, payload string) string {
	t.Helper()
	var o struct {
		Metadata struct {
			Name string `json:"name"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal([]byte(payload), &o); err != nil {
		t.Errorf("payload %.200q: %v", payload, err)
	}
	return o.Metadata.Name
}
