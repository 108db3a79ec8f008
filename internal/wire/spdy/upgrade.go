package spdy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

const (
	// Token is the protocol's name in the Upgrade header.
	Token = "SPDY/3.1"
	// VersionHeader names the Kubernetes protocols that a client offers to speak over SPDY, and the one chosen.
	VersionHeader = "X-Stream-Protocol-Version"
	// AcceptedHeader tells a client with whom no protocol could be agreed what would have been understood.
	AcceptedHeader = "X-Accepted-Stream-Protocol-Versions"
)

// Upgrade answers a request that asked for SPDY/3.1 with 101 and the protocol chosen, and takes its connection, which
// is then the caller's.
func Upgrade(w http.ResponseWriter, protocol string) (io.ReadWriteCloser, error) {
	h := w.Header()
	h.Set("Connection", "Upgrade")
	h.Set("Upgrade", Token)
	if protocol != "" {
		h.Set(VersionHeader, protocol)
	}
	w.WriteHeader(http.StatusSwitchingProtocols)
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, fmt.Errorf("taking over the connection: %w", err)
	}
	if err := nc.SetDeadline(time.Time{}); err != nil { // the server's own deadlines do not bind a stream
		return nil, fmt.Errorf("clearing deadlines: %w", err)
	}
	return &hijacked{Conn: nc, r: rw.Reader}, nil
}

// hijacked reads first what the HTTP server had read already.
type hijacked struct {
	net.Conn
	r *bufio.Reader
}

func (h *hijacked) Read(p []byte) (int, error) { return h.r.Read(p) }
