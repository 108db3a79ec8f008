// Package stream joins the two ends of an upgraded connection: exec and attach (Command), and port-forward (Forward).
// The client's end and the upstream's were each terminated here; nothing is copied from one to the other that was not
// decoded, recorded and masked on the way. It guarantees that
//
//   - bytes are in the book before they are sent on, in either direction, and a book that cannot take them ends the
//     connection. Of input that begins as a known secret does, and after which nothing follows for a moment, the book has
//     first a keyed digest, and what it was when it is clear, at the latest when the stream ends;
//   - what the book holds of the client's output is what the client was given, masked; what it holds of the client's
//     input has known secrets replaced, while the upstream gets the true bytes;
//   - memory is bounded: a side that does not read is waited for, never buffered;
//   - when the context ends, both ends are cut within a second, and the client is told why where its protocol can say;
//   - no goroutine outlives Run.
//
// It does not know who may do this, nor how either end was connected.
package stream
