package identity_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/identity"
)

// stream is a live operation that remembers how it was cancelled.
type stream struct {
	at    time.Time
	cause *access.Refusal
	times atomic.Int64
}

func (s *stream) cancel(err error) {
	s.times.Add(1)
	s.at = time.Now()
	errors.As(err, &s.cause)
}

func (s *stream) code() access.Code {
	if s.cause == nil {
		return ""
	}
	return s.cause.Code
}

func agent(name string) access.Principal {
	return access.Principal{Issuer: "cluster", Subject: name, TokenID: "token-of-" + name}
}

func TestI80RevocationCutsWhatItCovers(t *testing.T) {
	for name, rev := range map[string]access.Revocation{
		"subject": {Subject: "cluster|a"},
		"session": {Session: "s-a"},
		"token":   {TokenID: "token-of-a"},
	} {
		t.Run(name, func(t *testing.T) {
			r := identity.NewRevocations(nil)
			var a1, a2, b, ended stream
			r.Register(agent("a"), "s-a", a1.cancel)
			r.Register(agent("a"), "s-a", a2.cancel)
			r.Register(agent("b"), "s-b", b.cancel)
			r.Register(agent("a"), "s-a", ended.cancel)()
			r.Add(rev)
			r.Add(rev)
			if a1.times.Load() != 1 || a2.times.Load() != 1 || a1.code() != access.CodeRevoked {
				t.Errorf("cut %d and %d times, %s", a1.times.Load(), a2.times.Load(), a1.code())
			}
			if b.times.Load() != 0 || ended.times.Load() != 0 || r.Live() != 1 {
				t.Errorf("another's stream cut %d times, an ended one %d; %d live", b.times.Load(), ended.times.Load(), r.Live())
			}
			if r.Check(agent("a"), "s-a") == nil || r.Check(agent("b"), "s-b") != nil {
				t.Error("new operations are not judged alike")
			}
			var late stream
			r.Register(agent("a"), "s-a", late.cancel)
			if late.times.Load() != 1 || r.Live() != 1 {
				t.Errorf("registered after the revocation: cut %d times, %d live", late.times.Load(), r.Live())
			}
		})
	}
}

func TestI80KnownRevocationsHoldFromTheStart(t *testing.T) {
	r := identity.NewRevocations(nil, access.Revocation{ID: "1", Subject: "cluster|a"})
	if r.Check(agent("a"), "") == nil {
		t.Error("accepted")
	}
	r.Remove("1")
	if err := r.Check(agent("a"), ""); err != nil {
		t.Error(err)
	}
}

func TestRevocationLapses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := identity.NewRevocations(nil)
		r.Add(access.Revocation{ID: "1", Subject: "cluster|a", Until: time.Now().Add(time.Minute)})
		time.Sleep(time.Minute - 1)
		if r.Check(agent("a"), "") == nil {
			t.Error("accepted before it lapsed")
		}
		time.Sleep(time.Nanosecond)
		if err := r.Check(agent("a"), ""); err != nil {
			t.Error(err)
		}
	})
}

func TestI80EndOfTheTokenCuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := identity.NewRevocations(nil)
		soon, later := agent("a"), agent("b")
		soon.Expires, later.Expires = time.Now().Add(time.Minute), time.Now().Add(time.Hour)
		streams := make([]stream, 100)
		for n := range streams {
			p := soon
			if n%2 == 1 {
				p = later
			}
			r.Register(p, access.SessionID(fmt.Sprint(n)), streams[n].cancel)
		}
		var ended stream
		r.Register(soon, "", ended.cancel)()
		time.Sleep(time.Minute - 1)
		synctest.Wait()
		if r.Live() != 100 {
			t.Errorf("%d live before the end", r.Live())
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		for n := range streams {
			s := &streams[n]
			if n%2 == 0 && (s.times.Load() != 1 || !s.at.Equal(soon.Expires) || s.code() != access.CodeUnauthenticated) || n%2 == 1 && s.times.Load() != 0 {
				t.Fatalf("stream %d: cut %d times, at %s, %s", n, s.times.Load(), s.at, s.code())
			}
		}
		if r.Live() != 50 || ended.times.Load() != 0 {
			t.Errorf("%d live; an ended stream cut %d times", r.Live(), ended.times.Load())
		}
		if r.Check(soon, "") == nil {
			t.Error("an ended token passes Check")
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if r.Live() != 0 {
			t.Errorf("%d live after all ended", r.Live())
		}
	})
}

func TestExpiryIsTheWallClocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var back atomic.Int64
		r := identity.NewRevocations(func() time.Time { return time.Now().Add(-time.Duration(back.Load())) })
		p := agent("a")
		p.Expires = time.Now().Add(time.Minute)
		var s stream
		r.Register(p, "", s.cancel)
		time.Sleep(30 * time.Second)
		back.Store(int64(10 * time.Second)) // the clock is set back
		time.Sleep(35 * time.Second)
		synctest.Wait()
		if s.times.Load() != 0 {
			t.Error("cut before the clock said so")
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if s.times.Load() != 1 {
			t.Errorf("cut %d times", s.times.Load())
		}
	})
}

func BenchmarkRegisterAmongTenThousand(b *testing.B) {
	r := identity.NewRevocations(nil)
	expires := time.Now().Add(time.Hour)
	principals := make([]access.Principal, 10000)
	for n := range principals {
		principals[n] = agent(fmt.Sprint(n % 100))
		principals[n].Expires = expires.Add(time.Duration(n%100) * time.Second)
		r.Register(principals[n], access.SessionID(fmt.Sprint(n)), func(error) {})
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		r.Register(principals[n%len(principals)], "s", func(error) {})()
		n++
	}
}

func BenchmarkRevokeTenThousand(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		r := identity.NewRevocations(nil)
		for n := range 10000 {
			r.Register(agent("a"), access.SessionID(fmt.Sprint(n)), func(error) {})
		}
		b.StartTimer()
		r.Add(access.Revocation{Subject: "cluster|a"})
	}
}
