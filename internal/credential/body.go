package credential

import (
	"context"
	"errors"
	"io"
	"sync"
)

// bind runs done once when body is closed, and has body end well only while ctx, which ends the request, has not ended. A
// body that can be written to (of an answer 101) stays so.
func bind(ctx context.Context, body io.ReadCloser, done func()) io.ReadCloser {
	b := &boundBody{ReadCloser: body, ctx: ctx, done: sync.OnceFunc(done)}
	if w, ok := body.(io.Writer); ok {
		return &boundConn{boundBody: b, Writer: w}
	}
	return b
}

type boundBody struct {
	io.ReadCloser
	ctx  context.Context
	done func()
}

// Read gives what body gives. An end that comes after ctx has ended may be the upstream's answer to being let go: it is
// no end of what was asked for, and the error says why there is none.
func (b *boundBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) && b.ctx.Err() != nil {
		err = context.Cause(b.ctx)
	}
	return n, err
}

func (b *boundBody) Close() error {
	err := b.ReadCloser.Close()
	b.done()
	return err
}

type boundConn struct {
	*boundBody
	io.Writer
}
