package git

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/guard"
	"gatebook/internal/wire/pktline"
)

// pushResult is the answer's media type to a push.
const pushResult = "application/x-git-receive-pack-result"

// teller tells a client that is held, by side band 2, of what it waits for: git prints that at once, and a proxy in between
// sees that the connection lives. With the first word the answer has begun, and is a 200.
type teller struct {
	w  http.ResponseWriter
	x  *exchange
	on bool // the client takes side bands

	mu      sync.Mutex
	begun   bool
	waiting map[string]access.Approval // by ref
	order   []string
	since   time.Time
	done    chan struct{}
	ended   sync.WaitGroup
	// said is what was told, to be recorded when there is a permit to record it under.
	said []byte
}

// waits says that a ref's update is held for an approval.
func (t *teller) waits(ref string, a access.Approval) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.on {
		return
	}
	if t.waiting == nil {
		t.waiting, t.since, t.done = map[string]access.Approval{}, t.x.h.o.Now(), make(chan struct{})
		t.ended.Go(func() {
			if err := guard.Run(t.run); err != nil {
				t.x.h.o.Log.Error("telling a client that it is held", "operation", t.x.op.ID, "error", err)
			}
		})
	}
	if _, again := t.waiting[ref]; !again {
		t.order = append(t.order, ref)
	}
	t.waiting[ref] = a
	t.tell(fmt.Sprintf("gatebook: %s: %s", ref, a.Decision.Reason), fmt.Sprintf("gatebook: waiting for approval %s (open until %s); ask somebody who may approve", a.ID, a.Expires.UTC().Format(time.RFC3339)))
}

func (t *teller) run() {
	tick := time.NewTicker(t.x.h.o.Tell)
	defer tick.Stop()
	for {
		select {
		case <-t.done:
			return
		case <-tick.C:
			t.again()
		}
	}
}

func (t *teller) again() {
	t.mu.Lock()
	defer t.mu.Unlock()
	var ids []string
	for _, ref := range t.order {
		ids = append(ids, string(t.waiting[ref].ID))
	}
	t.tell(fmt.Sprintf("gatebook: still waiting for approval %s (%v)", strings.Join(ids, ", "), t.x.h.o.Now().Sub(t.since).Round(time.Second)))
}

// tell says lines to the client. That it has gone is known elsewhere.
func (t *teller) tell(lines ...string) {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(oneLine(l) + "\n")
	}
	var out buffer
	if err := pktline.NewWriter(&out).Band(pktline.Progress, []byte(b.String())); err != nil {
		return // a buffer takes everything
	}
	if !t.begun {
		t.begun = true
		beginAnswer(t.w, http.StatusOK, pushResult)
	}
	t.said = append(t.said, out.b...)
	if _, err := t.w.Write(out.b); err == nil {
		err = flush(t.w)
		if err != nil {
			t.x.h.o.Log.Debug("a held client was not told", "operation", t.x.op.ID, "error", err)
		}
	}
}

// stop ends the telling. Nothing is written after it.
func (t *teller) stop() {
	t.mu.Lock()
	if t.done != nil {
		close(t.done)
	}
	t.on = false
	t.mu.Unlock()
	t.ended.Wait()
}
