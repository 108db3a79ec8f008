package server

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/protocol"
)

// long is a stream: it goes on until its context ends.
type long struct {
	seen
	cause chan error
}

func (l long) Serve(_ http.ResponseWriter, r *http.Request, _ protocol.Caller) {
	<-r.Context().Done()
	l.cause <- context.Cause(r.Context())
}

// A stream ends when its token is taken back by the issuer, and not because the issuer cannot be asked.
func TestAStreamEndsWithItsToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now atomic.Pointer[access.Refusal]
		var asked atomic.Int64
		h := long{cause: make(chan error, 1)}
		s := New(Options{Session: func(access.Principal, string) access.SessionID { return "S" }, Targets: map[string]protocol.Handler{"prod": h},
			Authenticate: func(_ context.Context, token string) (access.Principal, error) {
				if asked.Add(1); token != "good" {
					t.Errorf("asked about %q", token)
				}
				if why := now.Load(); why != nil {
					return access.Principal{}, why
				}
				return access.Principal{Issuer: "i", Subject: "s"}, nil
			}})
		serve := func(ctx context.Context) {
			r := httptest.NewRequestWithContext(ctx, "GET", "/t/prod/watch", nil)
			r.Header.Set("Authorization", "Bearer good")
			go s.ServeHTTP(httptest.NewRecorder(), r)
		}
		serve(t.Context())
		time.Sleep(time.Minute)
		now.Store(access.Refuse(access.CodeUnauthenticated, nil, "the issuer cannot be asked"))
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(h.cause) > 0 {
			t.Fatalf("cut: %v", <-h.cause)
		}
		gone := access.Refuse(access.CodeRevoked, nil, "its pod is gone")
		now.Store(gone)
		before := time.Now()
		if err := <-h.cause; err != error(gone) || time.Since(before) > recheck {
			t.Errorf("%v after %v", err, time.Since(before))
		}

		now.Store(nil)
		ctx, leave := context.WithCancel(t.Context())
		serve(ctx)
		time.Sleep(time.Minute)
		leave()
		<-h.cause
		synctest.Wait()
		n := asked.Load()
		time.Sleep(time.Hour)
		if asked.Load() != n {
			t.Error("a token is asked about when nothing runs under it")
		}
	})
}
