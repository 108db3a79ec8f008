package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestKeysAreMadeOnceAndKept(t *testing.T) {
	dir := t.TempDir()
	first, err := loadKeys(dir, "test/gatebook", nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := loadKeys(dir, "test/gatebook", nil)
	if err != nil {
		t.Fatal(err)
	}
	if string(first.mask) != string(again.mask) || string(first.digest) != string(again.digest) || first.verifier != again.verifier {
		t.Error("a restart has other keys")
	}
	if string(first.mask) == string(first.digest) {
		t.Error("one key for two uses")
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		i, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		if want := map[bool]os.FileMode{false: 0o600, true: 0o644}[f.Name() == "ledger.pub"]; i.Mode().Perm() != want || strings.HasPrefix(f.Name(), ".") {
			t.Errorf("%s has mode %v", f.Name(), i.Mode())
		}
	}
	if _, err := loadKeys(dir, "another/gatebook", nil); err == nil || !strings.Contains(err.Error(), "recording.origin") {
		t.Errorf("another origin: %v", err)
	}
	if _, err := loadKeys(dir, "test/gatebook", []string{"AGE-SECRET-KEY-1"}); err == nil || strings.Contains(err.Error(), "index") {
		t.Errorf("a private key for an auditor's public one: %v", err)
	}
}

// A key that was not written whole is no key: what a full disk left of it is never used.
func TestAnEmptyKeyIsNone(t *testing.T) {
	for _, name := range []string{"secret.key", "ledger.key", "auditor.key"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), []byte("\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := loadKeys(dir, "test/gatebook", nil); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
