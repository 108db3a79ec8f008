// Package attack holds the attack cases, each named by its number: what somebody on the agent's side of the gateway
// tries, against the built binary and a real cluster. Each fails when the defence that it is about is switched off.
package attack

import (
	"os"
	"testing"

	"gatebook/test/lab"
)

var (
	cluster *lab.Cluster
	binary  string
)

func TestMain(m *testing.M) {
	os.Exit(lab.Main(m, func(c *lab.Cluster, b string) { cluster, binary = c, b }))
}
