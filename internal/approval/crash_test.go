package approval_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/approval"
	"gatebook/internal/store"
)

const crashEnv = "GATEBOOK_TEST_CRASH_INDEX"

func TestMain(m *testing.M) {
	if path := os.Getenv(crashEnv); path != "" {
		if err := spend(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// spend asks, answers and uses approvals for a few requests over and over, and says on stdout what ran: "run ID" right
// after Use returned, as an operation would run. It ends by being killed.
func spend(path string) error {
	s, err := store.Open(context.Background(), path, store.Options{})
	if err != nil {
		return err
	}
	d := approval.New(approval.Options{Store: s, MayApprove: func(access.Principal, access.Approval) bool { return true }})
	for i := 0; ; i++ {
		op, dec := operation(fmt.Sprint("request ", i%3)), decision(nil)
		a, err := d.Ask(context.Background(), op, dec, nil)
		if err != nil {
			return err
		}
		fmt.Println("ask", a.ID)
		if a.State == access.ApprovalPending {
			if _, err := d.Answer(context.Background(), a.ID, yes(ada)); err != nil {
				return err
			}
			fmt.Println("grant", a.ID)
		}
		for range 2 { // the second is a replay
			switch err := d.Use(context.Background(), a.ID, again(op), dec); {
			case err == nil:
				fmt.Println("run", a.ID)
			case !errors.Is(err, approval.ErrUsed):
				return err
			}
		}
	}
}

// I83: killed -9 at any moment and started again, what was approved once runs at most once, and nothing acknowledged
// is forgotten.
func TestKilled(t *testing.T) {
	path := t.TempDir() + "/index.db"
	ran, granted := map[string]int{}, map[string]bool{}
	for round := range 12 {
		lines := killed(t, path, 20+rand.IntN(60))
		for _, l := range lines {
			switch what, id, _ := strings.Cut(l, " "); what {
			case "run":
				ran[id]++
			case "grant":
				granted[id] = true
			}
		}
		if len(lines) == 0 {
			t.Fatalf("round %d did nothing", round)
		}
	}
	s, err := store.Open(t.Context(), path, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	for id, n := range ran {
		as, err := s.Approvals(t.Context(), access.ApprovalFilter{ID: access.ApprovalID(id)})
		if err != nil || len(as) != 1 {
			t.Fatalf("approval %s ran and is not there: %v", id, err)
		}
		if n != 1 || as[0].State != access.ApprovalUsed {
			t.Errorf("approval %s ran %d times, and is %s", id, n, as[0].State)
		}
	}
	for id := range granted {
		as, err := s.Approvals(t.Context(), access.ApprovalFilter{ID: access.ApprovalID(id)})
		if err != nil || len(as) != 1 || len(as[0].Answers) != 1 {
			t.Errorf("the answer to %s was acknowledged and is not there (%v)", id, err)
		}
	}
	if len(ran) < 50 {
		t.Errorf("only %d ran", len(ran))
	}
	t.Logf("%d approvals ran over 12 kills", len(ran))
}

// killed runs spend in a process of its own and kills it after some lines, at a moment of no meaning to it.
func killed(t *testing.T, path string, after int) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), crashEnv+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for sc := bufio.NewScanner(out); sc.Scan(); { // to the end of the pipe: what was said before the kill counts
		if lines = append(lines, sc.Text()); len(lines) == after {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != -1 {
		t.Fatalf("it was not killed: %v", err)
	}
	return lines
}
