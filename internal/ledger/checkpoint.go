package ledger

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"math"

	"github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	checkpointFile     = "checkpoint"
	maxCheckpointBytes = 64 << 10
)

// NewKey makes an Ed25519 key pair for a log, in the text form of package note. origin names the log: it is the first line of its
// checkpoints and the name of its key, without spaces or plus signs, best a URL without its scheme. The signer is secret.
func NewKey(origin string) (signer, verifier string, err error) {
	signer, verifier, err = note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return "", "", fmt.Errorf("making a log key: %w", err)
	}
	if _, err := note.NewVerifier(verifier); err != nil {
		return "", "", fmt.Errorf("making a log key for origin %q: %w", origin, err)
	}
	return signer, verifier, nil
}

// tree is what a checkpoint says.
type tree struct {
	size uint64
	root tlog.Hash
}

func (t tree) text(origin string) string {
	return string(log.Checkpoint{Origin: origin, Size: t.size, Hash: t.root[:]}.Marshal())
}

// sign makes a checkpoint.
func (t tree) sign(s note.Signer) ([]byte, error) {
	signed, err := note.Sign(&note.Note{Text: t.text(s.Name())}, s)
	if err != nil {
		return nil, fmt.Errorf("signing checkpoint: %w", err)
	}
	return signed, nil
}

// exact holds that each signature is written in the one way that base64 has for it: bits that mean nothing at the end of
// one could be changed without breaking it, and a touched file would look untouched.
func exact(signed []byte) error {
	for line := range bytes.Lines(signed[bytes.LastIndex(signed, []byte("\n\n"))+1:]) {
		fields := bytes.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if _, err := base64.StdEncoding.Strict().DecodeString(string(fields[len(fields)-1])); err != nil {
			return fmt.Errorf("a signature is not written as it was made: %w", err)
		}
	}
	return nil
}

// openCheckpoint checks that signed is a checkpoint of the log that v belongs to. Lines after the root hash are allowed
// (tlog-checkpoint «extension lines») and signed, and mean nothing here.
func openCheckpoint(signed []byte, v note.Verifier) (tree, error) {
	n, err := note.Open(signed, note.VerifierList(v))
	if err == nil {
		err = exact(signed)
	}
	if err != nil {
		return tree{}, err
	}
	var c log.Checkpoint
	extension, err := c.Unmarshal([]byte(n.Text))
	if err != nil {
		return tree{}, err
	}
	if c.Origin != v.Name() {
		return tree{}, fmt.Errorf("checkpoint is of log %q, not of %q", c.Origin, v.Name())
	}
	if len(c.Hash) != tlog.HashSize || c.Size > math.MaxInt64>>tileHeight {
		return tree{}, fmt.Errorf("checkpoint has a root of %d bytes and size %d", len(c.Hash), c.Size)
	}
	t := tree{size: c.Size, root: tlog.Hash(c.Hash)}
	if t.text(c.Origin)+string(extension) != n.Text {
		return tree{}, fmt.Errorf("checkpoint is not in canonical form")
	}
	return t, nil
}

// ownVerifier checks a signature by making it again: Ed25519 signatures are deterministic (RFC 8032, section 5.1.6), so that a
// signer knows its own without the public key. A signer that is not deterministic is refused, never trusted.
type ownVerifier struct{ note.Signer }

func (v ownVerifier) Verify(msg, sig []byte) bool {
	own, err := v.Sign(msg)
	return err == nil && bytes.Equal(own, sig)
}
