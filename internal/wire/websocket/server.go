package websocket

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

const (
	// MessageBytes bounds what is sent in one message, and read of one in one piece.
	MessageBytes = 32 << 10

	closeGrace = time.Second
	pingEvery  = 20 * time.Second
	pingWait   = time.Second
)

// Server is the end that faces a client. Its methods are safe for concurrent use, those that read for one caller.
type Server struct {
	ws    *websocket.Conn
	done  chan struct{} // closed when the client is gone, or nobody reads any more
	once  sync.Once
	pings sync.WaitGroup
	mu    sync.Mutex  // for writing messages
	left  atomic.Bool // the reader has given up before the client was gone
}

// Accept answers the client's request with 101 and the subprotocol, which may be empty, and takes its connection. An
// error has been answered. Whether the client may be here, and from which Origin, is for the caller to have decided.
func Accept(w http.ResponseWriter, r *http.Request, subprotocol string) (*Server, error) {
	u := websocket.Upgrader{
		ReadBufferSize: MessageBytes, WriteBufferSize: MessageBytes + 1024, // so that a message is one frame
		HandshakeTimeout: 10 * time.Second, CheckOrigin: func(*http.Request) bool { return true },
	}
	if subprotocol != "" {
		u.Subprotocols = []string{subprotocol}
	}
	ws, err := u.Upgrade(w, r, nil)
	if err != nil {
		return nil, fmt.Errorf("upgrading to websocket: %w", err)
	}
	s := &Server{ws: ws, done: make(chan struct{})}
	s.pings.Go(s.ping)
	return s, nil
}

// Next waits for the client's next message. The reader is valid until the next call. The error is io.EOF when the client
// said goodbye.
func (s *Server) Next() (io.Reader, error) {
	_, r, err := s.next()
	if err == nil {
		return r, nil
	}
	if websocket.IsCloseError(err, websocket.CloseNormalClosure, websocket.CloseGoingAway, websocket.CloseNoStatusReceived) {
		return nil, io.EOF
	}
	return nil, fmt.Errorf("reading from the websocket: %w", err)
}

func (s *Server) next() (text bool, r io.Reader, err error) {
	kind, r, err := s.ws.NextReader()
	if err != nil {
		s.gone()
	}
	return kind == websocket.TextMessage, r, err
}

// Message sends one message, of at most MessageBytes, made of the parts. It does not retain them.
func (s *Server) Message(text bool, parts ...[]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	kind := websocket.BinaryMessage
	if text {
		kind = websocket.TextMessage
	}
	w, err := s.ws.NextWriter(kind)
	if err != nil {
		return fmt.Errorf("writing to the websocket: %w", err)
	}
	for _, p := range parts {
		if _, err := w.Write(p); err != nil {
			return fmt.Errorf("writing to the websocket: %w", err)
		}
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("writing to the websocket: %w", err)
	}
	return nil
}

// Done is closed when the client is gone.
func (s *Server) Done() <-chan struct{} { return s.done }

func (s *Server) gone() { s.once.Do(func() { close(s.done) }) }

// Close says goodbye, and gives the client a second to read it and answer. Where nobody reads any more, what the client
// still sends is read and forgotten: closing on unread bytes would destroy what is on its way to the client.
func (s *Server) Close() {
	defer s.Abort()
	bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	if err := s.ws.WriteControl(websocket.CloseMessage, bye, time.Now().Add(closeGrace)); err != nil {
		return
	}
	stop := time.AfterFunc(closeGrace, s.Abort)
	defer stop.Stop()
	if !s.left.Load() {
		<-s.done
		return
	}
	for {
		if _, err := s.Next(); err != nil {
			return
		}
	}
}

// Abort ends the connection at once, and makes every other call return. It may be called any number of times.
func (s *Server) Abort() {
	s.gone()
	defer s.pings.Wait()
	if err := s.ws.Close(); err != nil {
		return // it was closed already
	}
}

func (s *Server) ping() {
	t := time.NewTicker(pingEvery)
	defer t.Stop()
	for {
		select {
		case <-s.done:
			return
		case <-t.C:
		}
		if err := s.ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(pingWait)); err != nil && !isTimeout(err) {
			return
		}
	}
}

// isTimeout tells a connection that is only busy from one that is broken.
func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}
