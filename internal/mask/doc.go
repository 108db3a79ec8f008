// Package mask hides secrets in what goes to an agent, and puts them back when the agent returns them.
//
// It guarantees:
//
//   - What a Shape names never leaves a JSONWriter, whatever the split of its input, the order, number or spelling of
//     keys, and the escapes of strings. What is not valid JSON is an error before any of the doubtful bytes leave.
//   - What the Engine has learned is recognised in any byte stream: as it is, in base64 (either alphabet, padded or
//     not, at any alignment, inside larger content, wrapped into lines), in hexadecimal, percent-escaped, JSON-escaped,
//     and in those combined; at any split.
//   - A JSON Web Token is recognised by its form in the same way, though it was never learned.
//   - What detectors find (package detect) is masked in the same way where a Scope has any, and known from then on.
//   - Bytes outside of what is masked are the input's own, untouched.
//   - No value is kept: only keyed hashes are. See Engine for what these give away, and to whom.
//   - A placeholder that comes back is replaced by the original from the same place of the stored object, or refused.
//
// It imports nothing of ours but the vocabulary and the detectors, and knows nothing of Kubernetes, HTTP or SQL: callers bring paths and bytes. It opens no file and no connection.
package mask
