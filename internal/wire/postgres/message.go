package postgres

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrField says that a message is not what its type says.
var ErrField = errors.New("a message cannot be read")

// Types of messages (protocol.html, section 55.7). Some letters mean one thing from the client and another to it.
const (
	Bind         = 'B'
	Close        = 'C'
	CopyData     = 'd' // both ways
	CopyDone     = 'c' // both ways
	CopyFail     = 'f'
	Describe     = 'D'
	Execute      = 'E'
	Flush        = 'H'
	FunctionCall = 'F'
	Parse        = 'P'
	Password     = 'p'
	Query        = 'Q'
	Sync         = 'S'
	Terminate    = 'X'

	Authentication       = 'R'
	BackendKeyData       = 'K'
	BindComplete         = '2'
	CloseComplete        = '3'
	CommandComplete      = 'C'
	CopyInResponse       = 'G'
	CopyOutResponse      = 'H'
	CopyBothResponse     = 'W'
	DataRow              = 'D'
	EmptyQueryResponse   = 'I'
	ErrorResponse        = 'E'
	FunctionCallResponse = 'V'
	NegotiateProtocol    = 'v'
	NoData               = 'n'
	NoticeResponse       = 'N'
	NotificationResponse = 'A'
	ParameterDescription = 't'
	ParameterStatus      = 'S'
	ParseComplete        = '1'
	PortalSuspended      = 's'
	ReadyForQuery        = 'Z'
	RowDescription       = 'T'
)

// decoder reads the fields of a message. After the first that is not there it gives nothing but zeroes.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n int) []byte {
	if d.bad || n < 0 || n > len(d.b) {
		d.bad = true
		return nil
	}
	b := d.b[:n:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) int16() int {
	if b := d.take(2); b != nil {
		return int(int16(binary.BigEndian.Uint16(b)))
	}
	return 0
}

func (d *decoder) int32() int32 {
	if b := d.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (d *decoder) text() string {
	i := bytes.IndexByte(d.b, 0)
	if d.bad || i < 0 {
		d.bad = true
		return ""
	}
	s := string(d.b[:i])
	d.b = d.b[i+1:]
	return s
}

// value is a length and that many bytes; nil for NULL.
func (d *decoder) value() []byte {
	n := d.int32()
	if n == -1 {
		return nil
	}
	return d.take(int(n))
}

func (d *decoder) count() int {
	n := d.int16() & 0xffff // unsigned: there may be 65,535 parameters
	if n*2 > len(d.b) {     // nothing that is counted takes less than two bytes
		d.bad = true
		return 0
	}
	return n
}

func (d *decoder) end() error {
	if d.bad || len(d.b) > 0 {
		return ErrField
	}
	return nil
}

// ReadText reads a message that is one text: Query, Password, CommandComplete, CopyFail.
func ReadText(body []byte) (string, error) {
	d := decoder{b: body}
	s := d.text()
	return s, d.end()
}

// Parsing is a Parse message.
type Parsing struct {
	Name, Text string
	// Types are the parameters' that the client says; 0 leaves one to the server.
	Types []uint32
}

// ReadParse reads a Parse message.
func ReadParse(body []byte) (Parsing, error) {
	d := decoder{b: body}
	p := Parsing{Name: d.text(), Text: d.text()}
	for range d.count() {
		p.Types = append(p.Types, uint32(d.int32()))
	}
	return p, d.end()
}

// Binding is a Bind message. Its values are windows into the message.
type Binding struct {
	Portal, Statement string
	// Formats of the values: none (all text), one for all, or one for each; 0 is text and 1 binary.
	Formats []int
	Values  [][]byte // nil: NULL
	Results []int
}

// ReadBind reads a Bind message.
func ReadBind(body []byte) (Binding, error) {
	d := decoder{b: body}
	b := Binding{Portal: d.text(), Statement: d.text()}
	for range d.count() {
		b.Formats = append(b.Formats, d.int16())
	}
	for range d.count() {
		b.Values = append(b.Values, d.value())
	}
	for range d.count() {
		b.Results = append(b.Results, d.int16())
	}
	if n := len(b.Formats); n > 1 && n != len(b.Values) {
		return b, fmt.Errorf("%w: %d formats for %d parameters", ErrField, n, len(b.Values))
	}
	return b, d.end()
}

// ReadFunctionCall reads a FunctionCall: the function's number, and in a Binding without names its arguments and the result's format.
func ReadFunctionCall(body []byte) (function uint32, b Binding, err error) {
	d := decoder{b: body}
	function = uint32(d.int32())
	for range d.count() {
		b.Formats = append(b.Formats, d.int16())
	}
	for range d.count() {
		b.Values = append(b.Values, d.value())
	}
	b.Results = []int{d.int16()}
	if n := len(b.Formats); n > 1 && n != len(b.Values) {
		return 0, b, fmt.Errorf("%w: %d formats for %d arguments", ErrField, n, len(b.Values))
	}
	return function, b, d.end()
}

// ReadFunctionCallResponse reads what a function gave; nil: NULL.
func ReadFunctionCallResponse(body []byte) ([]byte, error) {
	d := decoder{b: body}
	v := d.value()
	return v, d.end()
}

// Format is that of value i.
func (b *Binding) Format(i int) int {
	switch len(b.Formats) {
	case 0:
		return 0
	case 1:
		return b.Formats[0]
	}
	return b.Formats[i]
}

// ReadNamed reads Describe and Close: 'S' for a statement or 'P' for a portal, and its name.
func ReadNamed(body []byte) (kind byte, name string, err error) {
	d := decoder{b: body}
	kind, name = d.byte(), d.text()
	if kind != 'S' && kind != 'P' {
		return 0, "", ErrField
	}
	return kind, name, d.end()
}

// ReadExecute reads an Execute message.
func ReadExecute(body []byte) (portal string, rows int32, err error) {
	d := decoder{b: body}
	portal, rows = d.text(), d.int32()
	return portal, rows, d.end()
}

// Field describes one column of an answer.
type Field struct {
	Name string
	// Table and Column are those that the value is read from unchanged; 0 where it is computed.
	Table  uint32
	Column int
	Type   uint32
	Format int
}

// ReadRowDescription reads the columns of the rows that follow.
func ReadRowDescription(body []byte) ([]Field, error) {
	d := decoder{b: body}
	n := d.count()
	out := make([]Field, 0, n)
	for range n {
		f := Field{Name: d.text(), Table: uint32(d.int32()), Column: d.int16(), Type: uint32(d.int32())}
		d.take(6) // the type's size and modifier
		f.Format = d.int16()
		out = append(out, f)
	}
	return out, d.end()
}

// ReadParameterTypes reads a ParameterDescription.
func ReadParameterTypes(body []byte) ([]uint32, error) {
	d := decoder{b: body}
	n := d.count()
	out := make([]uint32, 0, n)
	for range n {
		out = append(out, uint32(d.int32()))
	}
	return out, d.end()
}

// Cells calls fn with each cell of a DataRow; nil is NULL.
func Cells(body []byte, fn func(i int, cell []byte)) error {
	d := decoder{b: body}
	for i := range d.count() {
		c := d.value()
		if d.bad {
			return ErrField
		}
		fn(i, c)
	}
	return d.end()
}

// ReadPair reads a ParameterStatus.
func ReadPair(body []byte) (name, value string, err error) {
	d := decoder{b: body}
	name, value = d.text(), d.text()
	return name, value, d.end()
}

// ReadNotification reads a NotificationResponse.
func ReadNotification(body []byte) (process uint32, channel, payload string, err error) {
	d := decoder{b: body}
	process, channel, payload = uint32(d.int32()), d.text(), d.text()
	return process, channel, payload, d.end()
}

// ReadCopy reads what opens a copy: whether it is binary, and how many columns it has.
func ReadCopy(body []byte) (binary bool, columns int, err error) {
	d := decoder{b: body}
	binary = d.byte() != 0
	columns = d.count()
	d.take(2 * columns)
	return binary, columns, d.end()
}

// Report is one field of an ErrorResponse or NoticeResponse (section 55.8): S severity, C code, M message, D detail, …
type Report struct {
	Code byte
	Text string
}

// ReadReport reads an ErrorResponse or NoticeResponse.
func ReadReport(body []byte) ([]Report, error) {
	d := decoder{b: body}
	var out []Report
	for {
		c := d.byte()
		if c == 0 {
			return out, d.end()
		}
		out = append(out, Report{c, d.text()})
	}
}
