package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
)

// writers are clients that create ConfigMaps through the gateway, each over a connection of its own.
type writers struct {
	gw     *gateway
	token  string
	n      int
	client *http.Client
	count  atomic.Int64

	mu    sync.Mutex
	acked map[access.OperationID]bool
}

func newWriters(gw *gateway, token string, n int) *writers {
	return &writers{gw: gw, token: token, n: n, acked: map[access.OperationID]bool{}, client: &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, MaxIdleConnsPerHost: n, DisableCompression: true}}}
}

// run lets them write for d, once each has its connection.
func (w *writers) run(ctx context.Context, d time.Duration) (appends, error) {
	errs := make([]error, w.n)
	var wg sync.WaitGroup
	for i := range w.n {
		wg.Go(func() { errs[i] = w.create(ctx) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return appends{}, err
	}
	a, err := together(w.n, d, func(int) error { return w.create(ctx) })
	w.client.CloseIdleConnections()
	return a, err
}

// create makes one change, and remembers it once it is acknowledged.
func (w *writers) create(ctx context.Context) error {
	body := fmt.Appendf(nil, `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"c-%d","namespace":"bench"},"data":{"k":"v"}}`, w.count.Add(1))
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.gw.target()+createPath, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+w.token)
	resp, err := w.client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusCreated {
		return fmt.Errorf("%s: %s", resp.Status, b)
	}
	id := access.OperationID(resp.Header.Get("Audit-Id"))
	if id == "" {
		return errors.New("an answer does not name its operation")
	}
	w.mu.Lock()
	w.acked[id] = true
	w.mu.Unlock()
	return nil
}

// killed kills the gateway while 64 clients write, starts it again, and looks for every acknowledged change in the
// book; then it verifies the book.
func killed(ctx context.Context, o options, rep *report, gw *gateway, token string) error {
	w := newWriters(gw, token, 64)
	var wg sync.WaitGroup
	for range w.n {
		wg.Go(func() {
			for w.create(ctx) == nil { // until the gateway is dead
			}
		})
	}
	time.Sleep(time.Duration(o.Seconds) * time.Second)
	gw.kill()
	wg.Wait()
	if err := gw.begin(); err != nil {
		return err
	}
	auditor, err := gw.sign("auditor", "auditors")
	if err != nil {
		return err
	}
	ca, err := readFile(filepath.Join(gw.dir, "data", "ca.crt"))
	if err != nil {
		return err
	}
	api, err := client.New(gw.URL(), ca, func(context.Context) (string, error) { return auditor, nil })
	if err != nil {
		return err
	}
	defer api.Close()
	missing := len(w.acked)
	for attempt := 0; missing > 0 && attempt < 20; attempt++ { // the index follows the journal
		if missing, err = w.missing(ctx, api); err != nil {
			return err
		}
		if missing > 0 {
			time.Sleep(time.Second)
		}
	}
	if missing > 0 {
		return fmt.Errorf("%d of %d acknowledged changes are missing after SIGKILL", missing, len(w.acked))
	}
	gw.stop()
	data := filepath.Join(gw.dir, "data")
	out, err := output(ctx, gw.binary, "verify", "--data", data, "--key", filepath.Join(data, "auditor.key"))
	if err != nil {
		return fmt.Errorf("the book does not verify after SIGKILL: %w", err)
	}
	rep.note("Row 9, SIGKILL: %d changes were acknowledged to 64 clients until the gateway was killed; after its restart every one of them is in the book, and `gatebook verify` says: %s",
		len(w.acked), strings.Join(strings.Fields(out), " "))
	return nil
}

// missing counts the acknowledged changes that the book does not hold.
func (w *writers) missing(ctx context.Context, api *client.Client) (int, error) {
	left := len(w.acked)
	for q := (client.Query{Verb: "create", Limit: 1000}); ; {
		page, err := api.Operations(ctx, q)
		if err != nil {
			return 0, err
		}
		for _, r := range page.Items {
			if w.acked[r.Operation.ID] {
				left--
			}
		}
		if q.Cursor = page.Next; q.Cursor == "" || left == 0 {
			return left, nil
		}
	}
}
