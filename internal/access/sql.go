package access

// SQL describes one statement sent to a database, as the database's own grammar reads it.
type SQL struct {
	// Database and Role are those of the connection. Role is the one in force, after SET ROLE.
	Database string `json:"database"`
	Role     string `json:"role,omitempty"`
	// Application is what the client calls itself (application_name). The client's word.
	Application string `json:"application,omitempty"`
	// Text is the statement as the client sent it.
	Text string `json:"text,omitempty"`
	// Kinds are the statements in it, each by its command tag in lower case, such as select, insert, create table, set. A
	// statement within another (a writable CTE, EXPLAIN ANALYZE) is listed with it.
	Kinds []string `json:"kinds,omitempty"`
	// Effect is the strongest of what it can do: read, write, ddl, session, or admin where it can do anything.
	Effect string `json:"effect,omitempty"`
	// Tables that it reaches, views and what is behind them included, sorted: each by its name, and where a schema is written with that as
	// well, such as orders and sales.orders. Writes are those of them that it may change.
	Tables []string `json:"tables,omitempty"`
	Writes []string `json:"writes,omitempty"`
	// Columns that it names, as written, sorted; * stands for all of some table.
	Columns []string `json:"columns,omitempty"`
	// Functions that it calls, sorted, and Volatile those of them that are not known to be harmless.
	Functions []string `json:"functions,omitempty"`
	Volatile  []string `json:"volatile,omitempty"`
	// NoWhere says that an UPDATE or DELETE in it has no WHERE.
	NoWhere bool `json:"noWhere,omitempty"`
	// Parameters are the values bound to it, as text, with what is known to be secret replaced; a NULL is \N.
	Parameters []string `json:"parameters,omitempty"`
}

func (s *SQL) summary() summary {
	return summary{Namespace: s.Database, Resource: s.Effect, Names: append(append([]string{s.Database, s.Role}, s.Tables...), s.Functions...)}
}

func (s *SQL) texts() []string {
	return append([]string{s.Database, s.Role, s.Application, s.Text}, s.Parameters...)
}
