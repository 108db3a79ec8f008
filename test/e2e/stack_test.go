package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"filippo.io/age"
	"golang.org/x/mod/sumdb/note"

	"gatebook/internal/access"
	"gatebook/internal/approval"
	"gatebook/internal/archive"
	"gatebook/internal/credential"
	"gatebook/internal/gate"
	"gatebook/internal/identity"
	"gatebook/internal/journal"
	"gatebook/internal/ledger"
	"gatebook/internal/mask"
	"gatebook/internal/policy"
	"gatebook/internal/protocol"
	"gatebook/internal/protocol/kubernetes"
	"gatebook/internal/recording"
	"gatebook/internal/store"
	"gatebook/test/lab"
)

const stackSession = "0123456789abcdefghjkmnpqrs"

// stack is the whole way of a request inside of one process, with the real parts, but for the API server: that one
// counts what reaches it. So the journal's own failpoints can be used, which the built binary does not have.
type stack struct {
	dir      string
	verifier string
	auditor  *age.X25519Identity
	rec      *recording.Recorder
	front    *httptest.Server
	// reached counts requests at the API server; during, where set, runs before it answers.
	reached atomic.Int64
	during  atomic.Pointer[func(id string)]
	closers []func() error
}

// openStack opens what is in dir, or begins there.
func openStack(dir string, fail func(point string) error, segmentBytes int64) (s *stack, err error) {
	s = &stack{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if err := s.openBook(fail, segmentBytes); err != nil {
		return nil, err
	}
	h, err := s.openHandler()
	if err != nil {
		return nil, err
	}
	by := protocol.Caller{Principal: access.Principal{Issuer: "i", Subject: "agent", Name: "agent"}, Session: stackSession, Address: "192.0.2.1:1"}
	s.front = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.Serve(w, r, by) }))
	s.closers = append(s.closers, func() error { s.front.Close(); return nil })
	return s, nil
}

func (s *stack) openBook(fail func(string) error, segmentBytes int64) error {
	signer, err := s.keys()
	if err != nil {
		return err
	}
	j, err := journal.Open(filepath.Join(s.dir, "journal"), journal.Options{Fail: fail, SegmentBytes: segmentBytes})
	if err != nil {
		return err
	}
	s.closers = append(s.closers, j.Close)
	l, err := ledger.Open(filepath.Join(s.dir, "ledger"), ledger.Options{Signer: signer})
	if err != nil {
		return err
	}
	s.closers = append(s.closers, l.Close)
	for _, d := range []string{"archive", "sealing", "spool"} {
		if err := os.MkdirAll(filepath.Join(s.dir, d), 0o700); err != nil {
			return err
		}
	}
	a, err := archive.OpenFolder(filepath.Join(s.dir, "archive"))
	if err != nil {
		return err
	}
	s.closers = append(s.closers, a.Close)
	s.rec, err = recording.Open(recording.Options{Journal: j, Ledger: l, Archive: a, Dir: filepath.Join(s.dir, "sealing"),
		Recipients: []age.Recipient{s.auditor.Recipient()}, SealAge: time.Second, SealBytes: 20_000})
	if err == nil {
		s.closers = append(s.closers, s.rec.Close)
	}
	return err
}

// keys are those of the folder, made when it is new.
func (s *stack) keys() (note.Signer, error) {
	path := filepath.Join(s.dir, "keys")
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		signer, verifier, kerr := ledger.NewKey("test")
		id, aerr := age.GenerateX25519Identity()
		if err := errors.Join(kerr, aerr); err != nil {
			return nil, err
		}
		b = []byte(signer + "\n" + verifier + "\n" + id.String())
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		return nil, err
	}
	lines := strings.Split(string(b), "\n")
	s.verifier = lines[1]
	if s.auditor, err = age.ParseX25519Identity(lines[2]); err != nil {
		return nil, err
	}
	return note.NewSigner(lines[0])
}

func (s *stack) openHandler() (*kubernetes.Handler, error) {
	rules, err := policy.Load(map[string][]byte{"all.yaml": []byte(allowAll)})
	if err != nil {
		return nil, err
	}
	index, err := store.Open(context.Background(), filepath.Join(s.dir, "index.db"), store.Options{})
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, index.Close)
	g, err := gate.New(gate.Options{Policy: func() gate.Policy { return rules }, Approvals: approval.New(approval.Options{Store: index}),
		Revocations: identity.NewRevocations(time.Now), Recorder: s.rec})
	if err != nil {
		return nil, err
	}
	back := httptest.NewServer(http.HandlerFunc(s.upstream))
	s.closers = append(s.closers, func() error { back.Close(); return nil })
	up, err := credential.New(credential.Options{URL: back.URL, Insecure: true, Secret: credential.Token(func() (string, error) { return "token", nil })})
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, func() error { up.Close(); return nil })
	masks, err := mask.New(mask.Options{Key: bytes.Repeat([]byte{7}, 32)})
	if err != nil {
		return nil, err
	}
	return kubernetes.New(kubernetes.Options{Target: access.Target{Name: "test"}, Gate: g, Upstream: up, Masks: masks, SpoolDir: filepath.Join(s.dir, "spool")})
}

// upstream answers with an object that names the operation, twice flushed, so that an answer takes more than one frame.
func (s *stack) upstream(w http.ResponseWriter, r *http.Request) {
	s.reached.Add(1)
	if f := s.during.Load(); f != nil {
		(*f)(r.Header.Get("Audit-Id"))
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Audit-Id", r.Header.Get("Audit-Id"))
	fmt.Fprintf(w, `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":%q},"data":{"a":"`, r.Header.Get("Audit-Id"))
	for range 4 {
		if _, err := io.WriteString(w, strings.Repeat("0123456789", 100)); err != nil {
			return
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
	}
	io.WriteString(w, `"}}`)
}

// Close closes what was opened, the last first.
func (s *stack) Close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	s.closers = nil
	return errors.Join(errs...)
}

// reply is what a client of a stack got. broken: not all of the body came.
type reply struct {
	code   int
	id     access.OperationID
	body   string
	broken error
}

const stackPath = "/api/v1/namespaces/a/configmaps"

// read gets a list, change creates an object.
func (s *stack) read() (reply, error)              { return send(s.front.URL, "GET", "") }
func (s *stack) change(name string) (reply, error) { return send(s.front.URL, "POST", configMap(name)) }

func configMap(name string) string {
	return fmt.Sprintf(`{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":%q}}`, name)
}

func send(url, method, body string) (reply, error) {
	r, err := http.NewRequest(method, url+stackPath, strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	r.GetBody = nil
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: lab.Patience}).Do(r)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, access.OperationID(resp.Header.Get("Audit-Id")), string(b), err}, nil
}

func (s *stack) identities() []age.Identity { return []age.Identity{s.auditor} }
