package journal

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"
)

// What turns the test binary into the process that is killed: the folder, and the failpoint and its count at which it kills itself.
const (
	killDir   = "GATEBOOK_TEST_JOURNAL_DIR"
	killPoint = "GATEBOOK_TEST_JOURNAL_POINT"
	killAfter = "GATEBOOK_TEST_JOURNAL_AFTER"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(killDir); dir != "" {
		if err := appendUntilKilled(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// appendUntilKilled appends from several goroutines and prints each group's name once it is acknowledged.
func appendUntilKilled(dir string) error {
	after, err := strconv.Atoi(os.Getenv(killAfter))
	if err != nil {
		return err
	}
	var mu sync.Mutex
	point := os.Getenv(killPoint)
	j, err := Open(dir, Options{SegmentBytes: 20_000, Fail: func(p string) error {
		mu.Lock()
		defer mu.Unlock()
		if p != point {
			return nil
		}
		if after--; after > 0 {
			return nil
		}
		if p == FailShortWrite {
			return errors.New("die in the middle of a write")
		}
		return syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}})
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	failed := make(chan error, 8)
	for w := range 8 {
		wg.Go(func() {
			for i := range 100_000 {
				name := fmt.Sprintf("%d.%d.%d", os.Getpid(), w, i)
				if err := j.Append(Level(1+i%2), []byte(name), bytes.Repeat([]byte{byte(i)}, i%300)); err != nil {
					failed <- err
					return
				}
				fmt.Println(name) // one write, unbuffered
			}
		})
	}
	<-failed // only a short write gets here
	return syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

// TestKilledProcessLosesNothing is ATTACKS.md B94: a process that appends is really killed, at every failpoint and at random moments, and what it had
// acknowledged is found.
func TestKilledProcessLosesNothing(t *testing.T) {
	dir := t.TempDir()
	acknowledged := map[string]bool{}
	points := []string{FailWrite, FailShortWrite, FailWritten, FailSync, FailSynced, FailRotate, FailCreate, FailDirSync, "none", "none", "none"}
	for _, point := range points {
		for name := range killChild(t, dir, point) {
			acknowledged[name] = true
		}
		j, err := Open(dir, Options{})
		if err != nil {
			t.Fatalf("after a death at %q: %v", point, err)
		}
		found := map[string]bool{}
		for i, f := range readAll(t, j) {
			if i%2 == 0 {
				found[f] = true
			}
		}
		for name := range acknowledged {
			if !found[name] {
				t.Errorf("after a death at %q: %s was acknowledged and is missing", point, name)
			}
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(acknowledged) < 500 {
		t.Fatalf("only %d groups were acknowledged in all", len(acknowledged))
	}
}

// killChild runs a child until it is dead and returns what it had acknowledged.
func killChild(t *testing.T, dir, point string) map[string]bool {
	t.Helper()
	after := 1 + rand.IntN(60)
	if point == FailRotate || point == FailCreate || point == FailDirSync {
		after = 1 + rand.IntN(4)
	}
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), killDir+"="+dir, killPoint+"="+point, killAfter+"="+strconv.Itoa(after))
	var stderr bytes.Buffer
	child.Stderr = &stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	names, lines, limit := map[string]bool{}, bufio.NewScanner(out), 100+rand.IntN(1000)
	for lines.Scan() {
		names[lines.Text()] = true
		if point == "none" && len(names) == limit {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	err = child.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the child was to be killed at %q: %v: %s", point, err, stderr.String())
	}
	return names
}
