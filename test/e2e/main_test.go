// Package e2e tests the built binary against a real cluster: what people and agents do with it, and what a crash leaves.
package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
	"gatebook/test/lab"
)

var (
	cluster *lab.Cluster
	binary  string
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(dyingDir); dir != "" {
		fmt.Fprintln(os.Stderr, serveUntilKilled(dir))
		os.Exit(1)
	}
	os.Exit(lab.Main(m, func(c *lab.Cluster, b string) { cluster, binary = c, b }))
}

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

// found waits until the index has n operations that q selects, all of them ended. It follows the journal, a moment behind.
func found(t *testing.T, x *client.Client, q client.Query, n int) []access.Record {
	t.Helper()
	for deadline := time.Now().Add(lab.Patience); ; time.Sleep(20 * time.Millisecond) {
		page, err := x.Operations(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		running := slices.ContainsFunc(page.Items, func(r access.Record) bool { return r.Outcome == nil })
		if len(page.Items) == n && !running {
			return page.Items
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d operations, want %d, ended: %+v", len(page.Items), n, page.Items)
		}
	}
}

// abandoned waits until the gateway sees that who was held for an approval has gone: an answer that comes before that may be taken for
// one in time.
func abandoned(t *testing.T, x *client.Client, id access.ApprovalID) {
	t.Helper()
	for deadline := time.Now().Add(lab.Patience); ; time.Sleep(50 * time.Millisecond) {
		a, err := x.Approval(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if !a.Waiting {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the gateway does not see that its client has gone")
		}
	}
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
