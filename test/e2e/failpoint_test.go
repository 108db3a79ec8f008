package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"

	"gatebook/internal/access"
	"gatebook/internal/journal"
)

// What turns the test binary into a gateway that kills itself: its folder, and the journal's failpoint and how often
// it is passed before.
const (
	dyingDir   = "GATEBOOK_TEST_DYING_DIR"
	dyingPoint = "GATEBOOK_TEST_DYING_POINT"
	dyingAfter = "GATEBOOK_TEST_DYING_AFTER"
)

// serveUntilKilled is the child: a stack that kills itself -9 at a failpoint. It prints its address first, and then
// each request that reached its API server, at once.
func serveUntilKilled(dir string) error {
	left, err := strconv.Atoi(os.Getenv(dyingAfter))
	if err != nil {
		return err
	}
	var passed atomic.Int64
	point := os.Getenv(dyingPoint)
	armed := &atomic.Bool{}
	s, err := openStack(dir, func(at string) error {
		if at != point || !armed.Load() || passed.Add(1) < int64(left) {
			return nil
		}
		if at == journal.FailShortWrite {
			go syscall.Kill(os.Getpid(), syscall.SIGKILL) // with half of the batch in the file
			return syscall.EIO
		}
		return syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}, 20_000)
	if err != nil {
		return err
	}
	armed.Store(true)
	say := func(id string) { fmt.Println("reached", id) } // one write, unbuffered
	s.during.Store(&say)
	fmt.Println("serves", s.front.URL)
	_, err = bufio.NewReader(os.Stdin).ReadByte() // until the parent is gone
	return err
}

// B92, B94: a gateway is really killed at each failpoint of the journal, again and again on the same folder, while
// clients work. What they were told is in the book, which is whole; and nothing reached the cluster that is not in it.
func TestKilledAtEveryFailpoint(t *testing.T) {
	dir := t.TempDir()
	said := newSaid(t)
	reached := map[access.OperationID]int{}
	for _, point := range []string{journal.FailWrite, journal.FailShortWrite, journal.FailWritten, journal.FailSync,
		journal.FailSynced, journal.FailRotate, journal.FailCreate, journal.FailDirSync} {
		for range 2 {
			after := 1 + rand.IntN(40)
			if point == journal.FailRotate || point == journal.FailCreate || point == journal.FailDirSync {
				after = 1 + rand.IntN(2)
			}
			dieOnce(t, said, reached, dir, point, after)
		}
	}
	s, err := openStack(dir, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	book := reopen(t, s, false)
	said.compare(book)
	for id, n := range reached {
		if op := book[id]; op == nil || n != 1 {
			t.Errorf("operation %s reached the cluster %d times, and the book has it: %v", id, n, op != nil)
		}
	}
	t.Logf("%d answers, %d operations reached the cluster, %d are recorded", len(said.of), len(reached), len(book))
	if len(said.of) < 20 {
		t.Errorf("only %d answers came", len(said.of))
	}
}

// dieOnce starts a child, and works with it until it is dead.
func dieOnce(t *testing.T, said *said, reached map[access.OperationID]int, dir, point string, after int) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), dyingDir+"="+dir, dyingPoint+"="+point, dyingAfter+"="+strconv.Itoa(after))
	var stderr bytes.Buffer
	child.Stderr = &stderr
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	var url string
	if lines.Scan() {
		fmt.Sscanf(lines.Text(), "serves %s", &url)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines.Scan() {
			var id string
			if n, err := fmt.Sscanf(lines.Text(), "reached %s", &id); n == 1 && err == nil {
				reached[access.OperationID(id)]++
			}
		}
	}()
	for i := 0; ; i++ {
		method, body := "GET", ""
		if i%2 == 1 {
			method, body = "POST", configMap(fmt.Sprintf("%s-%d", point, i))
		}
		r, err := send(url, method, body)
		said.part(r, err)
		if err == nil && r.code == http.StatusOK && r.broken == nil {
			said.of[len(said.of)-1].whole, said.of[len(said.of)-1].sent = true, body
		}
		if err != nil || i > 2000 {
			break
		}
	}
	<-done
	err = child.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the child was to be killed at %q: %v: %s", point, err, stderr.String())
	}
}
