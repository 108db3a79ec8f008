package postgres

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"gatebook/internal/protocol/postgres/grammar"
)

// settings are the parameters by which the same text can mean something else, as far as this session's are not the server's own: an
// approval is bound to them. It is below the session's mu.
type settings struct {
	// began are those of the client's startup, which RESET goes back to; own is what the client has set since, known to be in force.
	began, own map[string]string
	// told are those that the server itself tells of at the end of a pipeline, whoever has changed them.
	told map[string]string
	// first are those at the beginning that the client has not asked for.
	first map[string]string
	// loose are those of which it is not known what they are, with the pipeline that left them so: set in a transaction, which may be undone,
	// by a pipeline, or by a function.
	loose map[string]int
}

// tellsOf are the material parameters that every server tells of (libpq's PQparameterStatus).
var tellsOf = []string{"DateStyle", "IntervalStyle", "TimeZone"}

func isTold(name string) bool {
	return slices.ContainsFunc(tellsOf, func(t string) bool { return strings.EqualFold(t, name) })
}

// everySetting stands among the loose ones for all.
const everySetting = "all"

// begin is for when the server has taken the startup's parameters, and has told its own.
func (x *settings) begin(startup, told map[string]string) {
	x.began, x.own, x.told, x.first, x.loose = map[string]string{}, map[string]string{}, map[string]string{}, map[string]string{}, map[string]int{}
	for name, v := range startup {
		if grammar.Material(name) && !isTold(name) {
			x.began[name], x.own[name] = v, v
		}
	}
	for _, name := range tellsOf {
		x.told[name] = told[name]
		if _, asked := startup[strings.ToLower(name)]; !asked {
			x.first[name] = told[name]
		}
	}
}

// change notes that a statement of pipeline gen sets c. settled is to be called with how it went, once it is known; alone: it was
// the only statement of its message, and no transaction is open behind it.
func (x *settings) change(c *grammar.Setting, gen int) (settled func(ok, alone bool)) {
	if !grammar.Material(c.Name) {
		return nil
	}
	was, had := x.loose[c.Name]
	x.loose[c.Name] = gen
	return func(ok, alone bool) {
		switch {
		case !alone || c.Local || c.Maybe:
		case !ok && had:
			x.loose[c.Name] = was
		case !ok:
			delete(x.loose, c.Name)
		default:
			x.set(c)
		}
	}
}

func (x *settings) set(c *grammar.Setting) {
	delete(x.loose, c.Name)
	began, had := x.began[c.Name]
	switch {
	case c.Name == everySetting:
		x.own, x.loose = maps.Clone(x.began), map[string]int{}
	case isTold(c.Name):
	case !c.Reset:
		x.own[c.Name] = c.Value
	case had:
		x.own[c.Name] = began
	default:
		delete(x.own, c.Name)
	}
}

// ready is the end of pipeline gen: what the server tells of, it has told.
func (x *settings) ready(gen int) {
	for name, since := range x.loose {
		if since <= gen && isTold(name) {
			delete(x.loose, name)
		}
	}
}

// appendTo writes what an approval is bound to. What is loose is that of one pipeline of one session, and never the same again.
func (x *settings) appendTo(b []byte, session uint64, gen int) []byte {
	for _, name := range tellsOf {
		b = append(append(b, x.told[name]...), 0)
	}
	for _, name := range slices.Sorted(maps.Keys(x.own)) {
		b = append(append(append(append(b, name...), '='), x.own[name]...), 0)
	}
	for _, name := range slices.Sorted(maps.Keys(x.loose)) {
		b = append(append(b, name...), '?')
		b = append(strconv.AppendInt(append(strconv.AppendUint(b, session, 10), '/'), int64(gen), 10), 0)
	}
	return b
}

// inForce gives the parameters as they are for this session; false where that is not known of some.
func (x *settings) inForce() (map[string]string, bool) {
	out := maps.Clone(x.own)
	for name, v := range x.told {
		if v != "" {
			out[strings.ToLower(name)] = v
		}
	}
	return out, len(x.loose) == 0
}

// card says to who approves what the client has set.
func (x *settings) card() string {
	var out []string
	add := func(name, v string) {
		out = append(out, name+" = '"+strings.ReplaceAll(v, "'", "''")+"'")
	}
	for _, name := range tellsOf {
		if x.told[name] != x.first[name] {
			add(name, x.told[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(x.own)) {
		add(name, x.own[name])
	}
	for _, name := range slices.Sorted(maps.Keys(x.loose)) {
		out = append(out, name+" changed within what has not ended, or that may be undone")
	}
	if len(out) == 0 {
		return ""
	}
	return "\n-- the session's settings: " + strings.Join(out, ", ")
}
