package lab

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// Main runs a package's tests with one cluster and one built gateway for all of them, which ready is told of first, and
// gives the exit code. With GATEBOOK_BINARY the gateway is not built anew: that is how a defence is switched off to see
// its test fail.
func Main(m *testing.M, ready func(c *Cluster, binary string)) int {
	code, err := runAll(m, ready)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func runAll(m *testing.M, ready func(c *Cluster, binary string)) (int, error) {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "gbbin")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	parsers.dir = dir
	binary := os.Getenv("GATEBOOK_BINARY")
	if binary == "" {
		if binary, err = Build(ctx, dir); err != nil {
			return 0, err
		}
	}
	c, err := StartCluster(ctx, os.Stderr)
	if err != nil {
		return 0, err
	}
	ready(c, binary)
	code := m.Run()
	StopPostgres()
	if err := c.Stop(os.Stderr); err != nil {
		return 0, fmt.Errorf("stopping the cluster: %w", err)
	}
	return code, nil
}

// Patience is how long a test waits for what has to come: so long that a machine on which much else runs does not fail it. What
// it waits for is always a condition, so that it costs nothing where it is there.
const Patience = 2 * time.Minute

// Admin runs kubectl directly at the cluster, as its administrator.
func (c *Cluster) Admin(t testing.TB, stdin string, args ...string) Result {
	t.Helper()
	r, err := c.Kubectl(context.Background(), c.Kubeconfig, stdin, args...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Must gives the result of a command that has to succeed.
func Must(t testing.TB, r Result) Result {
	t.Helper()
	if r.Code != 0 {
		t.Fatalf("exit %d\n%s", r.Code, r.Out())
	}
	return r
}

// Namespace makes a namespace that ends with the test.
func (c *Cluster) Namespace(t testing.TB) string {
	t.Helper()
	ns := strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
	ns = fmt.Sprintf("%.40s-%d", ns, time.Now().UnixNano()%1e6)
	Must(t, c.Admin(t, "", "create", "namespace", ns))
	t.Cleanup(func() { c.Admin(t, "", "delete", "namespace", ns, "--wait=false") })
	return ns
}
