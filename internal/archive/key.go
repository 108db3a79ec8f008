package archive

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"
)

// NewKey makes a session's key. The private half is encrypted to all of to and then forgotten: wrapped is an age file
// that any one of them can decrypt, holding one line, the identity. Encryption to nobody is refused.
func NewKey(to []age.Recipient) (public *age.X25519Recipient, wrapped []byte, err error) {
	if len(to) == 0 {
		return nil, nil, errors.New("making a session key: no auditor's recipient to encrypt it to")
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, nil, fmt.Errorf("making a session key: %w", err)
	}
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to...)
	if err != nil {
		return nil, nil, fmt.Errorf("encrypting a session key: %w", err)
	}
	if _, err := io.WriteString(w, id.String()+"\n"); err != nil {
		return nil, nil, fmt.Errorf("encrypting a session key: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, nil, fmt.Errorf("encrypting a session key: %w", err)
	}
	return id.Recipient(), out.Bytes(), nil
}

// maxWrapped bounds what OpenKey reads: a wrapped key is one line.
const maxWrapped = 4 << 10

// OpenKey decrypts what NewKey wrapped, with an auditor's identity. Where none of ids fits, the error is an
// *age.NoIdentityMatchError.
func OpenKey(wrapped io.Reader, ids ...age.Identity) (*age.X25519Identity, error) {
	r, err := age.Decrypt(wrapped, ids...)
	if err != nil {
		return nil, fmt.Errorf("decrypting a session key: %w", err)
	}
	line, err := io.ReadAll(io.LimitReader(r, maxWrapped))
	if err != nil {
		return nil, fmt.Errorf("decrypting a session key: %w", err)
	}
	id, err := age.ParseX25519Identity(string(bytes.TrimSuffix(line, []byte("\n"))))
	if err != nil {
		return nil, errors.New("decrypting a session key: it does not hold an X25519 identity")
	}
	return id, nil
}
