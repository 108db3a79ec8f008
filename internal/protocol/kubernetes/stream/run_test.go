package stream

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/guard"
	"gatebook/internal/recording"
	"gatebook/internal/wire/remotecommand"
)

// end is one end of a command, played by the test.
type end struct {
	remotecommand.Conn
	frames chan remotecommand.Frame
	stuck  bool // takes nothing until it is aborted
	gone   chan struct{}
	once   sync.Once
	got    strings.Builder
}

func newEnd(stuck bool) *end {
	return &end{frames: make(chan remotecommand.Frame, 1), stuck: stuck, gone: make(chan struct{})}
}

func (*end) Protocol() remotecommand.Protocol { return remotecommand.V5 }

func (e *end) Receive(fn func(remotecommand.Frame) error) error {
	for {
		select {
		case f := <-e.frames:
			if err := fn(f); err != nil {
				return err
			}
		case <-e.gone:
			return nil
		}
	}
}

func (e *end) Send(_ remotecommand.Channel, p []byte) error {
	if e.stuck {
		<-e.gone
		return io.ErrClosedPipe
	}
	e.got.Write(p)
	return nil
}

func (*end) CloseSend(remotecommand.Channel) error { return nil }
func (e *end) Close()                              { e.Abort() }
func (e *end) Abort()                              { e.once.Do(func() { close(e.gone) }) }

type anyBook struct{}

func (anyBook) Record(recording.Stream, recording.Direction, []byte) error { return nil }
func (anyBook) Resize(uint16, uint16) error                                { return nil }

func nothing(dst io.Writer) Text { return plain{dst} }

// I80: the cut comes within a second, also where the client has stopped reading in the middle of a write, or the
// upstream has.
func TestI80CutOfAStuckEnd(t *testing.T) {
	for name, stuck := range map[string][2]bool{"client": {true, false}, "upstream": {false, true}, "both": {true, true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, upstream := newEnd(stuck[0]), newEnd(stuck[1])
				client.frames <- remotecommand.Frame{Channel: remotecommand.Stdin, Data: []byte("in")}
				upstream.frames <- remotecommand.Frame{Channel: remotecommand.Stdout, Data: []byte("out")}
				ctx, cut := context.WithCancelCause(context.Background())
				done := make(chan access.Outcome)
				go func() {
					done <- Command{Client: client, Upstream: upstream, Streams: remotecommand.Streams{Stdin: true, Stdout: true},
						Book: anyBook{}, Masks: Masks{Record: nothing}}.Run(ctx)
				}()
				synctest.Wait() // both are as stuck as they get
				began := time.Now()
				cut(access.Refuse(access.CodeRevoked, nil, "revoked"))
				out := <-done
				if took := time.Since(began); took >= time.Second || !strings.Contains(out.Truncated, "revoked") {
					t.Errorf("cut after %v: %+v", took, out)
				}
			})
		})
	}
}

// deafBook takes nothing in one direction.
type deafBook struct {
	anyBook
	to recording.Direction
}

var errDeaf = errors.New("no space left")

func (d deafBook) Record(_ recording.Stream, to recording.Direction, _ []byte) error {
	if to == d.to {
		return errDeaf
	}
	return nil
}

// No record, no action, in each direction by itself.
func TestUnrecordedBytesStay(t *testing.T) {
	for _, d := range []recording.Direction{recording.FromClient, recording.ToClient} {
		t.Run(d.String(), func(t *testing.T) {
			client, upstream := newEnd(false), newEnd(false)
			f := remotecommand.Frame{Channel: remotecommand.Stdout, Data: []byte("secret")}
			from := upstream
			if d == recording.FromClient {
				f.Channel, from = remotecommand.Stdin, client
			}
			from.frames <- f
			out := Command{Client: client, Upstream: upstream, Streams: remotecommand.Streams{Stdin: true, Stdout: true},
				Book: deafBook{to: d}, Masks: Masks{Record: nothing}}.Run(t.Context())
			if strings.Contains(client.got.String()+upstream.got.String(), "secret") || !strings.Contains(out.Truncated, "recorded") {
				t.Errorf("client got %q, upstream %q, %+v", client.got.String(), upstream.got.String(), out)
			}
		})
	}
}

// brittleBook panics on what it is given in one direction, brittleText on its way, brittleEnd before it has it.
type brittleBook struct {
	anyBook
	to recording.Direction
}

func (b brittleBook) Record(_ recording.Stream, to recording.Direction, _ []byte) error {
	if to == b.to {
		panic("the book")
	}
	return nil
}

type brittleText struct{ plain }

func (brittleText) Write([]byte) (int, error) { panic("the text") }

// late holds everything back, so that the timer lets it go.
type late struct {
	plain
	held *int
}

func (l late) Write(p []byte) (int, error) { *l.held += len(p); return len(p), nil }
func (l late) Held() int                   { return *l.held }

type brittleEnd struct{ *end }

func (brittleEnd) Receive(func(remotecommand.Frame) error) error { panic("the end") }

// A panic ends the stream that it happened in, wherever that is, with nothing more sent, both ends closed, and word of it;
// this process goes on.
func TestAPanicEndsItsStreamAlone(t *testing.T) {
	brittle := func(io.Writer) Text { return brittleText{} }
	var held int
	for _, c := range []struct {
		name       string
		book       Book
		masks      Masks
		breaksAt   string
		fromClient bool
	}{
		{"recording input", brittleBook{to: recording.FromClient}, Masks{Record: nothing}, "", true},
		{"recording output", brittleBook{to: recording.ToClient}, Masks{Record: nothing}, "", false},
		{"masking input for the book", anyBook{}, Masks{Record: brittle}, "", true},
		{"masking output", anyBook{}, Masks{Record: nothing, Client: brittle}, "", false},
		{"input that lingers", anyBook{}, Masks{Record: func(dst io.Writer) Text { return late{plain{dst}, &held} },
			Digest: func(recording.Stream, int64, []byte) string { panic("the digest") }}, "", true},
		{"reading from the client", anyBook{}, Masks{Record: nothing}, "client", true},
		{"reading from the upstream", anyBook{}, Masks{Record: nothing}, "upstream", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, upstream := newEnd(false), newEnd(false)
			f := remotecommand.Frame{Channel: remotecommand.Stdout, Data: []byte("secret")}
			from := upstream
			if c.fromClient {
				f.Channel, from = remotecommand.Stdin, client
			}
			from.frames <- f
			var why error
			x := Command{Client: client, Upstream: upstream, Streams: remotecommand.Streams{Stdin: true, Stdout: true}, Book: c.book, Masks: c.masks,
				Failed: func(err error) { why = err }}
			switch c.breaksAt {
			case "client":
				x.Client = brittleEnd{client}
			case "upstream":
				x.Upstream = brittleEnd{upstream}
			}
			out := x.Run(t.Context())
			<-client.gone
			<-upstream.gone
			var p *guard.Panic
			if strings.Contains(client.got.String()+upstream.got.String(), "secret") || !strings.Contains(out.Truncated, "the gateway failed") || !errors.As(why, &p) {
				t.Errorf("client got %q, upstream %q, %+v, said %v", client.got.String(), upstream.got.String(), out, why)
			}
		})
	}
}
