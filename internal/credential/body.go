package credential

import (
	"io"
	"sync"
)

// bind runs done once when body is closed or ends. A body that can be written to (of an answer 101) stays so.
func bind(body io.ReadCloser, done func()) io.ReadCloser {
	b := &boundBody{ReadCloser: body, done: sync.OnceFunc(done)}
	if w, ok := body.(io.Writer); ok {
		return &boundConn{boundBody: b, Writer: w}
	}
	return b
}

type boundBody struct {
	io.ReadCloser
	done func()
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
