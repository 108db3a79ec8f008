package model

import (
	"bytes"
	"io"

	"gatebook/internal/mask"
)

// redacter replaces, in what is recorded, the values that are known to be secret, those that were found in requests, and what
// has the form of a credential.
type redacter struct{ known, found *mask.Scope }

// redaction is both, one behind the other.
type redaction struct{ known, found *mask.TextWriter }

func (r redacter) text(dst io.Writer) redaction {
	f := r.found.Text(dst)
	return redaction{r.known.Text(f), f}
}

func (t redaction) Write(b []byte) (int, error) { return t.known.Write(b) }

// Flush lets go of all but what begins as a secret does.
func (t redaction) Flush() error {
	if err := t.known.Flush(); err != nil {
		return err
	}
	return t.found.Flush()
}

func (t redaction) Close() error {
	if err := t.known.Close(); err != nil {
		return err
	}
	return t.found.Close()
}

func (t redaction) held() int     { return t.known.Held() + t.found.Held() }
func (t redaction) masked() int64 { return t.known.Masked() + t.found.Masked() }

// bytes gives b with its secrets replaced, and whether the gateway knew any of them.
func (r redacter) bytes(b []byte) (out []byte, known bool, err error) {
	var buf bytes.Buffer
	t := r.text(&buf)
	if _, err := t.Write(b); err != nil {
		return nil, false, err
	}
	if err := t.Close(); err != nil {
		return nil, false, err
	}
	return buf.Bytes(), t.known.Masked() > 0, nil
}

func (r redacter) string(s string) string {
	out, _, err := r.bytes([]byte(s))
	if err != nil { // a buffer takes everything
		return "(cannot be masked)"
	}
	return string(out)
}
