// Package grammar reads SQL as PostgreSQL's own grammar does (libpg_query), and says what a statement can do: its kind
// and effect, what it names, and which of its output columns may show what a mask hides.
//
// It guarantees that what it calls a read is made of SELECTs without locks and without INTO, of functions that are known to change
// nothing, and of nothing else; a node of the grammar that it does not know makes a statement able to do anything. What
// cannot be parsed is an error. It reads text alone: what a name stands for in a database, a Catalog says.
package grammar
