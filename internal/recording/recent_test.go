package recording

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatebook/internal/access"
)

// What the index is told of an operation that was just recorded is what it is told when the journal is read again, and what a
// request does to its operation afterwards is in neither.
func TestRecentIsWhatIsDecoded(t *testing.T) {
	b := newBook(t)
	b.mustStart(nil)
	const n = 12
	for i := range n {
		op := operation(b, "s", fmt.Sprint("command ", i, strings.Repeat("\xff", i%2), strings.Repeat("x", i%4*maxRecentBytes/2)))
		if i%3 == 0 {
			op.Kubernetes.Object = map[string]any{"n": float64(i)}
		}
		d := access.Decision{Effect: access.Allow, Rules: []access.RuleHit{{ID: "r", Reason: "<because>"}}}
		if i == n-1 {
			if err := b.Refused(op, d, access.Refuse(access.CodeDenied, nil, "no")); err != nil {
				t.Fatal(err)
			}
			continue
		}
		var approval *access.Approval
		if i == 5 {
			approval = &access.Approval{ID: "a"}
		}
		o, err := b.Begin(op, d, approval, nil, false)
		if err != nil {
			t.Fatal(err)
		}
		op.Kubernetes.Name = "another"
		if i != 7 {
			end(t, o, access.Outcome{Code: 200 + i, Message: "é\xff"[:i%3]})
		}
	}
	b.awaitIndex()
	told := texts(t, b.index)
	b.kill()
	b.index = newMemoryIndex()
	b.mustStart(nil)
	b.awaitIndex()
	decoded := texts(t, b.index)
	for id := range decoded { // but that one was ended by the recovery
		if strings.Contains(decoded[id], "command 7") {
			delete(decoded, id)
			delete(told, id)
		}
	}
	if diff := cmp.Diff(decoded, told); diff != "" || len(told) != n-1 {
		t.Errorf("%d operations; decoded and told differ:\n%s", len(told), diff)
	}
}

func texts(t *testing.T, m *memoryIndex) map[access.OperationID]string {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[access.OperationID]string{}
	for id, r := range m.records {
		data, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		out[id] = string(data)
	}
	return out
}

// What nobody takes does not stay for ever, and does not keep others out.
func TestRecentIsBounded(t *testing.T) {
	var r recent
	o := &Opening{Operation: access.Operation{ID: "o"}}
	for i := range uint64(2 * maxRecent) {
		r.begin(i, o, nil)
		r.end(i, &Closing{}, nil)
	}
	if len(r.begun) != maxRecent || len(r.ended) != maxRecent {
		t.Errorf("%d begun and %d ended are kept", len(r.begun), len(r.ended))
	}
	if r.forget(maxRecent - 1); len(r.begun) != 1 || len(r.ended) != 1 {
		t.Errorf("%d begun and %d ended are left", len(r.begun), len(r.ended))
	}
	if r.begin(maxRecent, o, nil); r.takeBegun(maxRecent) == nil || r.takeBegun(maxRecent) != nil {
		t.Error("what is begun behind a new unit is not remembered, once")
	}
}
