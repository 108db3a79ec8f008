package portforward

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"gatebook/internal/wire/spdy"
)

const (
	// Protocol is agreed over SPDY, and Tunnelled over WebSocket for SPDY inside.
	Protocol  = "portforward.k8s.io"
	Tunnelled = "SPDY/3.1+" + Protocol

	// MaxPairs bounds the pairs open at once on one connection.
	MaxPairs = 1000

	// MaxReason bounds the text of one failed connection, in bytes.
	MaxReason = 16 << 10

	reasonTimeout = 5 * time.Second

	headerType = "Streamtype"
	headerPort = "Port"
	headerID   = "Requestid"
	typeError  = "error"
	typeData   = "data"
)

// Stream is one direction-pair of bytes. Reading and writing are independent; each is for one goroutine at a time.
type Stream interface {
	// Next returns what came, which is then the caller's; io.EOF when the peer half-closed or ended it.
	Next() ([]byte, error)
	// Write sends p and does not retain it.
	Write(p []byte) (int, error)
	// CloseWrite half-closes, where the protocol can say so.
	CloseWrite() error
	// Reset ends both directions.
	Reset()
}

// Pair is one forwarded TCP connection.
type Pair struct {
	Port  uint16
	Data  Stream
	Error Stream
}

// Reset ends both streams.
func (p Pair) Reset() {
	p.Data.Reset()
	p.Error.Reset()
}

// ResetData ends a pair whose server takes no more data. Why, it says on the error stream, perhaps after it has reset the other: that
// one is left to it for a moment, unless stop is called before.
func (p Pair) ResetData() (stop func() bool) {
	p.Data.Reset()
	return time.AfterFunc(reasonTimeout, p.Error.Reset).Stop
}

// Server is the end that faces a client. Its methods are safe for concurrent use.
type Server interface {
	// Done is closed when the client is gone.
	Done() <-chan struct{}
	// Close ends the connection at once, and returns when nothing of it is left running.
	Close()
}

// overSPDY collects the streams that a client opens into pairs.
type overSPDY struct {
	conn *spdy.Conn
	done chan struct{}
	open func(Pair)

	mu   sync.Mutex
	half map[string]*Pair // by request id, waiting for the other stream
	used int
}

// ServeSPDY takes the listening end of a connection upgraded to SPDY/3.1, and owns rwc. It calls open for each pair
// that the client opens, from several goroutines; open must not block, and the pair is then its own to Reset.
func ServeSPDY(rwc io.ReadWriteCloser, open func(Pair)) (Server, error) {
	s := &overSPDY{open: open, half: map[string]*Pair{}, done: make(chan struct{})}
	ready := make(chan struct{})
	conn, err := spdy.Server(rwc, func(st *spdy.Stream) error {
		<-ready
		return s.accept(st)
	})
	if err != nil {
		return nil, err
	}
	s.conn = conn
	close(ready)
	go func() {
		<-conn.Done()
		close(s.done)
	}()
	return s, nil
}

func (s *overSPDY) Done() <-chan struct{} { return s.done }

func (s *overSPDY) Close() {
	s.conn.Close()
	<-s.done
}

func (s *overSPDY) accept(st *spdy.Stream) error {
	port, err := strconv.ParseUint(st.Header().Get(headerPort), 10, 16)
	if err != nil || port == 0 {
		return fmt.Errorf("port %q is none", st.Header().Get(headerPort))
	}
	kind := st.Header().Get(headerType)
	if kind != typeError && kind != typeData {
		return fmt.Errorf("stream of type %q is not expected", kind)
	}
	p, err := s.join(requestID(st, kind), uint16(port), kind, st)
	if p != nil {
		s.open(*p)
	}
	return err
}

// join gives the pair when it is whole.
func (s *overSPDY) join(id string, port uint16, kind string, st *spdy.Stream) (*Pair, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.half[id]
	if p == nil {
		if s.used >= MaxPairs {
			return nil, fmt.Errorf("more than %d connections at once", MaxPairs)
		}
		s.used++
		p = &Pair{Port: port}
		s.half[id] = p
	}
	slot := &p.Data
	if kind == typeError {
		slot = &p.Error
	}
	if *slot != nil || p.Port != port {
		return nil, errors.New("the streams of one request do not belong together")
	}
	*slot = &counted{Stream: st, release: s.release(p)}
	if p.Data == nil || p.Error == nil {
		return nil, nil
	}
	delete(s.half, id)
	return p, nil
}

func (s *overSPDY) release(p *Pair) func() {
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.used--
	}
}

// counted makes room for another pair when the data stream of a pair is reset.
type counted struct {
	*spdy.Stream
	once    sync.Once
	release func()
}

func (c *counted) Reset() {
	c.Stream.Reset()
	if c.Header().Get(headerType) == typeData {
		c.once.Do(c.release)
	}
}

// requestID names the pair that a stream belongs to. Clients older than Kubernetes 1.2 send none; then the error stream
// comes just before the data stream, and numbers go up by two.
func requestID(st *spdy.Stream, kind string) string {
	if id := st.Header().Get(headerID); id != "" {
		return id
	}
	n := st.ID()
	if kind == typeData {
		n -= 2
	}
	return "stream " + strconv.FormatUint(uint64(n), 10)
}

// Client is the end that faces a server. It is safe for concurrent use.
type Client struct {
	conn *spdy.Conn
	mu   sync.Mutex
	next uint64
}

// NewClient takes a connection that a server has just upgraded to SPDY/3.1, and owns rwc.
func NewClient(rwc io.ReadWriteCloser) (*Client, error) {
	conn, err := spdy.Client(rwc)
	if err != nil {
		return nil, err
	}
	return &Client{conn: conn}, nil
}

// Done is closed when the server is gone.
func (c *Client) Done() <-chan bool { return c.conn.Done() }

// Close ends the connection at once, and returns when nothing of it is left running.
func (c *Client) Close() { c.conn.Close() }

// Refused is the error of a connection that the server has ended before it stood, with what it said of the reason.
type Refused struct{ Text string }

func (r *Refused) Error() string { return "the server refused the connection: " + r.Text }

// Open opens a connection to a port. The pair is the caller's to Reset. Where the server refuses it, the error is a
// *Refused.
func (c *Client) Open(port uint16) (Pair, error) {
	c.mu.Lock()
	id := strconv.FormatUint(c.next, 10)
	c.next++
	c.mu.Unlock()
	h := func(kind string) http.Header {
		return http.Header{headerType: {kind}, headerPort: {strconv.Itoa(int(port))}, headerID: {id}}
	}
	e, err := c.conn.Open(h(typeError))
	if err != nil {
		return Pair{}, err
	}
	if err := e.CloseWrite(); err != nil { // errors come from the server alone
		e.Reset()
		return Pair{}, err
	}
	d, err := c.conn.Open(h(typeData))
	if errors.Is(err, spdy.ErrReset) {
		return Pair{}, &Refused{reason(e)}
	}
	if err != nil {
		e.Reset()
		return Pair{}, err
	}
	return Pair{Port: port, Data: d, Error: e}, nil
}

// reason reads what the server says on the error stream of a connection whose data stream it has reset. It says it
// before it resets that, too; one that does not is not waited for.
func reason(e *spdy.Stream) string {
	stop := time.AfterFunc(reasonTimeout, e.Reset)
	defer stop.Stop()
	defer e.Reset()
	var text []byte
	for {
		b, err := e.Next()
		if err != nil {
			return string(text)
		}
		text = append(text, b[:min(len(b), MaxReason-len(text))]...)
	}
}
