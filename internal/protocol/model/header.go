package model

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"net/textproto"
	"regexp"
	"slices"
	"strings"

	"gatebook/internal/access"
	"gatebook/internal/wire/httpheader"
)

// Everything that a client sends is forwarded, but for these: what is about one connection (RFC 9110, section 7.6.1),
// what names an identity, and what the gateway sets itself. Encoded answers could not be read.
var (
	claimHeaders  = []string{"Cookie", "Forwarded", "Via", "X-Real-Ip", "Remote-User", "X-Http-Method-Override", "X-Http-Method", "X-Method-Override"}
	claimPrefixes = []string{"X-Forwarded-", "X-Remote-", "Impersonate-"}
	// accountHeaders say for which account a call is. That is decided by the gateway's key alone.
	accountHeaders = []string{"Openai-Organization", "Openai-Project", "X-Goog-User-Project", "Chatgpt-Account-Id"}
	ownHeaders     = []string{"Accept-Encoding", "Content-Length", "Host", "Gatebook-Reason"}
	// attemptHeaders differ when a client sends the same request again: where they look like that they are forwarded, and
	// not in the digest.
	attemptHeaders = map[string]*regexp.Regexp{
		"Traceparent":             regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`),
		"X-Stainless-Retry-Count": regexp.MustCompile(`^[0-9]{1,3}$`),
		"X-Client-Request-Id":     regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`),
	}
	unforwarded = httpheader.SetOf(httpheader.Connection, claimHeaders, accountHeaders, ownHeaders, credentials)
	// usualHeaders change nothing of what a request does; others are in the operation's command. All are on record.
	usualHeaders = []string{"Accept", "Accept-Language", "Content-Type", "User-Agent", "Anthropic-Version", "Anthropic-Dangerous-Direct-Browser-Access", "X-App", "Sec-Fetch-Mode",
		"Originator", "Session-Id", "Thread-Id", "X-Client-Request-Id"}
	usualPrefixes = []string{"X-Stainless-", "X-Claude-Code-", "X-Codex-"}
)

// forwardedHeader gives the client's headers as the provider gets them.
func forwardedHeader(h http.Header) http.Header {
	return httpheader.Forwarded(h, unforwarded, claimPrefixes)
}

// plainName is a header's name as servers read it that take an underscore for a dash.
func plainName(name string) string {
	return textproto.CanonicalMIMEHeaderKey(strings.ReplaceAll(name, "_", "-"))
}

// isAttempt reports whether a header only counts attempts, or traces them.
func isAttempt(name, value string) bool {
	form := attemptHeaders[name]
	return form != nil && form.MatchString(value)
}

// lines writes a request's headers as they are forwarded, for the record and for approvers.
func lines(method, uri string, forwarded http.Header) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s %s\r\n", method, uri)
	if err := forwarded.Write(&out); err != nil { // a buffer takes everything
		fmt.Fprintf(&out, "(%v)\r\n", err)
	}
	return out.Bytes()
}

// checkHeader refuses what would make the request mean something else than what is read of it.
func checkHeader(h http.Header) *access.Refusal {
	for _, name := range []string{"Content-Type", "Content-Encoding"} {
		if n := len(h.Values(name)); n > 1 {
			return malformed("the request has %d %s headers", n, name)
		}
	}
	if e := h.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		why := malformed("the request's body is encoded (%s), and is not read", e)
		why.Advice = "Send the body as it is."
		return why
	}
	if httpheader.AsksUpgrade(h) {
		why := malformed("an upgrade to %q is not passed on", h.Get("Upgrade"))
		why.Advice = "Use the API over HTTP, with server-sent events."
		return why
	}
	return nil
}

// unusual writes the headers by which this request is not like others, so that who approves it sees them.
func unusual(forwarded http.Header) string {
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(forwarded)) {
		if slices.Contains(usualHeaders, name) || httpheader.HasAnyPrefix(name, usualPrefixes) {
			continue
		}
		for _, v := range forwarded[name] {
			if !isAttempt(name, v) {
				fmt.Fprintf(&out, " # %s: %s", name, v)
			}
		}
	}
	return out.String()
}

// answerHeader gives the provider's headers as they are relayed: all but those about its connection, and those that would
// lead the client around the gateway or give it a credential.
func answerHeader(h http.Header) http.Header {
	return httpheader.Relayed(h, unrelayed)
}

var unrelayed = httpheader.SetOf(httpheader.Connection, []string{"Alt-Svc", "Set-Cookie", "Strict-Transport-Security", "Www-Authenticate", "Location", "Link", "Refresh"})
