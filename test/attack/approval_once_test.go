package attack

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
	"gatebook/test/lab"
)

// I83: however many say yes at once, and however many send the request at once, it runs once; a spent approval is good
// for nothing.
func TestI83DoubleClickAndReplay(t *testing.T) {
	a := newAsk(t, "", lab.Options{})
	q := a.creating("once")
	id := a.pending(q)
	var answering sync.WaitGroup
	var yes atomic.Int64
	for i := range 8 {
		x := a.g.API(a.g.Person(fmt.Sprint("ada", i%4), "approvers"))
		answering.Go(func() {
			if _, err := x.Answer(t.Context(), id, client.Answer{Yes: true}); err == nil {
				yes.Add(1)
			}
		})
	}
	answering.Wait()
	if yes.Load() != 1 {
		t.Errorf("%d answers were taken", yes.Load())
	}
	var sending sync.WaitGroup
	var ran atomic.Int64
	for range 8 {
		c := over(t, a.g, h1)
		sending.Go(func() {
			if r := c.do(q); r.code == http.StatusCreated {
				ran.Add(1)
			}
		})
	}
	sending.Wait()
	if n := a.made("once"); n != 1 || ran.Load() != 1 {
		t.Fatalf("it ran %d times, and %d were told so", n, ran.Load())
	}
	if _, err := a.desk.Answer(t.Context(), id, client.Answer{Yes: true}); err == nil {
		t.Error("a spent approval was answered again")
	}
	a.asksAnew(q, "once", id)
	again := a.pending(q) // a denied one does not run either
	if _, err := a.desk.Answer(t.Context(), again, client.Answer{Reason: "not twice"}); err != nil {
		t.Fatal(err)
	}
	if r := a.send(q); r.code != http.StatusForbidden || !strings.Contains(string(r.body), "not twice") {
		t.Errorf("after a no: %d %s", r.code, r.body)
	}
	if n := a.made("once"); n != 1 {
		t.Errorf("it ran %d times", n)
	}
}

// I83: an answer that comes too late, and one that is used too late.
func TestI83Expired(t *testing.T) {
	a := newAsk(t, "expires: 8s, valid: 1s", lab.Options{})
	await := func(id access.ApprovalID) {
		t.Helper()
		for deadline := time.Now().Add(lab.Patience); ; time.Sleep(50 * time.Millisecond) {
			x, err := a.desk.Approval(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if x.State == access.ApprovalExpired {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s is %s", id, x.State)
			}
		}
	}
	q := a.creating("late")
	id := a.pending(q)
	a.approve(id)
	await(id)
	a.asksAnew(q, "late", id)

	q = a.creating("later")
	id = a.pending(q)
	await(id)
	if _, err := a.desk.Answer(t.Context(), id, client.Answer{Yes: true}); err == nil {
		t.Error("a question that had lapsed was answered")
	}
	a.asksAnew(q, "later", id)
}

// I83: the gateway is restarted between answer and use; the answer holds, once.
func TestI83Restart(t *testing.T) {
	a := newAsk(t, "", lab.Options{})
	q := a.creating("restart")
	id := a.pending(q)
	a.approve(id)
	a.g.Stop()
	a.g.Start()
	a.runs(q, "restart")
	a.g.Stop()
	a.g.Start()
	a.asksAnew(q, "restart", id)
}

// I83: the gateway is killed while an approved request runs, and the client sends it again: at most once.
func TestI83KilledInBetween(t *testing.T) {
	a := newAsk(t, "", lab.Options{})
	total := 0
	for round := range 6 {
		name := fmt.Sprint("kill", round)
		q := a.creating(name)
		id := a.pending(q)
		a.approve(id)
		c := over(t, a.g, h1)
		told := make(chan answer, 1)
		go func() { told <- c.do(q) }()
		time.Sleep(time.Duration(rand.IntN(25)) * time.Millisecond)
		a.g.Kill()
		ran := 0
		if r := <-told; r.code == http.StatusCreated {
			ran++
		}
		a.g.Start()
		if r := a.send(q); r.code == http.StatusCreated {
			ran++
		}
		a.asksAnew(q, name, id)
		n := a.made(name)
		if n > 1 || ran > n {
			t.Errorf("round %d: it ran %d times, and the client was told so %d times", round, n, ran)
		}
		total += n
	}
	if total == 0 {
		t.Error("nothing ever ran: that shows nothing")
	}
	t.Logf("%d of 6 ran", total)
}

// I101: the client goes while it is held, and then the approval comes: nothing runs. The same command again uses it,
// once.
func TestI101ClientGone(t *testing.T) {
	a := newAsk(t, "", lab.Options{Config: "approvals: {hold: 1m, holdOthers: 1m}\n"})
	config, audit := a.g.Kubeconfig(a.agent), cluster.Audit(t)
	args := []string{"--kubeconfig", config, "-n", a.ns, "delete", "configmap", "gone", "--wait=false"}
	must(t, admin(t, "", "-n", a.ns, "create", "configmap", "gone"))
	held := exec.Command(filepath.Join(cluster.Bin, "kubectl"), args...)
	held.Env = []string{"HOME=" + a.g.Dir}
	if err := held.Start(); err != nil {
		t.Fatal(err)
	}
	p := pending(t, a.desk, " gone")
	if err := held.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = held.Wait() // killed
	abandoned(t, a.desk, p.ID)
	a.approve(p.ID)
	must(t, admin(t, "", "-n", a.ns, "get", "configmap", "gone"))
	for _, e := range reached(t, a.g, audit, a.who) {
		if e.Verb == "delete" {
			t.Errorf("it ran for a client that had gone: %+v", e)
		}
	}
	again := func() lab.Result {
		r, err := cluster.Kubectl(t.Context(), config, "", args[2:]...)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	must(t, again())
	if r := admin(t, "", "-n", a.ns, "get", "configmap", "gone"); r.Code == 0 {
		t.Error("the same command again did not run")
	}
	must(t, admin(t, "", "-n", a.ns, "create", "configmap", "gone"))
	ended := make(chan lab.Result, 1)
	go func() { ended <- again() }()
	if second := pending(t, a.desk, " gone"); second.ID == p.ID {
		t.Error("the approval was used twice")
	} else if _, err := a.desk.Answer(t.Context(), second.ID, client.Answer{Reason: "enough"}); err != nil {
		t.Error(err)
	}
	if r := <-ended; r.Code == 0 || !strings.Contains(r.Stderr, "enough") {
		t.Errorf("after a no: %d %s", r.Code, r.Out())
	}
	must(t, admin(t, "", "-n", a.ns, "get", "configmap", "gone"))
}
