package main

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// invoke runs a command line in this process.
func invoke(t *testing.T, args ...string) (out string, err error) {
	t.Helper()
	for _, k := range []string{"GATEBOOK_URL", "GATEBOOK_CA", "GATEBOOK_TOKEN_FILE", "GATEBOOK_KEY", "KUBECONFIG"} {
		t.Setenv(k, "")
	}
	home := t.TempDir()
	for _, k := range []string{"HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"} {
		t.Setenv(k, home)
	}
	c := root()
	var b bytes.Buffer
	c.SetOut(&b)
	c.SetErr(io.Discard)
	c.SetArgs(args)
	err = c.ExecuteContext(t.Context())
	return b.String(), err
}

// What was asked wrongly ends with 2, and says what is wrong and how it goes.
func TestAskedWrongly(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	for _, c := range []struct{ args, says string }{
		{"bogus", "gatebook has no command \"bogus\""},
		{"aprove X", "did you mean approve"},
		{"config bogus", "gatebook config has no command"},
		{"policy tset x", "did you mean test"},
		{"approve", "gatebook approve ID"},
		{"deny a b", "gatebook deny ID"},
		{"whoami extra", "gatebook whoami"},
		{"tail a b", "gatebook tail [SESSION]"},
		{"config check", "gatebook config check FILE"},
		{"policy explain", "gatebook policy explain OPERATION"},
		{"serve", "--config FILE"},
		{"serve --config " + missing, missing},
		{"sessions --limit many", "--limit"},
		{"--bogus", "--bogus"},
		{"whoami", "--gateway"},
		{"whoami --gateway http://x", "https://host"},
		{"whoami --gateway https://x --ca " + missing, missing},
		{"verify", "--data"},
		{"verify --data " + missing, missing},
		{"verify --data " + missing + " --public-key not+a+key", "public key"},
		{"show x --archive " + missing, missing},
		{"show x --archive . --key " + missing, missing},
		{"policy check " + missing, missing},
		{"policy test " + missing, missing},
		{"up", "kubeconfig"},
		{"index rebuild", "--config"},
		{"index rebuild --config " + missing, missing},
		{"index rebuld", "did you mean rebuild"},
	} {
		_, err := invoke(t, strings.Fields(c.args)...)
		var usage usageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("gatebook %s: %v, want a usage error with %q", c.args, err, c.says)
		}
	}
}

func TestGroupsShowTheirHelp(t *testing.T) {
	for _, args := range [][]string{{}, {"config"}, {"policy"}, {"policy", "--help"}} {
		out, err := invoke(t, args...)
		if err != nil || !strings.Contains(out, "Usage:") {
			t.Errorf("gatebook %v: %v %q", args, err, out)
		}
	}
}

// Every verb has a line of help, says how it goes, and runs something.
func TestEveryVerbIsExplained(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Short == "" || strings.HasSuffix(c.Short, ".") || c.RunE == nil {
			t.Errorf("%s: %q", c.CommandPath(), c.Short)
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root())
}

func TestNoLogin(t *testing.T) {
	_, err := invoke(t, "whoami", "--gateway", "https://gw.example")
	if err == nil || !strings.Contains(err.Error(), "gatebook login --gateway https://gw.example") {
		t.Errorf("%v", err)
	}
}
