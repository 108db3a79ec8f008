package credential

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
)

// letGo is an upstream that ends its answer as if that were whole when it is let go.
type letGo struct {
	io.Reader
	ctx context.Context
}

func (l *letGo) Read(p []byte) (int, error) {
	n, err := l.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		<-l.ctx.Done()
	}
	return n, err
}

func (*letGo) Close() error                { return nil }
func (*letGo) Write(b []byte) (int, error) { return len(b), nil }

// I80: an answer that ends well after it was cut has not ended well.
func TestI80EndAfterACutIsNone(t *testing.T) {
	cut := errors.New("revoked")
	for name, of := range map[string]func(*letGo) io.ReadCloser{
		"an answer": func(l *letGo) io.ReadCloser { return struct{ io.ReadCloser }{l} },
		"a stream":  func(l *letGo) io.ReadCloser { return l },
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		b := bind(ctx, of(&letGo{strings.NewReader("some"), ctx}), func() { cancel(nil) })
		if n, err := b.Read(make([]byte, 4)); n != 4 || err != nil {
			t.Fatal(n, err)
		}
		cancel(cut)
		if n, err := b.Read(make([]byte, 4)); n != 0 || !errors.Is(err, cut) {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	b := bind(ctx, io.NopCloser(strings.NewReader("all of it")), cancel)
	if got, err := io.ReadAll(b); err != nil || string(got) != "all of it" {
		t.Errorf("%q, %v", got, err)
	}
}
