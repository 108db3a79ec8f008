package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Reloaded gives a TLS configuration whose certificate is read again when its files change. A pair that cannot be
// read leaves the last good one in force; failed is told then.
func Reloaded(certFile, keyFile string, failed func(error)) (*tls.Config, error) {
	r := &reloader{cert: certFile, key: keyFile, failed: failed}
	if _, err := r.load(); err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return r.get(), nil }}, nil
}

type reloader struct {
	cert, key string
	failed    func(error)

	mu      sync.Mutex
	current *tls.Certificate
	changed time.Time
	checked time.Time
}

func (r *reloader) load() (*tls.Certificate, error) {
	st, err := os.Stat(r.cert)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate: %w", err)
	}
	c, err := tls.LoadX509KeyPair(r.cert, r.key)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate %s and its key: %w", r.cert, err)
	}
	if now := time.Now(); now.After(c.Leaf.NotAfter) {
		return nil, fmt.Errorf("the certificate %s expired on %s; renew it", r.cert, c.Leaf.NotAfter.Format(time.DateOnly))
	}
	r.current, r.changed = &c, st.ModTime()
	return &c, nil
}

func (r *reloader) get() *tls.Certificate {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); now.Sub(r.checked) > time.Second {
		r.checked = now
		if st, err := os.Stat(r.cert); err == nil && !st.ModTime().Equal(r.changed) {
			if _, err := r.load(); err != nil {
				r.failed(err)
			}
		}
	}
	return r.current
}

// SelfMade makes, at the first call, a CA and a certificate for names in folder: ca.crt, ca.key, tls.crt, tls.key. It
// makes the certificate anew when it is about to expire or lacks one of the names. It returns the certificate's and
// the key's path.
func SelfMade(folder string, names []string) (certFile, keyFile string, err error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", "", fmt.Errorf("making the folder for certificates: %w", err)
	}
	ca, err := loadPair(folder, "ca")
	if errors.Is(err, fs.ErrNotExist) {
		ca, err = makePair(folder, "ca", nil, nil)
	}
	if err != nil {
		return "", "", err
	}
	leaf, err := loadPair(folder, "tls")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", "", err
	}
	if err != nil || !serves(leaf.Leaf, names) {
		if _, err := makePair(folder, "tls", ca, names); err != nil {
			return "", "", err
		}
	}
	return filepath.Join(folder, "tls.crt"), filepath.Join(folder, "tls.key"), nil
}

func serves(c *x509.Certificate, names []string) bool {
	for _, n := range names {
		if c.VerifyHostname(n) != nil {
			return false
		}
	}
	return time.Until(c.NotAfter) > 30*24*time.Hour
}

func loadPair(folder, name string) (*tls.Certificate, error) {
	c, err := tls.LoadX509KeyPair(filepath.Join(folder, name+".crt"), filepath.Join(folder, name+".key"))
	if err != nil {
		return nil, fmt.Errorf("reading %s in %s: %w", name, folder, err)
	}
	return &c, nil
}

// makePair makes a key and its certificate, signed by ca, or a CA where ca is nil.
func makePair(folder, name string, ca *tls.Certificate, names []string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	t, err := template(ca, names)
	if err != nil {
		return nil, err
	}
	der, err := sign(t, ca, key)
	if err != nil {
		return nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding a key: %w", err)
	}
	for _, f := range []struct {
		ext, kind string
		der       []byte
		mode      os.FileMode
	}{{".key", "PRIVATE KEY", pkcs8, 0o600}, {".crt", "CERTIFICATE", der, 0o644}} {
		b := pem.EncodeToMemory(&pem.Block{Type: f.kind, Bytes: f.der})
		if err := os.WriteFile(filepath.Join(folder, name+f.ext), b, f.mode); err != nil {
			return nil, fmt.Errorf("keeping a certificate: %w", err)
		}
	}
	return loadPair(folder, name)
}

// template is a certificate for names that ca will sign, or a CA where ca is nil.
func template(ca *tls.Certificate, names []string) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("making a serial number: %w", err)
	}
	t := &x509.Certificate{SerialNumber: serial, NotBefore: time.Now().Add(-time.Hour), KeyUsage: x509.KeyUsageDigitalSignature}
	if ca == nil {
		t.Subject = pkix.Name{CommonName: "Gatebook CA"}
		t.IsCA, t.BasicConstraintsValid, t.KeyUsage = true, true, x509.KeyUsageCertSign
		t.NotAfter = time.Now().AddDate(10, 0, 0)
		return t, nil
	}
	t.Subject = pkix.Name{CommonName: "Gatebook"}
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	t.NotAfter = time.Now().AddDate(1, 0, 0)
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, n)
		}
	}
	return t, nil
}

// sign signs t by ca, or by its own key where ca is nil.
func sign(t *x509.Certificate, ca *tls.Certificate, key *ecdsa.PrivateKey) ([]byte, error) {
	parent, signer := t, any(key)
	if ca != nil {
		parent, signer = ca.Leaf, ca.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, fmt.Errorf("signing a certificate: %w", err)
	}
	return der, nil
}

func parse(der []byte) (*x509.Certificate, error) {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading a certificate: %w", err)
	}
	return c, nil
}
