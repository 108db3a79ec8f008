// Package gitpack reads git's packs (gitformat-pack) for what they tell of history: commits, tags and trees.
//
//	| PACK | version 2 or 3 | objects |  4 + 4 + 4 bytes
//	| type and size, 7 bits a byte | for a delta: its base, by offset back or by name | zlib stream |  for each object
//	| hash of all that was before |
//
// It guarantees that an object's name is the hash of its content, as computed here; that memory is bounded whatever a pack
// claims, and what a bound left out is named; that an object of which the base is not in the pack is counted, never guessed;
// that nothing follows the pack.
//
// It does not keep files' contents, nor check the pack's own hash or the objects' inner rules: who stores the pack does.
package gitpack
