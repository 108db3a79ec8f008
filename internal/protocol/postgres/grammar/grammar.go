package grammar

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"

	pg "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"

	"gatebook/internal/protocol/postgres/grammar/libpgquery"
)

// Effects, from the weakest to the strongest.
const (
	Read    = "read"
	Session = "session" // changes nothing but the session: transactions, harmless settings
	Write   = "write"
	DDL     = "ddl"
	Admin   = "admin" // can do anything
)

var strength = []string{Read, Session, Write, DDL, Admin}

// Stronger gives the stronger of two effects.
func Stronger(a, b string) string {
	if slices.Index(strength, b) > slices.Index(strength, a) {
		return b
	}
	return a
}

// Statement is what one statement can do, as far as its text says.
type Statement struct {
	// Text is its part of the text that it came in. The parts of all statements together are that text.
	Text string
	// These are as in access.SQL.
	Kinds     []string
	Effect    string
	Tables    []string
	Writes    []string
	Columns   []string
	Functions []string
	Volatile  []string
	NoWhere   bool
	// Types that it casts to, and operators that it uses, without schema: code of the database's own may be behind them.
	Types, Operators []string
	// Relations are Tables that are read, as they were written.
	Relations []Name
	// Setting is set where it changes how the session reads or does things.
	Setting *Setting
	// Prepared is the name that PREPARE gives, and EXECUTE and DEALLOCATE take; Cursor that of DECLARE, FETCH and CLOSE. DEALLOCATE
	// and CLOSE without one take all.
	Prepared, Cursor string
	// Copy is set for COPY with the client.
	Copy *Copy
	// Refuse says why it cannot be let through at all: the gateway would read what follows otherwise than the server.
	Refuse string

	root *pg.Node
	// like is the one of the same shape that was parsed; nil: this one was.
	like *Statement
}

// Name is a relation's, with the schema where it is written.
type Name struct{ Schema, Relation string }

// Setting is a change of a session's parameter.
type Setting struct {
	// Name in lower case; "all" for RESET ALL and DISCARD ALL.
	Name string
	// Value is empty where it is reset.
	Value string
	// Local: until the transaction ends.
	Local bool
	// Maybe: by a function's call, which may not come to pass, or to a value that is not known.
	Maybe bool
	// Reset: to what it was when the session began.
	Reset bool
}

// Copy is a COPY from or to the client.
type Copy struct {
	From bool
	// Plain says that it has the text format with nothing changed about it.
	Plain    bool
	Relation Name
	Columns  []string
	query    *pg.Node
}

// Is reports whether one of its kinds is k.
func (s *Statement) Is(k string) bool { return slices.Contains(s.Kinds, k) }

// Bounds of the cache: texts and shapes are kept in two generations of this many bytes each.
const cacheBytes = 8 << 20

// Grammar reads texts, and remembers what it read, by text and by shape. It is safe for concurrent use.
type Grammar struct {
	mu sync.RWMutex
	// turns bounds how many texts are parsed at once: each that is takes an instance of the parser, of many megabytes.
	turns chan struct{}
	// parser is there once warm is closed, or failed says why it is not.
	warm     chan struct{}
	parser   *libpgquery.Parser
	failed   error
	young    map[string]parsed
	old      map[string]parsed
	youngLen int
}

type parsed struct {
	statements []*Statement
	err        error
}

// maxParsers bounds how many texts are parsed at once, where there are as many cores and twice that.
const maxParsers = 4

// New makes a Grammar. Its parser takes seconds of computing to be compiled, unless the folder compiled holds it from an earlier time
// (see libpgquery.New; empty: none does); nobody waits for that but whoever reads before. Wait tells when it is there.
func New(compiled string) *Grammar {
	n := max(1, min(runtime.GOMAXPROCS(0)/2, maxParsers))
	g := &Grammar{young: map[string]parsed{}, turns: make(chan struct{}, n), warm: make(chan struct{})}
	go func() {
		defer close(g.warm)
		if g.parser, g.failed = libpgquery.New(compiled); g.failed == nil {
			_, g.failed = g.parser.Parse("SELECT 1")
		}
	}()
	return g
}

// Wait returns when texts are read without delay, or with why none can be read.
func (g *Grammar) Wait() error {
	<-g.warm
	return g.failed
}

// Ready reports whether texts are read without delay.
func (g *Grammar) Ready() bool {
	select {
	case <-g.warm:
		return g.failed == nil
	default:
		return false
	}
}

// Read gives the statements of text: at least one, since an empty text is one, too. What it gives is shared, and must not be changed.
func (g *Grammar) Read(text string) ([]*Statement, error) {
	room, _ := shapeKeys.Get().(*[]byte)
	defer shapeKeys.Put(room)
	shape, has := appendShape((*room)[:0], text)
	*room = shape
	if has {
		if p, ok := recall(g, shape); ok {
			return []*Statement{p.statements[0].of(text)}, nil
		}
	}
	own := !strings.HasPrefix(text, string(rune(shapeMark))) // a text with the mark of shapes is never remembered as one
	if p, ok := recall(g, text); ok && own {
		return p.statements, p.err
	}
	g.turns <- struct{}{}
	var p parsed
	p.statements, p.err = g.read(text)
	<-g.turns
	if has && p.err == nil && len(p.statements) == 1 && p.statements[0].isShared() {
		g.keep(string(shape), p)
	} else if own {
		g.keep(text, p)
	}
	return p.statements, p.err
}

// recall looks for what was read of a text, or of a shape.
func recall[K string | []byte](g *Grammar, key K) (parsed, bool) {
	g.mu.RLock()
	p, ok := g.young[string(key)]
	old := !ok
	if old {
		p, ok = g.old[string(key)]
	}
	g.mu.RUnlock()
	if ok && old {
		g.keep(string(key), p)
	}
	return p, ok
}

func (g *Grammar) keep(key string, p parsed) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.young[key]; ok {
		return
	}
	if g.youngLen += len(key) + 512; g.youngLen > cacheBytes {
		g.old, g.young, g.youngLen = g.young, map[string]parsed{}, len(key)
	}
	g.young[key] = p
}

// SyntaxError is what PostgreSQL's own parser says of a text.
type SyntaxError struct {
	Message string
	// Position is the character at which it stands, from 1; 0 where it is at none.
	Position int
	// Detail is what more there is to say, and Hint what to do, where the parser says; empty: it does not.
	Detail, Hint string
}

func (e *SyntaxError) Error() string { return e.Message }

func (g *Grammar) read(text string) (out []*Statement, err error) {
	defer func() { // what breaks here breaks one text
		if v := recover(); v != nil {
			out, err = nil, fmt.Errorf("reading a statement failed: %v", v)
		}
	}()
	if err := g.Wait(); err != nil {
		return nil, err
	}
	b, err := g.parser.Parse(text)
	var said *libpgquery.Error
	if errors.As(err, &said) {
		detail, hint := moreOf(said)
		return nil, &SyntaxError{Message: said.Message, Position: said.Position, Detail: detail, Hint: hint}
	}
	if err != nil {
		return nil, err
	}
	tree := &pg.ParseResult{}
	if err := proto.Unmarshal(b, tree); err != nil {
		return nil, fmt.Errorf("what the parser gave cannot be read: %w", err)
	}
	if len(tree.Stmts) == 0 {
		return []*Statement{{Text: text, Kinds: []string{"empty"}, Effect: Read}}, nil
	}
	from := 0
	for i, raw := range tree.Stmts {
		to := len(text)
		if i < len(tree.Stmts)-1 {
			// The next one's location is where it begins, behind the semicolon.
			if to = int(tree.Stmts[i+1].StmtLocation); to < from || to > len(text) {
				return nil, fmt.Errorf("the parser gave a statement at %d of %d bytes", to, len(text))
			}
		}
		out = append(out, classify(raw.Stmt, text[from:to]))
		from = to
	}
	return out, nil
}

// moreOf is what the parser says beside the message, which the library does not give on (gram.y, scan.l and parser.c have no others of syntax).
func moreOf(said *libpgquery.Error) (detail, hint string) {
	switch {
	case said.Message == "missing argument":
		hint = "Use NONE to denote the missing argument of a unary operator."
	case said.Message == "LIMIT #,# syntax is not supported":
		hint = "Use separate LIMIT and OFFSET clauses."
	case strings.HasPrefix(said.Message, "unrecognized row security option "):
		hint = "Only PERMISSIVE or RESTRICTIVE policies are supported currently."
	case said.Message == "invalid publication object list":
		detail = "One of TABLE or TABLES IN SCHEMA must be specified before a standalone table or schema name."
	case said.Message == "invalid Unicode escape" && said.Function == "str_udeescape":
		hint = `Unicode escapes must be \XXXX or \+XXXXXX.`
	case said.Message == "invalid Unicode escape":
		hint = `Unicode escapes must be \uXXXX or \UXXXXXXXX.`
	}
	return detail, hint
}

// Add joins what t can do to s.
func (s *Statement) Add(t *Statement) {
	s.Effect = Stronger(s.Effect, t.Effect)
	s.NoWhere = s.NoWhere || t.NoWhere
	for _, k := range t.Kinds {
		if !s.Is(k) {
			s.Kinds = append(slices.Clone(s.Kinds), k)
		}
	}
	s.Tables, s.Writes, s.Columns = join(s.Tables, t.Tables), join(s.Writes, t.Writes), join(s.Columns, t.Columns)
	s.Functions, s.Volatile = join(s.Functions, t.Functions), join(s.Volatile, t.Volatile)
	s.Types, s.Operators = join(s.Types, t.Types), join(s.Operators, t.Operators)
	s.Relations = append(slices.Clone(s.Relations), t.Relations...)
}

// Call notes calls of functions of the database's own.
func (s *Statement) Call(functions ...string) {
	s.Functions, s.Volatile = join(s.Functions, functions), join(s.Volatile, functions)
	for range functions {
		s.Effect = Stronger(s.Effect, Admin)
	}
}

func join(a, b []string) []string {
	if len(b) == 0 {
		return a
	}
	out := append(slices.Clone(a), b...)
	slices.Sort(out)
	return slices.Compact(out)
}
