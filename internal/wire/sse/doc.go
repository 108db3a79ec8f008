// Package sse reads Server-Sent Events (HTML Standard, section 9.2) and loses no byte of them: each event comes with the
// bytes it was written in, and where in these its fields stand, so that a gateway can change one value and pass on the
// rest as it came.
//
//	data: {"a":1}⏎ data: {"b":2}⏎ ⏎        one event: its lines, and the blank line that ends it
//	: a comment⏎ ⏎                         a block that is no event, and is passed on too
//
// It guarantees that
//
//   - the Raw of all blocks, one after the other, is the stream, however its bytes arrive; and where blocks end does not
//     depend on how they arrive either;
//   - a block is given as soon as its end has arrived. Only after a CR that could be half of a CRLF, since the line before
//     ended in LF or CRLF, is the next byte waited for;
//   - what makes an event, and of which type, data and id, is what a browser makes of it;
//   - memory is bounded by the limit of one event, and nothing is allocated per event.
//
// It does not decode UTF-8: where the standard would put U+FFFD for a malformed byte, the byte stays.
package sse
