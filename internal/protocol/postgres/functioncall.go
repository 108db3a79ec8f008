package postgres

import (
	"fmt"
	"strings"

	"gatebook/internal/access"
	wire "gatebook/internal/wire/postgres"
)

// numbered is a function that is called by its number.
type numbered struct {
	name  string
	types []uint32 // of its arguments
}

// largeObjects are the functions that libpq and its like call by number, which never changes (pg_proc.dat): those that read and write large
// objects, as in pg_dump, \lo_import and JDBC.
var largeObjects = map[uint32]numbered{
	715: {"lo_create", []uint32{typeOID}}, 952: {"lo_open", []uint32{typeOID, typeInt4}}, 953: {"lo_close", []uint32{typeInt4}},
	954: {"loread", []uint32{typeInt4, typeInt4}}, 955: {"lowrite", []uint32{typeInt4, typeByte}}, 956: {"lo_lseek", []uint32{typeInt4, typeInt4, typeInt4}},
	957: {"lo_creat", []uint32{typeInt4}}, 958: {"lo_tell", []uint32{typeInt4}}, 964: {"lo_unlink", []uint32{typeOID}},
	1004: {"lo_truncate", []uint32{typeInt4, typeInt4}}, 3170: {"lo_lseek64", []uint32{typeInt4, typeInt8, typeInt4}}, 3171: {"lo_tell64", []uint32{typeInt4}},
	3172: {"lo_truncate64", []uint32{typeInt4, typeInt8}},
}

// functionCall is a call of a function by its number. Those of large objects are decided as the SELECT that they stand for.
func (s *session) functionCall(m wire.Message) error {
	function, b, err := wire.ReadFunctionCall(m.Body)
	if err != nil {
		return s.clientError(err)
	}
	f, ok := largeObjects[function]
	if !ok {
		return s.refuseUndecided("call", "a function by its number", access.Refuse(access.CodeDenied, nil, "functions are not called by number (FunctionCall), but for those of large objects; use SELECT"), true)
	}
	if len(b.Values) != len(f.types) {
		return s.refuseUndecided("call", f.name, access.Refuse(access.CodeMalformed, nil, "%s takes %d arguments, and was given %d", f.name, len(f.types), len(b.Values)), true)
	}
	m.Raw = append([]byte(nil), m.Raw...) // reading goes on while it is held
	if _, b, err = wire.ReadFunctionCall(m.Raw[5:]); err != nil {
		return s.clientError(err)
	}
	var args []string
	for i := range f.types {
		args = append(args, fmt.Sprintf("$%d", i+1))
	}
	text := "SELECT pg_catalog." + f.name + "(" + strings.Join(args, ", ") + ")"
	statements, why := s.read(text)
	if why != nil {
		return s.refuseUndecided("call", text, why, true)
	}
	if err := s.flush(); err != nil {
		return err
	}
	params, unread := readParams(&b, f.types)
	o, why := s.admit(request{verb: "execute", statement: statements[0], whole: text, of: 1, params: params, exact: fmt.Sprint("by number ", b.Results) + exactParams(&b), raw: m.Raw, binding: &b, unread: unread, types: f.types})
	if why == nil && o.hide.columns { // what it gives cannot be told apart
		why = access.Refuse(access.CodeUnmaskable, nil, "what a large object holds may be masked; use SELECT")
		o.end(s, why.Message)
	}
	if why != nil {
		return s.refuse(why, true)
	}
	if err := s.forward(o.p, m.Raw, &entry{kind: wire.FunctionCall, ops: []*operation{o}}); err != nil {
		return err
	}
	s.pipelineEnds()
	return nil
}
