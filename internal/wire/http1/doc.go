// Package http1 reads the framing of HTTP/1.1 requests (RFC 9112) on their way to net/http, and lets through what every
// reader frames alike:
//
//	POST /x HTTP/1.1⏎ Name: value⏎ … ⏎                       a head: lines that end in CRLF, each a header of its own
//	Content-Length: 5⏎ … ⏎ hello                              a body by its length, given once and in digits
//	Transfer-Encoding: chunked⏎ … ⏎ 5⏎hello⏎ 0⏎ ⏎             or a body in chunks, and then without a length
//
// It guarantees that after any other framing no byte of the client's is read as a request: the request is answered with 400
// by net/http, and the connection closed. net/http by itself takes lines that end in a bare LF, folded headers, a length
// beside chunks, the same length twice, and chunks in HTTP/1.0; another reader on the way may take each of them otherwise
// (RFC 9112, section 11.2).
//
// It knows nothing of what requests mean. What comes behind a CONNECT, or a request with an Upgrade, whatever its Connection
// says of that, is no HTTP/1.1: it is held back until somebody hijacks the connection, and net/http, which has none of it,
// can only answer and close.
package http1
