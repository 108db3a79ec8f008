// Package attack holds the attack cases, each named by its number: what somebody on the agent's side of the gateway
// tries, against the built binary and a real cluster. Each fails when the defence that it is about is switched off.
package attack

import (
	"context"
	"fmt"
	"os"
	"testing"

	"gatebook/test/lab"
)

var (
	cluster *lab.Cluster
	binary  string
)

func TestMain(m *testing.M) { os.Exit(runAll(m)) }

// runAll starts one cluster for all tests of the package, and stops it. With GATEBOOK_BINARY the gateway is not built
// anew: that is how a defence is switched off to see its test fail.
func runAll(m *testing.M) int {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "gbbin")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if binary = os.Getenv("GATEBOOK_BINARY"); binary == "" {
		binary, err = lab.Build(ctx, dir)
	}
	if err == nil {
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
