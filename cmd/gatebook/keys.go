package main

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"
	"golang.org/x/mod/sumdb/note"

	"gatebook/internal/ledger"
)

// keys are what this gateway keeps secret, in its data folder.
type keys struct {
	// mask keys placeholders and known values; digest keys the digests of operations.
	mask, digest []byte
	signer       note.Signer
	// verifier is the ledger's public key, which anybody may know.
	verifier string
	auditors []age.Recipient
}

// loadKeys reads the keys, making those that are not there yet. Without auditors it makes one, whose private key it
// keeps in auditor.key.
func loadKeys(data, origin string, auditors []string) (*keys, error) {
	k := &keys{}
	root, err := kept(filepath.Join(data, "secret.key"), func() (string, error) { return rand.Text() + rand.Text(), nil })
	if err != nil {
		return nil, err
	}
	derive := func(what string) []byte {
		m := hmac.New(sha256.New, []byte(root))
		m.Write([]byte(what))
		return m.Sum(nil)
	}
	k.mask, k.digest = derive("masking"), derive("operation digests")
	if err := k.loadLedger(data, origin); err != nil {
		return nil, err
	}
	return k, k.loadAuditors(data, auditors)
}

func (k *keys) loadLedger(data, origin string) error {
	pair, err := kept(filepath.Join(data, "ledger.key"), func() (string, error) {
		s, v, err := ledger.NewKey(origin)
		return s + "\n" + v, err
	})
	if err != nil {
		return err
	}
	signer, verifier, _ := strings.Cut(pair, "\n")
	if k.signer, err = note.NewSigner(strings.TrimSpace(signer)); err != nil {
		return fmt.Errorf("reading ledger.key: %w", err)
	}
	if k.signer.Name() != origin {
		return usageError{fmt.Errorf("the ledger in %s was begun as %q, and recording.origin now says %q; set it back, or begin a new data folder", data, k.signer.Name(), origin)}
	}
	k.verifier = strings.TrimSpace(verifier)
	return os.WriteFile(filepath.Join(data, "ledger.pub"), []byte(k.verifier+"\n"), 0o644)
}

func (k *keys) loadAuditors(data string, auditors []string) error {
	if len(auditors) == 0 {
		id, err := kept(filepath.Join(data, "auditor.key"), func() (string, error) {
			i, err := age.GenerateX25519Identity()
			if err != nil {
				return "", err
			}
			return i.String(), nil
		})
		if err != nil {
			return err
		}
		i, err := age.ParseX25519Identity(id)
		if err != nil {
			return fmt.Errorf("reading auditor.key: %w", err)
		}
		k.auditors = []age.Recipient{i.Recipient()}
		return nil
	}
	for _, a := range auditors {
		r, err := age.ParseX25519Recipient(a)
		if err != nil {
			return usageError{fmt.Errorf("recording.auditors: %q is not an age public key (age1…): %w", a, err)}
		}
		k.auditors = append(k.auditors, r)
	}
	return nil
}

// kept reads a secret from a file, or makes it and keeps it there, readable by nobody else, on disk before it is used.
func kept(path string, make func() (string, error)) (string, error) {
	b, err := os.ReadFile(path)
	if v := strings.TrimSpace(string(b)); err == nil && v != "" {
		return v, nil
	}
	if err == nil {
		return "", fmt.Errorf("reading a key: %s is empty; restore it, or remove it to have another made", path)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("reading a key: %w", err)
	}
	v, err := make()
	if err != nil {
		return "", fmt.Errorf("making %s: %w", filepath.Base(path), err)
	}
	if err := keep(path, v+"\n"); err != nil {
		return "", fmt.Errorf("keeping %s: %w", filepath.Base(path), err)
	}
	return v, nil
}

// keep makes a file that must not be there yet, whole or not at all, on disk with its name.
func keep(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Link(f.Name(), path)
	}
	if err := errors.Join(err, os.Remove(f.Name())); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
