package sse

import "bytes"

// Event is what stands between two blank lines, with the second. All slices are the scanner's.
type Event struct {
	// Raw are its bytes, and Offset is where they begin in the stream.
	Raw    []byte
	Offset int64
	// Ended is false for what a stream breaks off with. It means nothing, and has no fields.
	Ended bool
	// Dispatched says that it is an event: that it has data. Blocks of comments, and those that only set an id, have none.
	Dispatched bool
	// Type is "message" where nothing else is said. Data are the values of all data fields with LF between. ID is the
	// last event id that the stream has named so far.
	Type, Data, ID []byte
	// Fields are those that have a meaning, in their order. What else stands in Raw is ignored by every reader.
	Fields []Field
}

// Field is one line's. Its value is Raw[Start:End], without the space that may stand before it.
type Field struct {
	Kind       Kind
	Start, End int32
}

// Kind is a field's name.
type Kind uint8

const (
	EventField Kind = iota + 1 // its type; of several the last counts
	DataField                  // a line of its data
	IDField                    // the last event id from here on
	RetryField                 // the time before a new connection, in milliseconds: digits alone
)

var (
	message = []byte("message")

	nameEvent = []byte("event")
	nameData  = []byte("data")
	nameID    = []byte("id")
	nameRetry = []byte("retry")
)

// field reads a line that is not blank (section 9.2.6, "process the field").
func (s *Scanner) field(from, to int) {
	line := s.buf[from:to]
	name, value := line, to
	if i := bytes.IndexByte(line, ':'); i >= 0 {
		name, value = line[:i], from+i+1
		if value < to && s.buf[value] == ' ' {
			value++
		}
	}
	switch {
	case bytes.Equal(name, nameData):
		s.add(DataField, value, to)
	case bytes.Equal(name, nameEvent):
		s.add(EventField, value, to)
	case bytes.Equal(name, nameID) && bytes.IndexByte(s.buf[value:to], 0) < 0:
		s.add(IDField, value, to)
		s.id = append(s.id[:0], s.buf[value:to]...)
	case bytes.Equal(name, nameRetry) && digits(s.buf[value:to]):
		s.add(RetryField, value, to)
	}
}

func (s *Scanner) add(k Kind, from, to int) {
	s.event.Fields = append(s.event.Fields, Field{k, int32(from - s.start), int32(to - s.start)})
}

func digits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) > 0
}

// join gives the data, and whether there is any; and sets the type.
func (s *Scanner) join() ([]byte, bool) {
	e := &s.event
	var data []byte
	lines := 0
	for _, f := range e.Fields {
		value := e.Raw[f.Start:f.End]
		switch {
		case f.Kind == EventField:
			e.Type = value
		case f.Kind != DataField:
		case lines == 0:
			data, lines = value, 1
		default:
			if lines == 1 {
				s.data = append(s.data[:0], data...)
			}
			s.data = append(append(s.data, '\n'), value...)
			data, lines = s.data, lines+1
		}
	}
	return data, lines > 0
}
