// Package websocket carries the WebSocket connections of the Kubernetes API at both of their ends: messages that begin
// with the number of a channel (Channels), messages that are a tunnel for something else (Tunnel), and towards clients
// messages that are the pieces of one thing (Server). The framing is
// gorilla/websocket's towards clients and coder/websocket's towards API servers: the first gives up answering a ping
// while a write is stuck, where the second gives up the connection, so that a user who pauses the output would lose the
// session; the second rides on any http.RoundTripper. It guarantees that a message of any length is read in pieces, and
// only when it is wanted, and that no goroutine outlives Abort.
//
// For any other service's WebSocket, messages are read whole and passed on whole (Whole, SendWhole), at both ends.
//
// It knows nothing of what messages mean, makes no connections, and decides nothing.
package websocket
