package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"gatebook/internal/access"
)

// The policy in force follows its folder, and a folder that is broken, moved away or gone changes nothing.
func TestPolicyFollowsItsFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "policy")
	write := func(dir, id string) {
		t.Helper()
		text := "rules:\n  - {id: " + id + ", effect: allow, when: \"true\", reason: because}\n"
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "p.yaml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(dir, "one")
	p := &policyFolder{dir: dir, log: slog.New(slog.DiscardHandler), retry: 10 * time.Millisecond}
	if err := p.load(); err != nil {
		t.Fatal(err)
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Add(dir); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); p.watch(ctx, w, nil) }()
	defer func() { stop(); <-done }()

	decidedBy := func(id string) {
		t.Helper()
		for range 1000 {
			d, _ := p.current().Decide(&access.Operation{})
			if len(d.Rules) == 1 && d.Rules[0].ID == id {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatalf("rule %s is not in force", id)
	}
	write(dir, "two")
	decidedBy("two")
	if err := os.WriteFile(filepath.Join(dir, "broken.yaml"), []byte("rules: [{"), 0o644); err != nil {
		t.Fatal(err)
	}
	p.reload()
	decidedBy("two")

	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	p.reload()
	decidedBy("two")
	write(dir, "three") // another folder of the same name
	decidedBy("three")

	write(dir+".new", "four")
	if err := os.Rename(dir, dir+".old"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir+".new", dir); err != nil {
		t.Fatal(err)
	}
	decidedBy("four")
}
