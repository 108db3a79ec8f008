// Package archtest holds the code to its architecture: the import graph of docs/ARCHITECTURE.md and the house rules,
// as tests. It has no code of its own.
package archtest
