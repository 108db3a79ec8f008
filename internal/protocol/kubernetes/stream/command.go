package stream

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gatebook/internal/access"
	"gatebook/internal/recording"
	"gatebook/internal/wire/remotecommand"
)

// cutGrace is how long a client that is being cut has to take what it was sent.
const cutGrace = 500 * time.Millisecond

// errClientGone says that the client ended the connection before the command had ended.
var errClientGone = errors.New("the client went away")

// Command is an exec or attach under way: both ends stand, and are Run's to close.
type Command struct {
	Client   remotecommand.Conn
	Upstream remotecommand.Conn
	Streams  remotecommand.Streams
	Book     Book
	Masks    Masks
	// Failed, where set, is told why the stream was ended, where neither end did it.
	Failed func(error)
}

// run is the state of one Run.
type run struct {
	Command
	stdin  *lane
	stdout *lane
	stderr *lane
	sizes  sizes
	status []byte // as the upstream sends it

	mu    sync.Mutex
	over  bool  // the upstream has ended, and failures no longer count
	cause error // the first failure
	timer *time.Timer
}

// Run carries the command until it ends, the client goes, an error, or the end of ctx, whose cause the client is then
// told. It returns how it ended; the duration is the caller's to add.
func (c Command) Run(ctx context.Context) access.Outcome {
	r := &run{Command: c}
	to := func(ch remotecommand.Channel) func([]byte) error {
		return func(b []byte) error { return clientError(c.Client.Send(ch, b)) }
	}
	r.stdout = toClient(c.Book, recording.Stdout, c.Masks, to(remotecommand.Stdout))
	r.stderr = toClient(c.Book, recording.Stderr, c.Masks, to(remotecommand.Stderr))
	r.stdin = toUpstream(c.Book, recording.Stdin, c.Masks, func(b []byte) error {
		return c.Upstream.Send(remotecommand.Stdin, b)
	}, r.failStdin)

	stop := context.AfterFunc(ctx, func() { r.fail(cutBy(ctx)) })
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { r.fail(r.receive()) })
	out := r.finish(upstreamError(guarded(func() error { return c.Upstream.Receive(r.fromUpstream) })))
	wg.Wait()
	return out
}

// cutBy says why ctx ended: a refusal, or the client's going.
func cutBy(ctx context.Context) error {
	var why *access.Refusal
	if errors.As(context.Cause(ctx), &why) {
		return why
	}
	return clientError(context.Cause(ctx))
}

// upstreamError says what an error of the upstream's connection means, unless it is another's.
func upstreamError(err error) error {
	var why *access.Refusal
	if err == nil || errors.Is(err, errClientGone) || errors.As(err, &why) {
		return err
	}
	return access.Refuse(access.CodeUpstream, err, "the connection to the target broke")
}

// clientError marks an error of the client's connection as the client's going.
func clientError(err error) error {
	if err == nil {
		return nil
	}
	return errors.Join(errClientGone, err)
}

// receive takes what the client sends until it goes.
func (r *run) receive() error {
	err := guarded(func() error { return r.Client.Receive(r.fromClient) })
	var why *access.Refusal
	switch {
	case err == nil:
		return errClientGone
	case errors.As(err, &why):
		return err
	}
	return clientError(err)
}

// fail ends the connection for the first reason given. It may be called from any goroutine, also within Receive.
func (r *run) fail(err error) {
	r.mu.Lock()
	first := !r.over && r.cause == nil
	if first {
		r.cause = err
		// A client that takes nothing cannot hold up the cut.
		r.timer = time.AfterFunc(cutGrace, r.Client.Abort)
	}
	r.mu.Unlock()
	if first {
		r.Upstream.Abort()
	}
}

func (r *run) fromClient(f remotecommand.Frame) error {
	switch f.Channel {
	case remotecommand.Stdin:
		if f.Closed {
			return r.closeStdin()
		}
		return input(r.stdin.write(f.Data))
	case remotecommand.Resize:
		return r.resize(f.Data)
	}
	return nil
}

// input tells a book that failed from an upstream that no longer reads. In the second case the rest is dropped: a
// command that has stopped reading may still write, and what it says of its end is still to come.
func input(err error) error {
	var why *access.Refusal
	if errors.As(err, &why) {
		return err
	}
	return nil
}

// failStdin is told of input that could not go on after its linger.
func (r *run) failStdin(err error) {
	if err := input(err); err != nil {
		r.fail(err)
	}
}

func (r *run) closeStdin() error {
	if err := r.stdin.close(); err != nil {
		return input(err)
	}
	return input(r.Upstream.CloseSend(remotecommand.Stdin))
}

func (r *run) resize(b []byte) error {
	found, err := r.sizes.next(b)
	for _, s := range found {
		if err := r.Book.Resize(s.Width, s.Height); err != nil {
			return err
		}
		if err := r.Upstream.Send(remotecommand.Resize, s.encode()); err != nil {
			return input(err)
		}
	}
	if err != nil {
		return access.Refuse(access.CodeMalformed, err, "the terminal's size cannot be read")
	}
	return nil
}

func (r *run) fromUpstream(f remotecommand.Frame) error {
	var l *lane
	switch f.Channel {
	case remotecommand.Stdout:
		l = r.stdout
	case remotecommand.Stderr:
		l = r.stderr
	case remotecommand.Error:
		if len(r.status)+len(f.Data) > maxStatus {
			return access.Refuse(access.CodeUpstream, nil, "the target's exit status is longer than %d bytes", maxStatus)
		}
		r.status = append(r.status, f.Data...)
		return nil
	default:
		return nil
	}
	if !f.Closed {
		return l.write(f.Data)
	}
	if err := l.close(); err != nil {
		return err
	}
	return clientError(r.Client.CloseSend(f.Channel))
}

// finish tells the client how it ended, after everything else, closes both ends and sums up.
func (r *run) finish(received error) access.Outcome {
	err := r.settle(received)
	if err != nil && !errors.Is(err, errClientGone) && r.Failed != nil {
		r.Failed(err)
	}
	out := access.Outcome{Code: http.StatusSwitchingProtocols, ExitCode: -1}
	status := r.ending(err, &out)
	if !errors.Is(err, errClientGone) {
		out.ResponseBytes += r.tell(status)
	}
	r.Upstream.Close()
	r.Client.Close()
	r.stdin.abandon()
	r.sum(&out)
	return out
}

// settle decides why it ended; nil means by itself. Output that was held back goes to the client unless it was cut.
func (r *run) settle(received error) error {
	if len(r.status) > 0 {
		var why *access.Refusal
		if errors.As(received, &why) && why.Code == access.CodeUpstream {
			received = nil // the exit status is the last that a command says: how the connection ended then is no matter
		}
	}
	if !r.isCut() {
		received = errors.Join(received, r.stdout.close(), r.stderr.close())
	}
	r.stdout.abandon()
	r.stderr.abandon()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cause == nil {
		r.cause = received
	}
	r.over = true
	return r.cause
}

func (r *run) isCut() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cause != nil
}

// ending decides what the client is told: what the upstream said, or why it was cut.
func (r *run) ending(err error, out *access.Outcome) *metav1.Status {
	s, masked, unread := r.said()
	if unread == nil {
		out.ExitCode, out.Masked = exitCode(s), masked
		if s.Status == metav1.StatusFailure {
			out.Message = s.Message
		}
	}
	switch {
	case errors.Is(err, errClientGone):
		out.Truncated = errClientGone.Error()
		return nil
	case err == nil && unread == nil:
		return s
	case err == nil:
		err = unread
	}
	s = failure(err)
	out.Message, out.Truncated = s.Message, s.Message
	return s
}

// said reads, masked, what the upstream said of the command's end.
func (r *run) said() (*metav1.Status, int64, error) {
	if len(r.status) == 0 {
		return nil, 0, access.Refuse(access.CodeUpstream, nil, "the target ended the stream without saying how the command ended")
	}
	s, err := readStatus(r.status)
	if err != nil {
		return nil, 0, access.Refuse(access.CodeUpstream, err, "what the target said of the command's end cannot be read")
	}
	var masked int64
	if err := guarded(func() (err error) {
		masked, err = maskStatus(s, r.Masks)
		return err
	}); err != nil {
		return nil, 0, access.Refuse(access.CodeUnmaskable, err, "what the target said of the command's end cannot be masked")
	}
	return s, masked, nil
}

// tell sends the Status, recorded first, and ends the client's streams. It returns the bytes sent.
func (r *run) tell(s *metav1.Status) int64 {
	b, err := encodeStatus(s, r.Client.Protocol().StatusInJSON())
	if err != nil {
		return 0
	}
	var n int64
	if len(b) > 0 && record(r.Book, recording.Status, recording.ToClient, b) == nil && r.Client.Send(remotecommand.Error, b) == nil {
		n = int64(len(b))
	}
	for _, ch := range []remotecommand.Channel{remotecommand.Stdout, remotecommand.Stderr, remotecommand.Error} {
		if r.Client.CloseSend(ch) != nil {
			break // the client has gone; there is nobody to tell
		}
	}
	return n
}

func (r *run) sum(out *access.Outcome) {
	r.mu.Lock()
	if r.timer != nil {
		r.timer.Stop()
	}
	r.mu.Unlock()
	for _, l := range []*lane{r.stdout, r.stderr} {
		n, m := l.tally()
		out.ResponseBytes, out.Masked = out.ResponseBytes+n, out.Masked+m
	}
	out.RequestBytes, _ = r.stdin.tally()
}
