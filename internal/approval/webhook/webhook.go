// Package webhook tells somebody outside (a chat, a pager) that people are asked, in signed messages of the Standard
// Webhooks form. It guarantees that a message is sent until it is accepted or too old, across restarts; that it goes
// to the configured address alone, following no redirect; and that it holds what approvers see and where to answer,
// and no credential. Nothing that comes back has any effect: an approval cannot be answered here.
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"gatebook/internal/access"
)

// Outbox holds messages until they are delivered or given up.
type Outbox interface {
	NextMessage(ctx context.Context) (access.Message, bool, error)
	DelayMessage(ctx context.Context, id string, next time.Time) error
	FinishMessage(ctx context.Context, id string) error
}

const (
	defaultTimeout = 10 * time.Second
	defaultGiveUp  = 24 * time.Hour
	firstDelay     = 2 * time.Second
	longestDelay   = 10 * time.Minute
	idle           = time.Second // between looks into an empty outbox
	maxAnswer      = 64 << 10    // of the receiver's answer, read so that the connection can be used again
)

// Options of a Sender. URL, Secret and Outbox are required.
type Options struct {
	// URL to post to: https, or http to a loopback address.
	URL string
	// Secret signs: "whsec_" and 24 to 64 bytes in base64.
	Secret string
	Outbox Outbox
	// Transport is how to get there, such as by another CA or a proxy. Default: as net/http does.
	Transport http.RoundTripper
	// Timeout of one attempt. Default: 10 seconds.
	Timeout time.Duration
	// GiveUp is how old a message may become. Default: 24 hours.
	GiveUp time.Duration
	Now    func() time.Time
	Log    *slog.Logger
}

// Sender sends what is in the outbox.
type Sender struct {
	o      Options
	key    []byte
	client *http.Client
}

// New checks the options.
func New(o Options) (*Sender, error) {
	if err := checkURL(o.URL); err != nil {
		return nil, err
	}
	key, err := ParseSecret(o.Secret)
	if err != nil {
		return nil, err
	}
	if o.Outbox == nil {
		return nil, errors.New("webhook: an outbox is required")
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.GiveUp <= 0 {
		o.GiveUp = defaultGiveUp
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Sender{o: o, key: key, client: &http.Client{
		Transport:     o.Transport,
		Timeout:       o.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func checkURL(s string) error {
	u, err := url.Parse(s)
	if err != nil {
		return fmt.Errorf("webhook address: %w", err)
	}
	ip := net.ParseIP(u.Hostname())
	loopback := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	switch {
	case u.Hostname() == "":
		return fmt.Errorf("webhook address %q names no host", u.Redacted())
	case u.Scheme == "https", u.Scheme == "http" && loopback:
		return nil
	}
	return fmt.Errorf("webhook address %q: want https (http only to this machine)", u.Redacted())
}

// ParseSecret gives the key in "whsec_" and base64.
func ParseSecret(s string) ([]byte, error) {
	text, ok := strings.CutPrefix(s, "whsec_")
	key, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(key) < 24 || len(key) > 64 {
		return nil, errors.New("webhook secret: want whsec_ and 24 to 64 bytes in base64") // says nothing of what it is
	}
	return key, nil
}

// Run sends messages, one at a time, each until it is accepted (any 2xx) or too old, until ctx ends.
func (s *Sender) Run(ctx context.Context) {
	for ctx.Err() == nil {
		wait := s.next(ctx)
		if wait <= 0 {
			continue
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
	}
}

// next tries the message that is due, if any, and says how long to wait for the next.
func (s *Sender) next(ctx context.Context) time.Duration {
	m, ok, err := s.o.Outbox.NextMessage(ctx)
	switch {
	case err != nil:
		if ctx.Err() == nil {
			s.o.Log.Error("the webhook's messages cannot be read", "error", err)
		}
		return idle
	case !ok:
		return idle
	}
	if wait := m.Due.Sub(s.o.Now()); wait > 0 {
		return min(wait, idle) // a new message may be due before
	}
	if err := s.attempt(ctx, m); err != nil && ctx.Err() == nil {
		s.o.Log.Error("the webhook's messages cannot be changed", "error", err)
		return idle
	}
	return 0
}

// attempt sends m once, and notes how that went.
func (s *Sender) attempt(ctx context.Context, m access.Message) error {
	err := s.send(ctx, m)
	switch {
	case err == nil:
		return s.o.Outbox.FinishMessage(ctx, m.ID)
	case ctx.Err() != nil:
		return nil // shutting down: it is sent again after the start
	}
	next := s.o.Now().Add(delay(m.Attempts))
	if next.Sub(m.Created) > s.o.GiveUp {
		s.o.Log.Error("a webhook message was given up", "message", m.ID, "attempts", m.Attempts+1, "error", err)
		return s.o.Outbox.FinishMessage(ctx, m.ID)
	}
	s.o.Log.Warn("a webhook message was not accepted", "message", m.ID, "attempts", m.Attempts+1, "next", next, "error", err)
	return s.o.Outbox.DelayMessage(ctx, m.ID, next)
}

func (s *Sender) send(ctx context.Context, m access.Message) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.o.URL, bytes.NewReader(m.Body))
	if err != nil {
		return err
	}
	at := strconv.FormatInt(s.o.Now().Unix(), 10)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "gatebook")
	req.Header.Set("webhook-id", m.ID)
	req.Header.Set("webhook-timestamp", at)
	req.Header.Set("webhook-signature", "v1,"+sign(s.key, m.ID, at, m.Body))
	resp, err := s.client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // the address may hold a token
		}
		return err
	}
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer))
	err = errors.Join(err, resp.Body.Close())
	if resp.StatusCode/100 != 2 {
		return errors.Join(fmt.Errorf("the receiver answered %d", resp.StatusCode), err)
	}
	return nil // accepted, even where the rest of the answer was lost
}

// sign is Standard Webhooks' symmetric signature: HMAC-SHA256 over "id.timestamp.body", in base64.
func sign(key []byte, id, at string, body []byte) string {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(id + "." + at + "."))
	h.Write(body)
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// delay is how long to wait after the first attempt failed and n more have: exponential, up to half more or less.
func delay(n int) time.Duration {
	b := &backoff.ExponentialBackOff{InitialInterval: firstDelay, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: longestDelay}
	for range min(n, 16) {
		b.NextBackOff()
	}
	return b.NextBackOff()
}
