// Package attribution links operations to the tool calls that caused them, and through these to the prompts. It
// guarantees that every link names its method and its evidence, that only what the gateway saw itself is marked as
// seen, that an operation is linked to calls of its own session alone, and that an answer, once given, is never changed:
// later evidence is a cause of its own, on record. What it cannot tell it calls ambiguous or unattributed.
//
// The language of the rungs is in docs/design/attribution.md.
package attribution
