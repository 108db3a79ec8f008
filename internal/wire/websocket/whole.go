package websocket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	coder "github.com/coder/websocket"
	"github.com/gorilla/websocket"
)

// Message is one that was read whole.
type Message struct {
	Text bool
	Data []byte
}

// Closed is the error of a connection that the other side said goodbye on.
type Closed struct {
	// Code is that of RFC 6455, section 7.4.1; 1005 where none was said.
	Code   int
	Reason string
}

func (c *Closed) Error() string { return fmt.Sprintf("the websocket was closed with %d", c.Code) }

// ErrTooLong is the error of a message that is longer than it may be. What is left of it can no longer be read.
var ErrTooLong = errors.New("websocket message is too long")

// Whole waits for the client's next message, of at most max bytes. Data is the caller's.
func (s *Server) Whole(max int) (Message, error) {
	text, r, err := s.next()
	if err != nil {
		var bye *websocket.CloseError
		if errors.As(err, &bye) && bye.Code != websocket.CloseAbnormalClosure {
			return Message{}, &Closed{bye.Code, bye.Text}
		}
		return Message{}, fmt.Errorf("reading from the websocket: %w", err)
	}
	return whole(r, text, max)
}

// Whole waits for the server's next message, of at most max bytes. Data is the caller's.
func (c *Client) Whole(max int) (Message, error) {
	kind, r, err := c.ws.Reader(context.Background())
	if err != nil {
		defer c.gone()
		var bye coder.CloseError
		if errors.As(err, &bye) {
			return Message{}, &Closed{int(bye.Code), bye.Reason}
		}
		return Message{}, fmt.Errorf("reading from the websocket: %w", err)
	}
	return whole(r, kind == coder.MessageText, max)
}

func whole(r io.Reader, text bool, max int) (Message, error) {
	b, err := io.ReadAll(io.LimitReader(r, int64(max)+1))
	switch {
	case err != nil:
		return Message{}, fmt.Errorf("reading a message: %w", err)
	case len(b) > max:
		return Message{}, ErrTooLong
	}
	return Message{text, b}, nil
}

// SendWhole sends one message, of any length. It does not retain m.
func (s *Server) SendWhole(m Message) error { return s.Message(m.Text, m.Data) }

// SendWhole sends one message, of any length. It does not retain m.
func (c *Client) SendWhole(m Message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	kind := coder.MessageBinary
	if m.Text {
		kind = coder.MessageText
	}
	if err := c.ws.Write(context.Background(), kind, m.Data); err != nil {
		return fmt.Errorf("writing to the websocket: %w", err)
	}
	return nil
}

// Say says goodbye. It waits for no answer; Abort ends the connection.
func (s *Server) Say(code int, reason string) {
	var bye []byte
	if code != websocket.CloseNoStatusReceived {
		bye = websocket.FormatCloseMessage(code, reason)
	}
	// Who has gone needs no goodbye.
	_ = s.ws.WriteControl(websocket.CloseMessage, bye, time.Now().Add(closeGrace))
}

// Say says goodbye, and ends the connection.
func (c *Client) Say(code int, reason string) {
	if code == websocket.CloseNoStatusReceived {
		code = websocket.CloseNormalClosure
	}
	// Who has gone needs no goodbye.
	_ = c.ws.Close(coder.StatusCode(code), reason)
}
