package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// process is one contestant: what was started, and its children.
type process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{}
	log  string
}

// start runs a command until stop. What it prints is kept in dir.
func start(dir, name string, argv ...string) (*process, error) {
	p := &process{name: name, cmd: exec.Command(argv[0], argv[1:]...), done: make(chan struct{}), log: filepath.Join(dir, name+".log")}
	f, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p.cmd.Stdout, p.cmd.Stderr = f, f
	p.cmd.Env = append(os.Environ(), "HOME="+dir)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is in its log
		close(p.done)
	}()
	return p, nil
}

// listening waits until the process accepts connections.
func (p *process) listening(addr string) error {
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		select {
		case <-p.done:
			return fmt.Errorf("%s ended at once:\n%s", p.name, p.output())
		default:
		}
		if c, err := net.Dial("tcp", addr); err == nil {
			return c.Close()
		}
	}
	return fmt.Errorf("%s does not listen on %s:\n%s", p.name, addr, p.output())
}

func (p *process) output() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func (p *process) stop() { p.end(syscall.SIGTERM) }
func (p *process) kill() { p.end(syscall.SIGKILL) }

func (p *process) end(sig syscall.Signal) {
	if p == nil {
		return
	}
	if err := p.cmd.Process.Signal(sig); err != nil {
		return // it has ended
	}
	select {
	case <-p.done:
	case <-time.After(30 * time.Second):
		progress("%s does not end; killing it", p.name)
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// pids are the process and its descendants.
func (p *process) pids() []int {
	out := []int{p.cmd.Process.Pid}
	for i := 0; i < len(out); i++ {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", out[i]))
		for _, t := range tasks {
			b, err := os.ReadFile(t)
			if err != nil {
				continue // a thread that ended
			}
			for _, f := range strings.Fields(string(b)) {
				if n, err := strconv.Atoi(f); err == nil {
					out = append(out, n)
				}
			}
		}
	}
	return out
}

// cpu is the time on a processor of the process and its descendants, threads that have ended included: the sum that
// /proc/PID/schedstat shows per thread, by the process's CPU clock (clock_getcpuclockid), which is exact.
func (p *process) cpu() time.Duration {
	var sum time.Duration
	for _, pid := range p.pids() {
		var ts syscall.Timespec
		const schedulerClock = 2 // CPUCLOCK_SCHED, of the whole process
		clock := uintptr((^pid << 3) | schedulerClock)
		if _, _, e := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clock, uintptr(unsafe.Pointer(&ts)), 0); e == 0 {
			sum += time.Duration(ts.Nano())
		}
	}
	return sum
}

// quiet waits until the process has done what it does afterwards (the recorder seals, the index is fed), so that its
// CPU time is the whole of it.
func (p *process) quiet(ctx context.Context) {
	calm := 0
	for last, end := p.cpu(), time.Now().Add(15*time.Second); calm < 3 && time.Now().Before(end) && ctx.Err() == nil; {
		time.Sleep(100 * time.Millisecond)
		now := p.cpu()
		if calm++; now-last > 2*time.Millisecond {
			calm = 0
		}
		last = now
	}
}

// memory reads a line such as VmRSS or VmHWM of the process's status, in bytes.
func (p *process) memory(field string) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("no %s of pid %d", field, p.cmd.Process.Pid)
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// output runs a command to its end.
func output(ctx context.Context, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var errs strings.Builder
	cmd.Stderr = io.MultiWriter(&errs)
	b, err := cmd.Output()
	if err != nil {
		return string(b), fmt.Errorf("%s: %w\n%s", argv[0], err, errs.String())
	}
	return string(b), nil
}
