// Package model is the protocol of language models' APIs: Anthropic's Messages, and OpenAI's chat completions and
// responses. It reads what is asked and what is answered, and passes both on byte for byte.
//
// It guarantees that a request which could be read in two ways is not sent; that nothing is sent without a permit, nor
// with any credential but the gateway's own; that a tool call in an answer is told to the permit before the client can
// act on it, or is not delivered; and that what is known or found to be secret is a placeholder in every record, while
// request and answer stay as they are.
//
// It refuses to believe what a client says of itself: conversation, agent and user identifiers are the client's word,
// and one that contradicts what the gateway saw is flagged.
package model
