package main

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Where the upstream serves what.
const (
	smallPath  = "/api/v1/namespaces/bench/pods/web"
	listPath   = "/api/v1/secrets"
	createPath = "/api/v1/namespaces/bench/configmaps"
	logPath    = "/api/v1/namespaces/bench/pods/web/log"
)

const listBytes = 10 << 20

// serveUpstream stands for the API server: a TLS server whose answers are fixed, so that only what is in front of it
// differs. It speaks HTTP/2 and HTTP/1.1, as the API server does.
func serveUpstream(args []string) error {
	f := flag.NewFlagSet("upstream", flag.ExitOnError)
	listen, dir := f.String("listen", "", ""), f.String("dir", "", "")
	if err := f.Parse(args); err != nil {
		return err
	}
	small, list, line := smallObject(), secretList(listBytes), logLines()
	fixed := func(b []byte) http.HandlerFunc {
		length := strconv.Itoa(len(b))
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", length)
			_, _ = w.Write(b) // the client has gone
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+smallPath, fixed(small))
	mux.HandleFunc("GET "+listPath, fixed(list))
	mux.HandleFunc("POST "+createPath, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Audit-Id", r.Header.Get("Audit-Id")) // as the API server does: it names the operation
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write(b)
	})
	mux.HandleFunc("GET "+logPath, func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.ParseInt(strings.TrimPrefix(r.URL.Query().Get("container"), "bytes-"), 10, 64)
		if err != nil {
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		for n > 0 {
			m, err := w.Write(line[:min(int64(len(line)), n)])
			if n -= int64(m); err != nil {
				return
			}
		}
	})
	s := &http.Server{Addr: *listen, Handler: mux, IdleTimeout: 5 * time.Minute}
	return s.ListenAndServeTLS(filepath.Join(*dir, "tls.crt"), filepath.Join(*dir, "tls.key"))
}

// serveGoProxy is the standard library's reverse proxy as it comes: http.DefaultTransport, two idle connections.
func serveGoProxy(args []string) error {
	f := flag.NewFlagSet("goproxy", flag.ExitOnError)
	listen, dir, upstream := f.String("listen", "", ""), f.String("dir", "", ""), f.String("upstream", "", "")
	if err := f.Parse(args); err != nil {
		return err
	}
	u, err := url.Parse(*upstream)
	if err != nil {
		return err
	}
	roots, err := certPool(*dir)
	if err != nil {
		return err
	}
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return errors.New("http.DefaultTransport is something else")
	}
	t.TLSClientConfig = &tls.Config{RootCAs: roots}
	s := &http.Server{Addr: *listen, Handler: httputil.NewSingleHostReverseProxy(u)}
	return s.ListenAndServeTLS(filepath.Join(*dir, "tls.crt"), filepath.Join(*dir, "tls.key"))
}

// smallObject is a pod of 1 KB.
func smallObject() []byte {
	head := `{"kind":"Pod","apiVersion":"v1","metadata":{"name":"web","namespace":"bench","uid":"6f1c1d0e-8f0b-4b51-9d0e-000000000001","resourceVersion":"1000","creationTimestamp":"2026-01-02T03:04:05Z","labels":{"app.kubernetes.io/name":"web","pod-template-hash":"7c9d8b6f5"},"annotations":{"note":"`
	tail := `"}},"spec":{"containers":[{"name":"web","image":"registry.example/web:1.2.3","ports":[{"containerPort":8080,"protocol":"TCP"}],"resources":{"requests":{"cpu":"100m","memory":"64Mi"}}}],"restartPolicy":"Always","nodeName":"node-1"},"status":{"phase":"Running","podIP":"10.0.0.7"}}` + "\n"
	return []byte(head + strings.Repeat("x", 1024-len(head)-len(tail)) + tail)
}

// secretList is a list of Secrets as an API server writes them: managed fields, labels, a user name, a password, and
// every fourth time a private key.
func secretList(size int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	word := func(n int) string {
		v := make([]byte, n)
		for i := range v {
			v[i] = letters[r.UintN(64)]
		}
		return string(v)
	}
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	var b bytes.Buffer
	b.WriteString(`{"kind":"SecretList","apiVersion":"v1","metadata":{"resourceVersion":"123456"},"items":[`)
	for i := 0; b.Len() < size; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"metadata":{"name":"app-%d-credentials","namespace":"team-%d","uid":"6f1c1d0e-8f0b-4b51-9d0e-%012d","resourceVersion":"%d","creationTimestamp":"2026-01-02T03:04:05Z","labels":{"app.kubernetes.io/name":"app-%d","app.kubernetes.io/managed-by":"Helm"},"managedFields":[{"manager":"helm","operation":"Update","apiVersion":"v1","time":"2026-01-02T03:04:05Z","fieldsType":"FieldsV1","fieldsV1":{"f:data":{".":{},"f:password":{},"f:username":{},"f:tls.key":{}},"f:metadata":{"f:labels":{".":{},"f:app.kubernetes.io/managed-by":{},"f:app.kubernetes.io/name":{}}},"f:type":{}}}]},"data":{"username":%q,"password":%q`,
			i, i%50, i, 1000+i, i, b64(word(8+r.IntN(12))), b64(word(16+r.IntN(48))))
		if i%4 == 0 {
			fmt.Fprintf(&b, `,"tls.key":%q`, b64("-----BEGIN RSA PRIVATE KEY-----\n"+word(1600)+"\n-----END RSA PRIVATE KEY-----\n"))
		}
		b.WriteString(`},"type":"Opaque"}`)
	}
	b.WriteString("]}\n")
	return b.Bytes()
}

// logLines is a piece of a container's log.
func logLines() []byte {
	r := rand.New(rand.NewPCG(3, 4))
	var b bytes.Buffer
	for i := 0; b.Len() < 64<<10; i++ {
		fmt.Fprintf(&b, "2026-01-02T03:04:05.%06dZ INFO request handled method=GET path=/api/v1/namespaces/team-%d/pods status=200 duration=%dms trace=%016x\n", i, i%50, r.IntN(500), r.Uint64())
	}
	return b.Bytes()
}

func certPoolFile(dir string) string { return filepath.Join(dir, "ca.crt") }

func readFile(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading what bench made: %w", err)
	}
	return b, nil
}
