package e2e

import (
	"context"
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
	os.Exit(runAll(m))
}

// runAll starts one cluster for all tests of the package, and stops it.
func runAll(m *testing.M) int {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "gbbin")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if binary, err = lab.Build(ctx, dir); err == nil {
		cluster, err = lab.StartCluster(ctx, os.Stderr)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := cluster.Stop(os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "stopping the cluster:", err)
		return 1
	}
	return code
}

// admin runs kubectl directly at the cluster, as its administrator.
func admin(t *testing.T, stdin string, args ...string) lab.Result {
	t.Helper()
	r, err := cluster.Kubectl(context.Background(), cluster.Kubeconfig, stdin, args...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func must(t *testing.T, r lab.Result) lab.Result {
	t.Helper()
	if r.Code != 0 {
		t.Fatalf("exit %d\n%s", r.Code, r.Out())
	}
	return r
}

// namespace makes a namespace that ends with the test.
func namespace(t *testing.T) string {
	t.Helper()
	ns := strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
	ns = fmt.Sprintf("%.40s-%d", ns, time.Now().UnixNano()%1e6)
	must(t, admin(t, "", "create", "namespace", ns))
	t.Cleanup(func() { admin(t, "", "delete", "namespace", ns, "--wait=false") })
	return ns
}

// found waits until the index has n operations that q selects, all of them ended. It follows the journal, a moment behind.
func found(t *testing.T, x *client.Client, q client.Query, n int) []access.Record {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
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

// pending waits for an approval of an operation whose command contains text.
func pending(t *testing.T, x *client.Client, text string) access.Approval {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
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
