package mask

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// exportVersion begins what Export gives, and is authenticated with it.
const exportVersion = "gbm-known-2\n"

func (e *Engine) sealer() (cipher.AEAD, error) {
	block, err := aes.NewCipher(e.keys.seal[:])
	if err != nil {
		return nil, fmt.Errorf("sealing known values: %w", err)
	}
	return cipher.NewGCM(block)
}

// Export gives all that is known, and what is forgotten, for Import after a restart: keyed hashes, sealed under the engine's key.
func (e *Engine) Export() ([]byte, error) {
	aead, err := e.sealer()
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	x := e.index.Load()
	records := x.records[:x.count]
	forgotten := slices.Collect(maps.Keys(*e.forgotten.Load()))
	e.mu.Unlock()
	var body bytes.Buffer
	if err := errors.Join(binary.Write(&body, binary.LittleEndian, uint32(len(forgotten))), binary.Write(&body, binary.LittleEndian, forgotten)); err != nil {
		return nil, fmt.Errorf("exporting what is forgotten: %w", err)
	}
	if err := binary.Write(&body, binary.LittleEndian, records); err != nil {
		return nil, fmt.Errorf("exporting known values: %w", err)
	}
	out := make([]byte, len(exportVersion)+aead.NonceSize(), len(exportVersion)+aead.NonceSize()+body.Len()+aead.Overhead())
	copy(out, exportVersion)
	nonce := out[len(exportVersion):]
	rand.Read(nonce) // never fails
	return aead.Seal(out, nonce, body.Bytes(), []byte(exportVersion)), nil
}

var errNotExported = errors.New("not what Export gave under this key")

// Import adds what Export gave. Anything else, or another key's, is an error and changes nothing.
func (e *Engine) Import(sealed []byte) error {
	aead, err := e.sealer()
	if err != nil {
		return err
	}
	body, ok := bytes.CutPrefix(sealed, []byte(exportVersion))
	if !ok || len(body) < aead.NonceSize() {
		return fmt.Errorf("importing known values: %w", errNotExported)
	}
	n := aead.NonceSize()
	body, err = aead.Open(nil, body[:n], body[n:], []byte(exportVersion))
	if err != nil || len(body) < 4 {
		return fmt.Errorf("importing known values: %w", errNotExported)
	}
	gone := int(binary.LittleEndian.Uint32(body))
	body = body[4:]
	size := binary.Size(record{})
	if gone > len(body)/len(digest{}) || (len(body)-gone*len(digest{}))%size != 0 {
		return fmt.Errorf("importing known values: %w", errNotExported)
	}
	forgotten := make([]digest, gone)
	records := make([]record, (len(body)-gone*len(digest{}))/size)
	r := bytes.NewReader(body)
	if err := errors.Join(binary.Read(r, binary.LittleEndian, forgotten), binary.Read(r, binary.LittleEndian, records)); err != nil {
		return fmt.Errorf("importing known values: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.forget(forgotten)
	for i := range records {
		e.add(&records[i])
	}
	return nil
}
