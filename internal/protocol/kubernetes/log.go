package kubernetes

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/gate"
	"gatebook/internal/guard"
	"gatebook/internal/protocol"
	"gatebook/internal/protocol/kubernetes/stream"
	"gatebook/internal/wire/websocket"
)

// Subprotocols in which a log goes over WebSocket: each message is a piece of it, as it is or in base64; without a
// subprotocol as it is (k8s.io/streaming/pkg/httpstream/wsstream, NewDefaultReaderProtocols).
const (
	logBinary = "binary.k8s.io"
	logBase64 = "base64.binary.k8s.io"
)

// maxLogPiece is how much of a log, in bytes, becomes one message: in base64 it is a third more.
const maxLogPiece = websocket.MessageBytes / 4 * 3

// takesLogSocket reports whether the request is one that the API server answers over WebSocket with a log.
func (x *exchange) takesLogSocket() bool {
	return x.upgrade == stream.WebSocket && x.k.is("", "pods") && x.k.Subresource == "log" && x.k.Verb == "get"
}

// readLogSocket chooses the subprotocol as the API server does: the first that the client offers and that is known.
// What is left is the request for the same log over HTTP, with its decision and its digest.
func (x *exchange) readLogSocket() *access.Refusal {
	x.header.Del("Origin")
	offered := stream.Protocols(x.r.Header)
	if len(offered) == 0 {
		return nil
	}
	for _, p := range offered {
		if p == logBinary || p == logBase64 {
			x.logProtocol = p
			return nil
		}
	}
	return malformed("a log goes over WebSocket by %s or %s, not by %q", logBinary, logBase64, offered)
}

// serveLog carries a permitted log to a client over WebSocket. The upstream is asked for it over HTTP, and what it
// answers is masked and recorded as it would be for a client of that kind.
func (x *exchange) serveLog(w http.ResponseWriter, p gate.Permit) {
	ctx, gone := context.WithCancel(x.r.Context())
	defer gone()
	fell := func(err error) {
		x.h.o.Log.Error("reading from the client of a log", "operation", x.op.ID, "error", err)
	}
	s := &logSocket{ResponseWriter: w, r: x.r, protocol: x.logProtocol, permit: p, gone: gone, fell: fell}
	defer s.abort() // where the log was cut off, without a goodbye: the client must not take what it has for the whole
	x.r = x.r.WithContext(ctx)
	x.forward(s, p)
	s.close()
}

// logSocket is a ResponseWriter whose answer 200 is a WebSocket: each Write is a message, or several. Any other answer
// goes out as it is, and ends the connection.
type logSocket struct {
	http.ResponseWriter
	r        *http.Request
	protocol string
	permit   gate.Permit
	gone     func() // called when the client is
	fell     func(error)
	ws       *websocket.Server
	err      error // why there is no ws
	buf      []byte
	read     chan struct{} // closed when nobody reads any more
}

// Unwrap is for http.ResponseController.
func (s *logSocket) Unwrap() http.ResponseWriter { return s.ResponseWriter }

func (s *logSocket) WriteHeader(status int) {
	if status != http.StatusOK {
		s.Header().Set("Connection", "close") // what follows on it may be meant for the other protocol
		s.ResponseWriter.WriteHeader(status)
		return
	}
	if s.ws, s.err = websocket.Accept(s.ResponseWriter, s.r, s.protocol); s.err != nil {
		return
	}
	s.read = make(chan struct{})
	go s.forget()
	context.AfterFunc(s.permit.Context(), s.cut)
	s.err = s.message(nil) // as the API server says that the connection stands
}

// cut ends the connection soon after a revocation, also where the client takes nothing. A permit that merely ended
// leaves it to the goodbye.
func (s *logSocket) cut() {
	var why *access.Refusal
	if errors.As(context.Cause(s.permit.Context()), &why) {
		time.AfterFunc(protocol.CutGrace, s.ws.Abort)
	}
}

// forget reads what the client sends, which means nothing, to learn when it goes. Who has said goodbye wants no more,
// and cannot hold up the end by taking nothing.
func (s *logSocket) forget() {
	defer close(s.read)
	err := guard.Call(func() error {
		for {
			if _, err := s.ws.Next(); err != nil {
				return err
			}
		}
	})
	var fell *guard.Panic
	if errors.As(err, &fell) {
		s.fell(err)
	}
	s.gone()
	time.AfterFunc(protocol.CutGrace, s.ws.Abort)
}

func (s *logSocket) Write(b []byte) (int, error) {
	if s.ws == nil && s.err == nil {
		return s.ResponseWriter.Write(b)
	}
	n := 0
	for s.err == nil && n < len(b) {
		piece := b[n:min(len(b), n+maxLogPiece)]
		if s.err = s.message(piece); s.err == nil {
			n += len(piece)
		}
	}
	return n, s.err
}

func (s *logSocket) message(b []byte) error {
	if s.protocol != logBase64 {
		return s.ws.Message(false, b)
	}
	s.buf = base64.StdEncoding.AppendEncode(s.buf[:0], b)
	return s.ws.Message(true, s.buf)
}

// FlushError has nothing to do for messages, which are not held back.
func (s *logSocket) FlushError() error {
	if s.ws == nil && s.err == nil {
		return http.NewResponseController(s.ResponseWriter).Flush()
	}
	return s.err
}

// close says goodbye after the last message.
func (s *logSocket) close() {
	if s.ws != nil {
		s.ws.Close()
	}
}

// abort ends a connection that is still there, and waits for its reader.
func (s *logSocket) abort() {
	if s.ws != nil {
		s.ws.Abort()
		<-s.read
	}
}
