package mask

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// secretList makes a list of Secrets as an API server writes them: managed fields, labels, a user name, a password, and
// every fourth time a private key.
func secretList(size int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	word := func(n int) string {
		v := make([]byte, n)
		for i := range v {
			v[i] = base64Std[r.UintN(64)]
		}
		return string(v)
	}
	var b bytes.Buffer
	b.WriteString(`{"kind":"SecretList","apiVersion":"v1","metadata":{"resourceVersion":"123456"},"items":[`)
	for i := 0; b.Len() < size; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"metadata":{"name":"app-%d-credentials","namespace":"team-%d","uid":"6f1c1d0e-8f0b-4b51-9d0e-%012d","resourceVersion":"%d","creationTimestamp":"2026-01-02T03:04:05Z","labels":{"app.kubernetes.io/name":"app-%d","app.kubernetes.io/managed-by":"Helm"},"managedFields":[{"manager":"helm","operation":"Update","apiVersion":"v1","time":"2026-01-02T03:04:05Z","fieldsType":"FieldsV1","fieldsV1":{"f:data":{".":{},"f:password":{},"f:username":{},"f:tls.key":{}},"f:metadata":{"f:labels":{".":{},"f:app.kubernetes.io/managed-by":{},"f:app.kubernetes.io/name":{}}},"f:type":{}}}]},"data":{"username":%q,"password":%q`, i, i%50, i, 1000+i, i,
			base64.StdEncoding.EncodeToString([]byte(word(8+r.IntN(12)))), base64.StdEncoding.EncodeToString([]byte(word(16+r.IntN(48)))))
		if i%4 == 0 {
			pem := "-----BEGIN RSA PRIVATE KEY-----\n"
			for range 25 {
				pem += word(64) + "\n"
			}
			fmt.Fprintf(&b, `,"tls.key":%q`, base64.StdEncoding.EncodeToString([]byte(pem+"-----END RSA PRIVATE KEY-----\n")))
		}
		b.WriteString(`},"type":"Opaque"}`)
	}
	b.WriteString("]}\n")
	return b.Bytes()
}

const listBytes = 20 << 20

func BenchmarkSecretList(b *testing.B) {
	doc := secretList(listBytes)
	for _, known := range []bool{false, true} {
		b.Run(fmt.Sprintf("gatebook/known=%t", known), func(b *testing.B) {
			s := newScope(b)
			shape := compile(b, secretRules()...)
			run := func() {
				w := s.JSON(io.Discard, shape, known)
				if _, err := w.Write(doc); err != nil {
					b.Fatal(err)
				}
				if err := w.Close(); err != nil {
					b.Fatal(err)
				}
			}
			run()
			b.SetBytes(int64(len(doc)))
			b.ReportAllocs()
			defer reportCPU(b, len(doc))()
			for b.Loop() {
				run()
			}
		})
	}
	b.Run("gatebook/unseen", func(b *testing.B) {
		shape := compile(b, secretRules()...)
		b.SetBytes(int64(len(doc)))
		defer reportCPU(b, len(doc))()
		for b.Loop() {
			w := newScope(b).JSON(io.Discard, shape, false)
			if _, err := w.Write(doc); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.SetBytes(int64(len(doc)))
		defer reportCPU(b, len(doc))()
		for b.Loop() {
			var v struct {
				Kind, APIVersion string
				Metadata         json.RawMessage
				Items            []map[string]any
			}
			if err := json.Unmarshal(doc, &v); err != nil {
				b.Fatal(err)
			}
			for _, item := range v.Items {
				data, _ := item["data"].(map[string]any)
				for k, x := range data {
					data[k] = baselinePlaceholder([]byte(x.(string)))
				}
			}
			if err := json.NewEncoder(io.Discard).Encode(v); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("jsontext", func(b *testing.B) {
		b.SetBytes(int64(len(doc)))
		defer reportCPU(b, len(doc))()
		for b.Loop() {
			if err := jsontextMask(io.Discard, doc); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func baselinePlaceholder(v []byte) string {
	sum := sha256.Sum256(v)
	return base64.StdEncoding.EncodeToString(sum[:24])
}

// jsontextMask copies tokens, replacing strings below items.*.data.
func jsontextMask(dst io.Writer, doc []byte) error {
	d, e := jsontext.NewDecoder(bytes.NewReader(doc)), jsontext.NewEncoder(dst)
	inside := 0
	for {
		tok, err := d.ReadToken()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch depth := d.StackDepth(); {
		case inside > 0 && depth < inside:
			inside = 0
		case inside > 0 && tok.Kind() == '"':
			if _, n := d.StackIndex(depth); n%2 == 0 {
				tok = jsontext.String(baselinePlaceholder([]byte(tok.String())))
			}
		case depth == 3 && tok.Kind() == '"':
			if _, n := d.StackIndex(depth); n%2 == 1 && tok.String() == "data" {
				inside = 4
			}
		}
		if err := e.WriteToken(tok); err != nil {
			return err
		}
	}
}

// BenchmarkText is text without known values, of which there are a thousand.
func BenchmarkText(b *testing.B) {
	s := newScope(b)
	r := rand.New(rand.NewPCG(3, 4))
	for range 1000 {
		v := make([]byte, 8+r.IntN(40))
		for j := range v {
			v[j] = base64Std[r.UintN(62)]
		}
		s.e.Learn(v)
	}
	var logs bytes.Buffer
	for i := 0; logs.Len() < 8<<20; i++ {
		fmt.Fprintf(&logs, "2026-01-02T03:04:05.%06dZ INFO request handled method=GET path=/api/v1/namespaces/team-%d/pods status=200 duration=%dms user=system:serviceaccount:agents:claude\n", i, i%50, r.IntN(500))
	}
	blob := make([]byte, 6<<20)
	for i := range blob {
		blob[i] = byte(r.UintN(256))
	}
	for _, c := range []struct {
		name string
		text []byte
	}{{"logs", logs.Bytes()}, {"list", secretList(8 << 20)}, {"base64", []byte(base64.StdEncoding.EncodeToString(blob))}, {"escaped", bytes.ReplaceAll(secretList(8<<20), []byte{'"'}, []byte(`\"`))}, {"binary", blob}} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.text)))
			b.ReportAllocs()
			defer reportCPU(b, len(c.text))()
			for b.Loop() {
				w := s.Text(io.Discard)
				if _, err := w.Write(c.text); err != nil {
					b.Fatal(err)
				}
				if err := w.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// reportCPU gives MB per second of this process's CPU time, which the machine's other work does not change much.
func reportCPU(b *testing.B, size int) func() {
	before := cpu(b)
	return func() {
		b.ReportMetric(float64(b.N)*float64(size)/1e6/(cpu(b)-before).Seconds(), "cpuMB/s")
	}
}

func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
