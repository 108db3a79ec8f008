package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"gatebook/internal/access"
)

// Client talks to one gateway. It is safe for concurrent use.
type Client struct {
	base  *url.URL
	http  *http.Client
	token func(context.Context) (string, error)
}

// New makes a client for the gateway at base (https://host[:port]) whose certificate chains to ca (PEM; empty: the
// system's). token is asked for every request.
func New(base string, ca []byte, token func(context.Context) (string, error)) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("gateway URL %q: want https://host[:port]", base)
	}
	tc := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(ca) > 0 {
		tc.RootCAs = x509.NewCertPool()
		if !tc.RootCAs.AppendCertsFromPEM(ca) {
			return nil, errors.New("the gateway's CA: no PEM certificate in it")
		}
	}
	t := &http.Transport{TLSClientConfig: tc, ForceAttemptHTTP2: true, TLSHandshakeTimeout: 10 * time.Second, Proxy: http.ProxyFromEnvironment}
	refuse := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{base: u, token: token, http: &http.Client{Transport: t, CheckRedirect: refuse}}, nil
}

// HTTP is the client's transport, for talking to the same server without a token, such as to log in.
func (c *Client) HTTP() *http.Client { return c.http }

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Stream sends a request and gives the body of a good answer, which the caller closes.
func (c *Client) Stream(ctx context.Context, method, path string, query url.Values, body any) (io.ReadCloser, error) {
	u := *c.base
	u.Path, u.RawQuery = Prefix+path, query.Encode()
	var payload io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encoding the request: %w", err)
		}
		payload = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), payload)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	t, err := c.token(ctx)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+t)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("talking to the gateway: %w", err)
	}
	if resp.StatusCode/100 == 2 {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	return nil, failure(resp)
}

func failure(resp *http.Response) error {
	e := &Error{Status: resp.StatusCode}
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("reading the gateway's answer %s: %w", resp.Status, err)
	}
	if err := json.Unmarshal(b, e); err != nil || e.Message == "" {
		e.Message = fmt.Sprintf("the gateway answered %s: %.200q", resp.Status, strings.TrimSpace(string(b)))
	}
	return e
}

func call[T any](ctx context.Context, c *Client, method, path string, query url.Values, body any) (T, error) {
	var out T
	r, err := c.Stream(ctx, method, path, query, body)
	if err != nil {
		return out, err
	}
	defer r.Close()
	if err := json.NewDecoder(r).Decode(&out); err != nil {
		return out, fmt.Errorf("reading the gateway's answer: %w", err)
	}
	return out, nil
}

// WhoAmI tells who the gateway takes the caller for.
func (c *Client) WhoAmI(ctx context.Context) (WhoAmI, error) {
	return call[WhoAmI](ctx, c, "GET", "whoami", nil, nil)
}

// Sessions lists sessions, the latest first.
func (c *Client) Sessions(ctx context.Context, q Query) (Page[access.SessionSummary], error) {
	return call[Page[access.SessionSummary]](ctx, c, "GET", "sessions", q.Values(), nil)
}

// Operations lists operations, the latest first, without their objects.
func (c *Client) Operations(ctx context.Context, q Query) (Page[access.Record], error) {
	return call[Page[access.Record]](ctx, c, "GET", "operations", q.Values(), nil)
}

// Operation gives one operation whole.
func (c *Client) Operation(ctx context.Context, id access.OperationID) (access.Record, error) {
	return call[access.Record](ctx, c, "GET", "operations/"+url.PathEscape(string(id)), nil, nil)
}

// Approvals lists approvals in the given states (all where there are none), the latest first. An auditor or approver
// sees all, anybody else their own.
func (c *Client) Approvals(ctx context.Context, states ...access.ApprovalState) (Page[access.Approval], error) {
	q := url.Values{}
	for _, s := range states {
		q.Add("state", string(s))
	}
	return call[Page[access.Approval]](ctx, c, "GET", "approvals", q, nil)
}

// Approval gives one approval whole.
func (c *Client) Approval(ctx context.Context, id access.ApprovalID) (Approval, error) {
	return call[Approval](ctx, c, "GET", "approvals/"+url.PathEscape(string(id)), nil, nil)
}

// Answer answers an approval, and gives it as it stands then.
func (c *Client) Answer(ctx context.Context, id access.ApprovalID, a Answer) (access.Approval, error) {
	return call[access.Approval](ctx, c, "POST", "approvals/"+url.PathEscape(string(id))+"/answer", nil, a)
}

// Revoke takes back; ID, By and Time are the server's to set.
func (c *Client) Revoke(ctx context.Context, r access.Revocation) (access.Revocation, error) {
	return call[access.Revocation](ctx, c, "POST", "revocations", nil, r)
}

// Revocations lists what is in force.
func (c *Client) Revocations(ctx context.Context) (Page[access.Revocation], error) {
	return call[Page[access.Revocation]](ctx, c, "GET", "revocations", nil, nil)
}

// End takes back a yes, and gives the approval as it stands then.
func (c *Client) End(ctx context.Context, id access.ApprovalID, reason string) (access.Approval, error) {
	return call[access.Approval](ctx, c, "POST", "approvals/"+url.PathEscape(string(id))+"/end", nil, Ending{Reason: reason})
}

// Forget makes a value known no longer.
func (c *Client) Forget(ctx context.Context, value, reason string) (Forgotten, error) {
	return call[Forgotten](ctx, c, "POST", "forgotten", nil, Forget{Value: value, Reason: reason})
}

// Restore takes a revocation back.
func (c *Client) Restore(ctx context.Context, id, reason string) (access.Restoration, error) {
	return call[access.Restoration](ctx, c, "POST", "revocations/"+url.PathEscape(id)+"/undo", nil, Ending{Reason: reason})
}

// Why gives what is known of how something came about: a commit, an object, words of a statement, an operation or an approval.
func (c *Client) Why(ctx context.Context, query string) (Why, error) {
	return call[Why](ctx, c, "GET", "why", url.Values{"q": {query}}, nil)
}

// Timeline gives what happened in a session, in order.
func (c *Client) Timeline(ctx context.Context, id access.SessionID) (Timeline, error) {
	return call[Timeline](ctx, c, "GET", "sessions/"+url.PathEscape(string(id))+"/timeline", nil, nil)
}

// Explain gives why an operation was decided as it was, by the policy in force now, as JSON.
func (c *Client) Explain(ctx context.Context, id access.OperationID) (json.RawMessage, error) {
	return call[json.RawMessage](ctx, c, "GET", "operations/"+url.PathEscape(string(id))+"/explain", nil, nil)
}
