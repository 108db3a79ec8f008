package attack

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
	"gatebook/test/lab"
)

// allowAll lets everything through, so that a test is about something else; the default masks stay on.
const allowAll = `rules:
  - {id: everything, protocol: kubernetes, effect: allow, reason: a test allows everything}
`

// admin runs kubectl directly at the cluster, as its administrator.
func admin(t *testing.T, stdin string, args ...string) lab.Result {
	t.Helper()
	return cluster.Admin(t, stdin, args...)
}

func must(t *testing.T, r lab.Result) lab.Result {
	t.Helper()
	return lab.Must(t, r)
}

// namespace makes a namespace that ends with the test.
func namespace(t *testing.T) string {
	t.Helper()
	return cluster.Namespace(t)
}

// pod makes a running pod of one busybox container c under the service account claude. more is further YAML of the
// container, indented by four spaces.
func pod(t *testing.T, ns, name, more string) {
	t.Helper()
	admin(t, "", "-n", ns, "create", "sa", "claude")
	must(t, admin(t, fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: %s, labels: {app: %s}}
spec:
  serviceAccountName: claude
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: lab.local/busybox:1
    imagePullPolicy: Never
    command: [sh, -c, "echo started; sleep 100000"]
%s`, name, ns, name, more), "apply", "-f", "-"))
	must(t, admin(t, "", "-n", ns, "wait", "--for=condition=Ready", "pod/"+name, "--timeout=180s"))
}

// pending waits for an approval of an operation whose command contains text.
func pending(t *testing.T, x *client.Client, text string) access.Approval {
	t.Helper()
	for deadline := time.Now().Add(lab.Patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		page, err := x.Approvals(t.Context(), access.ApprovalPending)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range page.Items {
			if strings.Contains(a.Operation.Command, text) {
				return a
			}
		}
	}
	t.Fatalf("nobody was asked about %q", text)
	return access.Approval{}
}

// abandoned waits until the gateway sees that who was held for an approval has gone: an answer that comes before that may be taken for
// one in time.
func abandoned(t *testing.T, x *client.Client, id access.ApprovalID) {
	t.Helper()
	waitFor(t, "the gateway to see that its client has gone", func() bool {
		a, err := x.Approval(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return !a.Waiting
	})
}

var markers atomic.Int64

// book gives all that is recorded of a principal's operations until now, the earliest first, once each has its end. The index is fed
// in order: what came before a marker is there when the marker is; but a client may have its answer before its end is recorded.
func book(t *testing.T, g *lab.Gateway, principal string) []access.Record {
	t.Helper()
	marker := fmt.Sprintf("marker-%d", markers.Add(1))
	over(t, g, h1).do(request{path: "/t/lab/" + marker, token: g.Person(marker)})
	auditor := g.API(g.Person("grace", "auditors"))
	for deadline := time.Now().Add(lab.Patience); ; time.Sleep(20 * time.Millisecond) {
		page, err := auditor.Operations(t.Context(), client.Query{Principal: marker})
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Items) > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the index does not get on")
		}
	}
	for deadline := time.Now().Add(lab.Patience); ; time.Sleep(20 * time.Millisecond) {
		all := operations(t, auditor, client.Query{Principal: principal, Limit: 500})
		if !slices.ContainsFunc(all, func(r access.Record) bool { return r.Outcome == nil }) || time.Now().After(deadline) {
			return all
		}
	}
}

// operations gives all that a query finds, the earliest first.
func operations(t *testing.T, auditor *client.Client, q client.Query) (all []access.Record) {
	t.Helper()
	for {
		page, err := auditor.Operations(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page.Items...)
		if q.Cursor = page.Next; q.Cursor == "" {
			slices.Reverse(all)
			return all
		}
	}
}

// own leaves out what the gateway read for an operation.
func own(all []access.Record) []access.Record {
	return slices.DeleteFunc(slices.Clone(all), func(r access.Record) bool { return r.Operation.Parent != "" })
}

// refusedOnce asserts that the book holds exactly one operation of the principal, refused with code.
func refusedOnce(t *testing.T, g *lab.Gateway, principal string, code access.Code) access.Record {
	t.Helper()
	all := own(book(t, g, principal))
	if len(all) != 1 {
		t.Fatalf("%d records of %s, want 1: %+v", len(all), principal, all)
	}
	if r := all[0].Refused; r == nil || r.Code != code {
		t.Errorf("recorded %q as %+v, outcome %+v, decision %+v; want refused with %s", all[0].Operation.Command, r, all[0].Outcome, all[0].Decision, code)
	}
	return all[0]
}

// reached gives what the API server itself saw of a principal, but for what the gateway read for an operation: it is
// empty where an operation was refused.
func reached(t *testing.T, g *lab.Gateway, a *lab.Audit, principal string) []lab.AuditEvent {
	t.Helper()
	lookups := map[string]bool{}
	for _, r := range book(t, g, principal) {
		if r.Operation.Parent != "" {
			lookups[string(r.Operation.ID)] = true
		}
	}
	return slices.DeleteFunc(a.Events(t, principal), func(e lab.AuditEvent) bool { return lookups[e.ID] })
}
