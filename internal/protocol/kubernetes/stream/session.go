package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"gatebook/internal/access"
	"gatebook/internal/wire/remotecommand"
	"gatebook/internal/wire/spdy"
)

// Session is one upgraded request, from the client's asking to its end.
type Session struct {
	// Kind is what the client asked for: WebSocket or SPDY.
	Kind Kind
	// Upstream carries requests to the API server under the operation's permit. It sets scheme, host and
	// credentials, and follows no redirect.
	Upstream http.RoundTripper
	// URL is path and query as they go upstream, and Header what goes with them; neither is the client's unread.
	URL    *url.URL
	Header http.Header
	Book   Book
	Masks  Masks
	// Failed, where set, is told why a stream that stood was ended, where neither end did it.
	Failed func(error)
	// Refuse answers the client in Kubernetes' words and gives the HTTP status. Answer relays the upstream's own
	// answer, masked, and gives what to record of it. Both are called with the header Connection: close already set.
	Refuse func(w http.ResponseWriter, r *http.Request, why *access.Refusal) int
	Answer func(w http.ResponseWriter, r *http.Request, resp *http.Response) access.Outcome
}

// Command serves an exec or attach, and returns how it ended. The upstream is asked first: where it declines, the
// client gets its very answer, and the connection, which was never upgraded, is closed.
func (s Session) Command(ctx context.Context, w http.ResponseWriter, r *http.Request, streams remotecommand.Streams) access.Outcome {
	choose := remotecommand.ChooseWebSocket
	if s.Kind == SPDY {
		choose = remotecommand.ChooseSPDY
	}
	protocol, err := choose(r.Header)
	if err != nil {
		return s.refuse(w, r, malformed("%v", err))
	}
	upstream, answer, err := s.upstreamCommand(ctx, streams)
	if upstream == nil {
		return s.decline(w, r, answer, err)
	}
	var client remotecommand.Conn
	if s.Kind == SPDY {
		client, err = remotecommand.AcceptSPDY(w, protocol, streams)
	} else {
		client, err = remotecommand.AcceptWebSocket(w, r, protocol, streams)
	}
	if err != nil {
		upstream.Abort()
		return notAccepted(err)
	}
	return Command{Client: client, Upstream: upstream, Streams: streams, Book: s.Book, Masks: s.Masks, Failed: s.Failed}.Run(ctx)
}

// notAccepted is the outcome where the client's own side of the upgrade failed after the upstream's stood.
func notAccepted(err error) access.Outcome {
	return access.Outcome{ExitCode: -1, Truncated: "the client's connection could not be upgraded: " + err.Error()}
}

// upstreamCommand connects to the API server by WebSocket in version 5, which can half-close, or where that is not
// known to it by SPDY in version 4.
func (s Session) upstreamCommand(ctx context.Context, streams remotecommand.Streams) (remotecommand.Conn, *http.Response, error) {
	conn, answer, err := remotecommand.UpgradeWebSocket(ctx, s.Upstream, s.absolute(), s.Header)
	if conn != nil || !fallBack(answer, err) {
		return conn, answer, err
	}
	rwc, answer, err := s.upgradeSPDY(ctx, string(remotecommand.V4))
	if rwc == nil {
		return nil, answer, err
	}
	conn, err = remotecommand.ClientSPDY(rwc, remotecommand.V4, streams)
	return conn, nil, err
}

// absolute is the URL in the form that libraries want; the upstream sets scheme and host.
func (s Session) absolute() string {
	u := *s.URL
	u.Scheme, u.Host = "http", "upstream"
	return u.String()
}

// fallBack reports whether the older protocol is worth trying, and if so is done with the answer: where the server
// understood the handshake otherwise, or declined in words that are not the API server's own, as a kubelet does that
// knows no WebSocket, or no such version.
func fallBack(answer *http.Response, err error) bool {
	var why *access.Refusal
	if err != nil {
		return !errors.As(err, &why)
	}
	if answer.StatusCode < 400 {
		return false
	}
	if kind, _, err := mime.ParseMediaType(answer.Header.Get("Content-Type")); err == nil && kind == "application/json" {
		return false
	}
	discard(answer)
	return true
}

// discard ends an answer that nobody will read.
func discard(answer *http.Response) {
	if err := answer.Body.Close(); err != nil {
		return // its connection is broken, and closed thereby
	}
}

// upgradeSPDY asks the API server for SPDY/3.1 and the protocol named. Either the connection or its answer is given.
func (s Session) upgradeSPDY(ctx context.Context, protocol string) (io.ReadWriteCloser, *http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.absolute(), nil)
	if err != nil {
		return nil, nil, fmt.Errorf("asking for spdy: %w", err)
	}
	for k, v := range s.Header {
		req.Header[k] = v
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", spdy.Token)
	req.Header.Set(spdy.VersionHeader, protocol)
	resp, err := s.Upstream.RoundTrip(req)
	if err != nil {
		return nil, nil, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, resp, nil
	}
	rwc, ok := resp.Body.(io.ReadWriteCloser)
	if !ok || !strings.EqualFold(resp.Header.Get("Upgrade"), spdy.Token) || resp.Header.Get(spdy.VersionHeader) != protocol {
		discard(resp)
		return nil, nil, fmt.Errorf("asking for spdy: the answer 101 is to %q, %q",
			resp.Header.Get("Upgrade"), resp.Header.Get(spdy.VersionHeader))
	}
	return rwc, nil, nil
}

// decline tells the client why the upstream did not upgrade. An answer that is neither 101 nor an error is not relayed:
// a client could take what follows for the stream, or follow it elsewhere.
func (s Session) decline(w http.ResponseWriter, r *http.Request, answer *http.Response, err error) access.Outcome {
	var why *access.Refusal
	switch {
	case err != nil && !errors.As(err, &why):
		why = access.Refuse(access.CodeUpstream, err, "the target did not upgrade the connection")
	case err == nil && answer.StatusCode < 400:
		discard(answer)
		why = access.Refuse(access.CodeUpstream, nil, "the target answered an upgrade with HTTP status %d", answer.StatusCode)
	case err == nil:
		w.Header().Set("Connection", "close")
		return s.Answer(w, r, answer)
	}
	return s.refuse(w, r, why)
}

func (s Session) refuse(w http.ResponseWriter, r *http.Request, why *access.Refusal) access.Outcome {
	w.Header().Set("Connection", "close")
	return access.Outcome{ExitCode: -1, Code: s.Refuse(w, r, why), Message: why.Message}
}
