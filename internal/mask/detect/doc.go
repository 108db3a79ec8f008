// Package detect finds credentials and personal data by rules: a rule set as data, of which a policy chooses.
//
// It guarantees:
//
//   - What is found depends on the text alone, not on how it was cut: a place at which more text could change the answer is
//     pending, and says from where on.
//   - The work is linear in the text: one scan for the starts of all rules together, and a bounded reading at each.
//   - Nothing is allocated for a piece of text once a Scanner has been used.
//
// It imports nothing of ours, keeps nothing of what it read, and knows nothing of masks.
package detect
