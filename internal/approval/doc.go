// Package approval is the desk where people are asked before an operation runs. It guarantees that
//
//   - an answer is good for one binding: the exact bytes of the operation, its principal, its target, the policy that
//     asked, and the terms that it set;
//   - a yes for once runs one operation at most, whatever is sent twice, races, crashes or starts again: its use is on
//     disk before Use returns;
//   - nothing runs on a lapsed, denied or unanswered question, and nothing runs by itself: a client that has gone is
//     never acted for, and its yes waits for the same request to come again;
//   - nobody answers for themselves, under any name that their credential carries, nor twice; no workload answers; an
//     administrator is no exception, and breaking the glass needs a permission of its own, a reason, and is announced.
//
// It keeps what agents say exactly as they said it. Making it harmless to look at is the viewer's part (Inert).
// It knows nothing of storage, of recording or of the network.
package approval
